import { CcError, type Clock, type PeerId, type Random, silentLogger } from "../../../src/base/index.ts";
import { createObserver, type Mesh, type Observer, type Sighting } from "../../../src/mesh/index.ts";

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/** The n-th peer id of a test: `peerId(0) < peerId(1)`. */
export const peerId = (n: number): PeerId => `12D3KooW${"A".repeat(43)}${BASE58[n] ?? "z"}` as PeerId;

export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
  return { bytes: (length) => Uint8Array.from({ length }, () => next() >>> 24), below: (below) => next() % below };
}

type Timer = { atMs: number; order: number; fire: () => void };

/** A few observers on a network of one event queue, with links that can be cut one way, and hosts that stall or die. */
export class SmallWorld {
  #nowMs = 0;
  #order = 0;
  #timers: Timer[] = [];
  readonly hosts: Host[] = [];
  /** "a>b": what a sends does not reach b. */
  readonly cuts = new Set<string>();
  calls = 0;

  constructor(count: number, seed = 1) {
    const random = seededRandom(seed);
    for (let n = 0; n < count; n += 1) this.hosts.push(new Host(this, peerId(n), random));
    for (const host of this.hosts) host.observer.start();
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, order: this.#order++, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  async run(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
      for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    }
    this.#nowMs = endMs;
  }

  /** Runs until `done`, at most `limitMs`; gives how long it took, or undefined. */
  async until(done: () => boolean, limitMs: number): Promise<number | undefined> {
    const startMs = this.#nowMs;
    while (this.#nowMs - startMs < limitMs) {
      await this.run(50);
      if (done()) return this.#nowMs - startMs;
    }
    return undefined;
  }

  cut(a: Host, b: Host, oneWay = false): void {
    this.cuts.add(`${a.id}>${b.id}`);
    if (!oneWay) this.cuts.add(`${b.id}>${a.id}`);
  }

  heal(): void {
    this.cuts.clear();
  }
}

export class Host {
  readonly id: PeerId;
  readonly observer: Observer;
  readonly disconnected: PeerId[] = [];
  readonly changes: Sighting[] = [];
  readonly world: SmallWorld;
  /** Other calls than probes that were answered. */
  readonly answeredAtMs = new Map<PeerId, number>();
  /** Probes of this host get no answer (its others may). */
  deaf = false;
  /** Set: dead, its calls answer nothing. */
  dead = false;
  startNumber = 1;
  /** Its clock minus the world's. */
  offsetMs = 0;
  /** While the world's time is below this, its loop does not run: timers fire late and calls wait. */
  stalledUntilMs = 0;
  answer: ((request: never, from: PeerId, signal: AbortSignal) => Promise<unknown>) | undefined;

  constructor(world: SmallWorld, id: PeerId, random: Random) {
    this.world = world;
    this.id = id;
    const clock: Clock = {
      nowMs: () => 1_700_000_000_000 + world.nowMs + this.offsetMs,
      monotonicMs: () => world.nowMs,
      after: (delayMs, fire) => world.after(delayMs, () => this.whenRunning(fire)),
    };
    const mesh: Pick<Mesh, "self" | "call" | "handle" | "connected" | "disconnect" | "onConnection" | "answeredAtMs"> = {
      answeredAtMs: (peer) => this.answeredAtMs.get(peer),
      self: id,
      call: (peer, _name, request, options) => this.#call(peer, request, options.timeoutMs) as never,
      handle: (_name, handler) => {
        this.answer = handler as never;
      },
      connected: () => world.hosts.filter((host) => host !== this && !host.dead).map((host) => host.id),
      disconnect: async (peer) => {
        this.disconnected.push(peer);
      },
      onConnection: () => () => undefined,
    };
    this.observer = createObserver({
      mesh,
      members: () => world.hosts.map((host) => host.id),
      facts: { startNumber: () => this.startNumber, highestOf: () => ({ key: "", startNumber: 0 }), digest: () => new Uint8Array(), heard: () => undefined },
      clock,
      random,
      log: silentLogger,
    });
    this.observer.onChange((sighting) => this.changes.push(sighting));
  }

  /** As in Node: after a stall the timers fire first, and what came from the network is read after. */
  whenRunning(fire: () => void, fromNetwork = false): void {
    if (this.dead) return;
    const waitMs = this.stalledUntilMs - this.world.nowMs;
    if (waitMs > 0) this.world.after(waitMs + (fromNetwork ? 1 : 0), () => this.whenRunning(fire, fromNetwork));
    else fire();
  }

  #call(peer: PeerId, request: unknown, timeoutMs: number): Promise<unknown> {
    this.world.calls += 1;
    const callee = this.world.hosts.find((host) => host.id === peer);
    return new Promise((resolve, reject) => {
      const cancel = this.world.after(timeoutMs, () => this.whenRunning(() => reject(new CcError("TIMEOUT", "no answer"))));
      if (callee === undefined || callee.dead) {
        cancel();
        reject(new CcError("PEER_UNREACHABLE", "no connection"));
        return;
      }
      if (this.world.cuts.has(`${this.id}>${peer}`) || this.deaf) return;
      this.world.after(1, () =>
        callee.whenRunning(() => {
          callee.answer?.(withDefaults(request) as never, this.id, new AbortController().signal).then((reply) => {
            if (callee.dead || this.world.cuts.has(`${peer}>${this.id}`)) return;
            this.world.after(1, () =>
              this.whenRunning(() => {
                cancel();
                resolve(withDefaults(reply));
              }, true),
            );
          }, reject);
        }, true),
      );
    });
  }

  standingOf(host: Host): string {
    return this.observer.of(host.id).standing;
  }

  restart(): void {
    this.observer.stop();
    this.dead = false;
    this.startNumber += 1;
    this.observer.start();
  }
}

const withDefaults = (observation: unknown): object => ({
  opinions: [],
  withholds: false,
  highestOfYoursKey: "",
  highestStartOfYours: 0,
  digest: new Uint8Array(),
  ...(observation as object),
});

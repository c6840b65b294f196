import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Mesh as MeshService } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { CcError, type Clock, type PeerId, type Random } from "../../../src/base/index.ts";
import type { GossipVerdict } from "../../../src/mesh/index.ts";
import type { ReplicaParts } from "../../../src/state/index.ts";

/** The world's first instant, an arbitrary one. */
export const WORLD_START_MS = Date.UTC(2030, 0, 1);

type Event = { readonly atMs: number; readonly order: number; readonly fire: () => void; off: boolean };

/** Virtual time: one event after another, each with every promise that it resolves. */
export class Time {
  nowMs = 0;
  fired = 0;
  #events: Event[] = [];
  #order = 0;

  after(delayMs: number, fire: () => void): () => void {
    this.#order += 1;
    const event: Event = { atMs: this.nowMs + delayMs, order: this.#order, fire, off: false };
    this.#events.push(event);
    return () => {
      event.off = true;
    };
  }

  async run(ms: number): Promise<void> {
    const until = this.nowMs + ms;
    for (;;) {
      this.#events = this.#events.filter((event) => !event.off);
      const next = this.#events.reduce<Event | undefined>(
        (first, event) => (first === undefined || event.atMs < first.atMs || (event.atMs === first.atMs && event.order < first.order) ? event : first),
        undefined,
      );
      if (next === undefined || next.atMs > until) break;
      next.off = true;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.fired += 1;
      next.fire();
      await new Promise(setImmediate);
    }
    this.nowMs = until;
  }
}

/** A small seeded source of chance (mulberry32). */
export class Chance implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

/** A clock of one life of a host: timers end with it. */
export class LifeClock implements Clock {
  skewMs = 0;
  alive = true;
  readonly #time: Time;

  constructor(time: Time) {
    this.#time = time;
  }

  nowMs(): number {
    return WORLD_START_MS + this.#time.nowMs + this.skewMs;
  }

  monotonicMs(): number {
    return this.#time.nowMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    return this.#time.after(delayMs, () => {
      if (this.alive) fire();
    });
  }
}

/** Who can reach whom, and how badly. */
export class Wires {
  lossRate = 0;
  duplicateRate = 0;
  readonly ends = new Map<PeerId, WireEnd>();
  readonly time: Time;
  readonly chance: Chance;
  readonly #cuts = new Set<string>();

  constructor(time: Time, chance: Chance) {
    this.time = time;
    this.chance = chance;
  }

  cut(from: PeerId, to: PeerId): void {
    this.#cuts.add(`${from} ${to}`);
  }

  healAll(): void {
    this.#cuts.clear();
  }

  carry(from: PeerId, to: PeerId, deliver: (end: WireEnd) => void): void {
    if (this.#cuts.has(`${from} ${to}`) || this.chance.next() < this.lossRate) return;
    this.time.after(1 + this.chance.below(8), () => {
      const end = this.ends.get(to);
      if (end?.clock.alive === true && !this.#cuts.has(`${from} ${to}`)) deliver(end);
    });
  }
}

type Listener = (data: Uint8Array, from: PeerId) => GossipVerdict;
type Handler = (request: never, from: PeerId, signal: AbortSignal) => Promise<object>;

const REDIAL_MS = 1_000;

/** One life of a host on the wires: what the replica needs of a mesh. Calls and gossip travel as bytes. */
export class WireEnd {
  readonly self: PeerId;
  readonly clock: LifeClock;
  readonly port: ReplicaParts["mesh"];
  readonly open = new Set<PeerId>();
  readonly #wires: Wires;
  readonly #connections = new Set<(peer: PeerId, open: boolean) => void>();
  readonly #handlers = new Map<string, Handler>();
  readonly #seen = new Set<string>();
  #listener: Listener | undefined;

  constructor(wires: Wires, self: PeerId, clock: LifeClock) {
    this.#wires = wires;
    this.self = self;
    this.clock = clock;
    wires.ends.set(self, this);
    this.port = {
      connected: () => [...this.open],
      onConnection: (listener) => {
        this.#connections.add(listener);
        return () => this.#connections.delete(listener);
      },
      publish: (_topic, data) => this.#flood(data),
      subscribe: (_topic, listener) => {
        this.#listener = listener;
        return () => {
          this.#listener = undefined;
        };
      },
      handle: (name, handler) => void this.#handlers.set(name, handler as Handler),
      call: (peer, name, request, options) => this.#call(peer, MeshService.method[name], name, request as object, options.timeoutMs) as never,
    };
    this.#dial();
  }

  hear(data: Uint8Array, from: PeerId): string {
    return this.#listener?.(data, from) ?? "nobody listens";
  }

  drop(peer: PeerId): void {
    this.note(peer, false);
    this.#wires.carry(this.self, peer, (end) => end.note(this.self, false));
  }

  /** What the system of a machine that lost its power could not say, a neighbour notices at its next word. */
  reset(): void {
    for (const peer of this.open) this.#wires.ends.get(peer)?.note(this.self, false);
  }

  note(peer: PeerId, open: boolean): void {
    if (this.open.has(peer) === open) return;
    if (open) this.open.add(peer);
    else this.open.delete(peer);
    for (const listener of this.#connections) listener(peer, open);
  }

  #dial(): void {
    for (const peer of this.#wires.ends.keys()) {
      if (peer === this.self || this.open.has(peer)) continue;
      this.#wires.carry(this.self, peer, () =>
        this.#wires.carry(peer, this.self, (me) => {
          if (me !== this) return;
          this.note(peer, true);
          this.#wires.ends.get(peer)?.note(this.self, true);
        }),
      );
    }
    this.clock.after(REDIAL_MS, () => this.#dial());
  }

  #flood(data: Uint8Array, except?: PeerId): void {
    this.#seen.add(Buffer.from(data).toString("latin1"));
    for (const peer of this.open) {
      if (peer === except) continue;
      const copies = this.#wires.chance.next() < this.#wires.duplicateRate ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) this.#wires.carry(this.self, peer, (end) => end.#receive(data, this.self));
    }
  }

  #receive(data: Uint8Array, from: PeerId): void {
    if (this.#seen.has(Buffer.from(data).toString("latin1"))) return;
    this.#seen.add(Buffer.from(data).toString("latin1"));
    if (this.#listener?.(data, from) === "accept") this.#flood(data, from);
  }

  async #call(
    peer: PeerId,
    method: { readonly input: DescMessage; readonly output: DescMessage },
    name: string,
    request: object,
    timeoutMs: number,
  ): Promise<object> {
    if (!this.open.has(peer)) throw new CcError("PEER_UNREACHABLE", `no connection to ${peer}`);
    const bytes = toBinary(method.input, create(method.input, request as MessageInitShape<DescMessage>));
    return new Promise((resolve, reject) => {
      const cancel = this.clock.after(timeoutMs, () => reject(new CcError("TIMEOUT", `no answer from ${peer}`)));
      const settle = (finish: () => void): void => {
        cancel();
        finish();
      };
      this.#wires.carry(this.self, peer, (end) => {
        const handler = end.#handlers.get(name);
        const answer =
          handler === undefined
            ? Promise.reject(new CcError("NOT_YET", name))
            : handler(fromBinary(method.input, bytes) as never, this.self, new AbortController().signal);
        answer.then(
          (reply) =>
            this.#wires.carry(peer, this.self, () =>
              settle(() => resolve(fromBinary(method.output, toBinary(method.output, create(method.output, reply as MessageInitShape<DescMessage>))))),
            ),
          (error: unknown) => this.#wires.carry(peer, this.self, () => settle(() => reject(error))),
        );
      });
    });
  }
}

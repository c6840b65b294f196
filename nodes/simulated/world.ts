import { CcError, type KeyId, type MeshId, type PeerId } from "../../src/base/index.ts";
import { base64Url, keyIdOf, type Role, type Signer } from "../../src/identity/index.ts";
import type { DeclaredCapacity } from "../../src/placement/index.ts";
import { ApiNetwork, type SeenRequest } from "./api.ts";
import { Disturbances } from "./disturbances.ts";
import { History } from "./history.ts";
import { SimulatedHost } from "./host.ts";
import type { Invariant } from "./invariants/names.ts";
import { KeyRing } from "./keys.ts";
import type { ProcessRun } from "./machine.ts";
import { admitAt, foundMeshOn } from "./membership.ts";
import { type CarriedCall, Network } from "./network.ts";
import { SeededRandom } from "./random.ts";
import { Timeline } from "./timeline.ts";
import { type Ask, User } from "./user.ts";

export type Violation = { readonly invariant: Invariant; readonly atMs: number; readonly text: string };

export type WorldOptions = {
  readonly seed: number;
  /** One zone per host. */
  readonly zones: readonly string[];
  readonly capacity?: DeclaredCapacity;
  readonly print?: (line: string) => void;
};

const MIB = 1024 ** 2;
const CAPACITY: DeclaredCapacity = { memoryBytes: 2_048 * MIB, diskBytes: 8_192 * MIB, cpuShares: 4_096, containersMax: 12 };
const HISTORY_KEPT = 400;
/** Chance is drawn from streams of their own, so that one part's draws do not shift another's. */
const STREAM = { network: 1, api: 2, setup: 3, hosts: 16, users: 64 } as const;

/** A whole mesh: hosts, users, the wires between them, and all that was seen of what they did. */
export class World {
  readonly seed: number;
  readonly timeline = new Timeline();
  readonly history: History;
  readonly keys = new KeyRing();
  readonly network: Network;
  readonly api: ApiNetwork;
  readonly hosts: SimulatedHost[] = [];
  readonly users: User[] = [];
  readonly runs: ProcessRun[] = [];
  readonly asks: Ask[] = [];
  readonly violations: Violation[] = [];
  /** Told of everything that invariants look at. */
  readonly watchers: {
    onStart: ((run: ProcessRun) => void)[];
    onBoot: ((host: SimulatedHost) => void)[];
    onReady: ((host: SimulatedHost) => void)[];
    onAskEnd: ((ask: Ask) => void)[];
    onCall: ((call: CarriedCall) => void)[];
    onRequest: ((request: SeenRequest) => void)[];
  } = { onStart: [], onBoot: [], onReady: [], onAskEnd: [], onCall: [], onRequest: [] };
  /** Honest neighbours that were scored. */
  readonly rejections: PeerId[] = [];
  /** Hosts that run code of their own. */
  readonly liars = new Set<PeerId>();
  /** Keys that somebody who may has signed, beside the users'. */
  readonly knownKeys = new Set<KeyId>();
  readonly #options: WorldOptions;
  readonly #setup: SeededRandom;
  readonly #disturbances = new Disturbances(this.timeline);
  #meshId: MeshId | undefined;
  #root: Signer | undefined;
  #admin: User | undefined;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.history = new History(() => this.timeline.nowMs, HISTORY_KEPT, options.print);
    this.network = new Network(this.timeline, this.random(STREAM.network));
    this.network.onCall = (call) => {
      for (const watch of this.watchers.onCall) watch(call);
    };
    this.network.onReject = (_by, from) => {
      if (!this.liars.has(from)) this.rejections.push(from);
    };
    this.api = new ApiNetwork(this.timeline, this.random(STREAM.api));
    this.api.onRequest = (request) => {
      for (const watch of this.watchers.onRequest) watch(request);
    };
    this.#setup = this.random(STREAM.setup);
  }

  random(stream: number): SeededRandom {
    return new SeededRandom(this.seed, stream);
  }

  get meshId(): MeshId {
    if (this.#meshId === undefined) throw new TypeError("the mesh is not founded yet");
    return this.#meshId;
  }

  get admin(): User {
    if (this.#admin === undefined) throw new TypeError("the mesh is not founded yet");
    return this.#admin;
  }

  get root(): Signer {
    if (this.#root === undefined) throw new TypeError("the mesh is not founded yet");
    return this.#root;
  }

  host(at: number): SimulatedHost {
    const host = this.hosts[at];
    if (host === undefined) throw new RangeError(`there is no host ${at}`);
    return host;
  }

  sleep(ms: number): Promise<void> {
    return this.timeline.sleep(ms);
  }

  /** Something is broken from now on, until the function that this gives is called. */
  disturb(): () => void {
    return this.#disturbances.begin();
  }

  wasDisturbed(fromMs: number, toMs: number): boolean {
    return this.#disturbances.overlap(fromMs, toMs);
  }

  disturbedSince(fromMs: number): boolean {
    return this.wasDisturbed(fromMs, this.timeline.nowMs);
  }

  /** Wires, ways of users, disks and loops are as they should be, and who is down comes back. Clocks stay as they are. */
  healAll(): void {
    this.history.add("fault", "all is healed");
    this.network.healAll();
    this.api.healAll();
    for (const host of this.hosts) {
      host.time.wake();
      host.disk.speed.syncMsMax = 4;
      host.boot();
    }
  }

  violate(invariant: Invariant, text: string): void {
    this.violations.push({ invariant, atMs: this.timeline.nowMs, text });
    this.history.add("!!!", `${invariant}: ${text}`);
  }

  /** Runs a story to its end in virtual time, or to the first violation. A story that hangs or throws is one. */
  async tell(story: (world: World) => Promise<void>, limitMs = 3_600_000): Promise<void> {
    let done = false;
    story(this).then(
      () => {
        done = true;
      },
      (error: unknown) => {
        done = true;
        this.violate("story", error instanceof Error ? (error.stack ?? error.message) : String(error));
      },
    );
    const ended = await this.timeline.run(() => done || this.violations.length > 0, this.timeline.nowMs + limitMs);
    if (!ended) this.violate("story", "it did not come to its end: somebody waits for what never happens");
  }

  /** Founds the mesh on the first host and lets the others join, through the handlers that real joiners meet. */
  async build(): Promise<void> {
    const [first = "a", ...others] = this.#options.zones;
    this.#found(first);
    await this.untilReady([this.host(0)]);
    for (const zone of others) await this.join(zone);
    await this.untilConnected();
  }

  #found(zone: string): void {
    const host = this.#newHost();
    const founded = foundMeshOn(host, zone, { timeline: this.timeline, keys: this.keys, random: this.#setup });
    this.#meshId = founded.meshId;
    this.#root = founded.root;
    this.#admin = this.addUser("admin", founded.adminKeyId, founded.admin, "admin");
    this.history.name(host.peer, host.name);
    host.boot();
  }

  /** A new host joins with an invite of one use made at `at`; gives the host, or throws what it was refused with. */
  async join(zone: string, at = this.host(0), user = this.admin): Promise<SimulatedHost> {
    const invite = this.keys.make(this.#setup);
    const asked = await user.ask([at.endpoint], "CreateInvite", { zone, uses: 1, validForMs: 600_000, publicKey: base64Url(invite.signer.publicKey) });
    if (asked.reply === undefined) throw new CcError("INVITE_INVALID", `no invite: ${asked.outcome}`);
    return this.joinWith(asked.reply.id, invite.signer, zone, at);
  }

  async joinWith(inviteId: string, inviteKey: Signer, zone: string, at: SimulatedHost, booted = true): Promise<SimulatedHost> {
    const host = this.#newHost();
    try {
      const pair = this.keys.make(this.#setup);
      host.identity = await admitAt(at, host, pair.signer, { inviteId, inviteKey, zone, meshId: this.meshId, timeline: this.timeline, api: this.api });
    } catch (error) {
      this.hosts.splice(this.hosts.indexOf(host), 1);
      this.api.hosts.delete(host.name);
      throw error;
    }
    this.history.name(host.peer, host.name);
    if (booted) host.boot();
    return host;
  }

  #newHost(): SimulatedHost {
    const at = this.hosts.length + 1;
    const name = `k${at}`;
    const host = new SimulatedHost({
      name,
      timeline: this.timeline,
      network: this.network,
      api: this.api,
      history: this.history,
      verifier: this.keys.verifier,
      random: this.random(STREAM.hosts + at),
      capacity: this.#options.capacity ?? CAPACITY,
      onStart: (run) => {
        this.runs.push(run);
        this.history.add(name, `process of ${this.history.nameOf(run.container)} starts, run token ${run.runToken}`);
        for (const watch of this.watchers.onStart) watch(run);
      },
      onFault: (text) => {
        const isLiar = this.hosts.some((other) => other.name === name && other.identity !== undefined && this.liars.has(other.peer));
        if (!isLiar) this.violate("no-fault", `${name}: ${text}`);
      },
      onBoot: (booting) => {
        for (const watch of this.watchers.onBoot) watch(booting);
      },
      onReady: (ready) => {
        for (const watch of this.watchers.onReady) watch(ready);
      },
    });
    this.hosts.push(host);
    this.api.hosts.set(name, host);
    return host;
  }

  addUser(name: string, keyId: KeyId, signer: Signer, role: Role): User {
    const user = new User({
      name,
      keyId,
      signer,
      role,
      meshId: this.meshId,
      timeline: this.timeline,
      api: this.api,
      random: this.random(STREAM.users + this.users.length),
      onAsk: (ask) => {
        this.asks.push(ask);
        if (ask.id !== undefined) this.history.name(ask.id, `c${this.asks.length}`);
        this.history.add(name, `asks ${ask.call} ${this.#brief(ask.request)}${ask.id === undefined ? "" : ` as ${this.history.nameOf(ask.id)}`}`);
      },
      onEnd: (ask) => {
        const about = ask.id === undefined ? "" : ` of ${this.history.nameOf(ask.id)}`;
        this.history.add(name, `${ask.call}${about} ${ask.outcome === "done" ? "is done" : `ends with ${ask.outcome}: ${ask.message}`}`);
        for (const watch of this.watchers.onAskEnd) watch(ask);
      },
    });
    this.users.push(user);
    this.history.name(keyId, name);
    return user;
  }

  /** A further user, whose key the admin signs at a host. */
  async newUser(name: string, role: Role, at = this.host(0), by = this.admin): Promise<User> {
    const pair = this.keys.make(this.#setup);
    this.knownKeys.add(keyIdOf(pair.signer.publicKey));
    const asked = await by.ask([at.endpoint], "CreateKey", { publicKey: base64Url(pair.signer.publicKey), role, name });
    if (asked.reply === undefined) throw new CcError("INTERNAL", `no key: ${asked.outcome}`);
    return this.addUser(name, keyIdOf(pair.signer.publicKey), pair.signer, role);
  }

  async untilReady(hosts: readonly SimulatedHost[], limitMs = 30_000): Promise<void> {
    for (const endMs = this.timeline.nowMs + limitMs; !hosts.every((host) => host.isReady); ) {
      if (this.timeline.nowMs >= endMs)
        throw new CcError(
          "TIMEOUT",
          `not ready: ${hosts
            .filter((host) => !host.isReady)
            .map(({ name }) => name)
            .join(", ")}`,
        );
      await this.sleep(50);
    }
  }

  /** Until every host that runs is ready and connected with all others. */
  async untilConnected(limitMs = 30_000): Promise<void> {
    // A liar's connections are its own business.
    const live = (): readonly SimulatedHost[] => this.hosts.filter((host) => !host.retired && host.identity !== undefined && !this.liars.has(host.peer));
    const reaches = (host: SimulatedHost): boolean => {
      const connected = new Set(host.life?.core.mesh.connected());
      return host.isReady && live().every((other) => other === host || connected.has(other.peer));
    };
    const isWhole = (): boolean => live().every(reaches);
    for (const endMs = this.timeline.nowMs + limitMs; !isWhole(); ) {
      if (this.timeline.nowMs >= endMs) throw new CcError("TIMEOUT", "the hosts do not all connect");
      await this.sleep(100);
    }
  }

  #brief(request: object): string {
    return JSON.stringify(request, (_key, value: unknown) => (typeof value === "string" ? this.history.nameOf(value) : value));
  }
}

import type { RecordFrame } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { type Logger, type PeerId, silentLogger } from "../../../src/base/index.ts";
import { ed25519Verifier } from "../../../src/identity/index.ts";
import { MemoryDisk } from "../../../src/state/drivers/memory.ts";
import {
  createReplica,
  type Draft,
  hostKey,
  type IdentityFile,
  type Remembered,
  type ReplicaService,
  type ReplicaSettings,
  userKey,
} from "../../../src/state/index.ts";
import { keyPair, peerId, request, stamped, ZONE } from "./fixtures.ts";
import { Chance, LifeClock, Time, WireEnd, Wires, WORLD_START_MS } from "./wires.ts";

export { WORLD_START_MS };

/** Hosts with the real replica on a simulated network, clock and disk. A certificate is whatever says "member". */
export class World {
  readonly time = new Time();
  readonly chance: Chance;
  readonly wires: Wires;
  readonly hosts = new Map<string, Host>();

  constructor(seed = 1) {
    this.chance = new Chance(seed);
    this.wires = new Wires(this.time, this.chance);
  }

  async add(...names: readonly string[]): Promise<Host[]> {
    const made = names.map((name) => new Host(this, name));
    for (const host of made) {
      this.hosts.set(host.name, host);
      await host.boot();
    }
    return made;
  }

  async run(ms: number): Promise<void> {
    await this.time.run(ms);
  }

  /** Runs until the promise settles, a minute of virtual time at most. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let open = true;
    const done = (): void => {
      open = false;
    };
    promise.then(done, done);
    for (let step = 0; step < 6_000 && open; step += 1) await this.run(10);
    if (open) throw new Error("nothing came of it within a minute");
    return promise;
  }

  cut(a: Host, b: Host): void {
    this.wires.cut(a.peer, b.peer);
    this.wires.cut(b.peer, a.peer);
  }

  /** Whether these hosts hold the same records. */
  equal(...hosts: readonly Host[]): boolean {
    const all = hosts.length > 0 ? hosts : [...this.hosts.values()];
    return new Set(all.map((host) => Buffer.from(host.replica.digest()).toString("hex"))).size === 1;
  }
}

export class Host {
  readonly world: World;
  readonly name: string;
  readonly peer: PeerId;
  /** What an fsync waits for. */
  fsync: Promise<void> = Promise.resolve();
  readonly disk = new MemoryDisk(() => this.fsync);
  remembered: Remembered | undefined;
  /** What lies beside its containers and volumes. */
  beside: RecordFrame[] = [];
  said: string[] = [];
  skewMs = 0;
  settings: Partial<ReplicaSettings> = {};
  clock: LifeClock;
  end: WireEnd;
  replica: ReplicaService;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    this.peer = peerId(name);
    this.clock = new LifeClock(world.time);
    this.end = new WireEnd(world.wires, this.peer, this.clock);
    this.replica = this.#make();
  }

  /** Starts the peer; once it is ready it writes what makes it a member. */
  async boot(): Promise<void> {
    if (!this.clock.alive) {
      this.clock = new LifeClock(this.world.time);
      this.end = new WireEnd(this.world.wires, this.peer, this.clock);
      this.replica = this.#make();
    }
    this.clock.skewMs = this.skewMs;
    const { replica } = this;
    await replica.start();
    const certificate = { key: this.key("certificate", "self"), content: Buffer.from("member") };
    replica
      .ready(new AbortController().signal)
      .then(() => replica.write([certificate]))
      // A test of a start that fails looks at its standing.
      .catch(() => undefined);
  }

  /** Power fails: what was not fsynced is gone. */
  crash(): void {
    this.end.reset();
    this.clock.alive = false;
    this.disk.crash();
    this.world.wires.ends.delete(this.peer);
  }

  key(kind: string, id: string): ReturnType<typeof hostKey> {
    return hostKey(this.peer, ZONE, kind, id);
  }

  draft(id: string, text: string, final = false): Draft {
    return { key: this.key("phase", id), content: Buffer.from(text), final };
  }

  /** A user's request to this host, as it would be stamped; signed by this host's clock if not said otherwise. */
  wish(id: string, token: string, signedMs = this.clock.nowMs()): Draft {
    const createdS = Math.floor(signedMs / 1_000);
    return { key: userKey(ZONE, "wish", id), content: stamped(request("Wish", { token }, { peer: this.peer, createdS })) };
  }

  /** Gossip as it comes from a neighbour: what this host says to it. */
  hear(data: Uint8Array, from: Host): string {
    return this.end.hear(data, from.peer);
  }

  text(key: ReturnType<typeof hostKey>): string | undefined {
    const record = this.replica.get(key);
    return record === undefined ? undefined : Buffer.from(record.content).toString();
  }

  #make(): ReplicaService {
    const file: IdentityFile = {
      load: async () => this.remembered,
      save: async (remembered) => {
        this.remembered = remembered;
      },
    };
    const note = (_fields: object, message: string): void => void this.said.push(message);
    const log: Logger = { ...silentLogger, warn: note, error: note };
    const offsets = (): number[] =>
      [0, ...[...this.end.open].map((peer) => (this.world.wires.ends.get(peer)?.clock.skewMs ?? 0) - this.clock.skewMs)].sort((a, b) => a - b);
    return createReplica(
      {
        signer: keyPair(this.name).signer,
        verifier: ed25519Verifier,
        admits: (record) => record.key.endsWith("/certificate/self") && Buffer.from(record.content).toString() === "member",
        slot: this.disk,
        identityFile: file,
        beside: async () => this.beside,
        mesh: this.end.port,
        liveness: { reachable: () => [...this.end.open], medianOffsetMs: () => offsets()[Math.floor((offsets().length - 1) / 2)] ?? 0 },
        clock: this.clock,
        random: this.world.chance,
        log,
      },
      { self: this.peer, zone: ZONE, acceptLostStore: false, neighboursExpected: false, ...this.settings },
    );
  }
}

export type Three = [Host, Host, Host];

/** Three hosts that know one another. */
export async function three(seed = 1): Promise<{ world: World; hosts: Three }> {
  const world = new World(seed);
  const hosts = (await world.add("peer 1", "peer 2", "peer 3")) as Three;
  await world.run(5_000);
  return { world, hosts };
}

/** A handful of hosts on one virtual clock, with a network that a test can cut, slow down and listen to. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { createHash } from "node:crypto";
import { ClaimSchema, PhaseSchema, type RecordFrame, type SignedRequest, SignedRequestSchema, StampedRequestSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { Mesh as MeshService } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { CcError, type Clock, type ContainerId, type KeyId, type PeerId, type Random, type RecordKey, type Zone, isContainerId, ok, refuse, silentLogger } from "../../../src/base/index.ts";
import { peerIdOf, type Verifier } from "../../../src/identity/index.ts";
import type { CallReply, CallReplyInit, CallRequest, CallRequestInit, GossipVerdict, Liveness, Mesh, MeshCall, Sighting } from "../../../src/mesh/index.ts";
import { createPlacement, type KnownContainer, type Holding, type OwnHost, type Placement, type PlacementOutcome, type PlacementParts, type PlacementView, type Requirements, type RunAsked, type RunRequests } from "../../../src/placement/index.ts";
import { openAward } from "../../../src/placement/award.ts";
import { buildRecord, checkFrame } from "../../../src/state/record.ts";
import { parseRecordKey } from "../../../src/state/record-key.ts";
import type { Draft, Replica, StoredRecord, WriteOptions, Written } from "../../../src/state/index.ts";

export const MESH_ID = "abcdefghijklmnopqrstuvwxyz234567";
export const KEY = `k${"a".repeat(20)}` as KeyId;
export const MIB = 1024 ** 2;

const sha = (...parts: (Uint8Array | string)[]): Uint8Array => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};
const cheapSignature = (publicKey: Uint8Array, message: Uint8Array): Uint8Array => new Uint8Array([...sha("1", publicKey, message), ...sha("2", publicKey, message)]);
export const cheapVerifier: Verifier = { verify: (key, message, signature) => Buffer.compare(cheapSignature(key, message), signature) === 0 };
export const keysOf = (seed: string): { peer: PeerId; sign: (message: Uint8Array) => Uint8Array } => {
  const publicKey = sha(seed);
  return { peer: peerIdOf(publicKey), sign: (message) => cheapSignature(publicKey, message) };
};

export function seeded(seed: number): Random {
  let state = seed >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
  return { bytes: (length) => Uint8Array.from({ length }, () => next() & 255), below: (below) => next() % below };
}

export class VirtualTime {
  nowMs = 0;
  #timers: { atMs: number; order: number; fire: () => void }[] = [];
  #order = 0;

  clock(wallOffsetMs = 0): Clock {
    return { nowMs: () => 1_700_000_000_000 + this.nowMs + wallOffsetMs, monotonicMs: () => this.nowMs, after: (delayMs, fire) => this.after(delayMs, fire) };
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Lets time pass until `promise` is settled. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    const watched = promise.finally(() => {
      done = true;
    });
    watched.catch(() => undefined);
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (done) return watched;
      let next = this.#timers[0];
      for (const timer of this.#timers) if (next === undefined || timer.atMs < next.atMs || (timer.atMs === next.atMs && timer.order < next.order)) next = timer;
      if (next === undefined) throw new Error("stuck: nothing is waiting for time");
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.fire();
    }
  }

  pass(ms: number): Promise<void> {
    return this.settle(this.sleep(ms));
  }
}

export type SpecOptions = Partial<Requirements> & { readonly command?: string };
type Body = { to: { call: string; mesh: string; peer: string }; token: string; spec: SpecOptions; askedBefore: PeerId[]; nonce: string; signedAtMs: number };

const decoder = new TextDecoder();
const requests: RunRequests = {
  check: (request) => Promise.resolve(request.signature === "forged" ? refuse("UNAUTHENTICATED", "the signature is not the key's") : requests.read(request)),
  read: (request) => {
    const body = JSON.parse(decoder.decode(request.body)) as Body;
    const { spec } = body;
    const requirements: Requirements = { name: "", image: "alpine", memoryBytes: 64 * MIB, diskBytes: 64 * MIB, cpuShares: 1024, labels: {}, host: "", zone: "", ...spec };
    return ok({ key: KEY, token: body.token, nonce: body.nonce, signedAtMs: body.signedAtMs, addressedTo: body.to.peer as PeerId, requirements, askedBefore: body.askedBefore, spec: JSON.stringify(spec) } satisfies RunAsked);
  },
};

class FakeReplica implements Replica {
  readonly self: PeerId;
  readonly zone: Zone;
  readonly #host: SimHost;
  readonly records = new Map<string, StoredRecord>();
  readonly byContainer = new Map<ContainerId, Map<string, StoredRecord>>();
  readonly #listeners = new Set<(changed: readonly StoredRecord[]) => void>();
  #minor = 0;
  writeMs = 2;
  failWrites = false;

  constructor(host: SimHost) {
    this.#host = host;
    this.self = host.peer;
    this.zone = host.zone;
  }

  get(key: RecordKey): StoredRecord | undefined {
    return this.list(key).find((record) => record.key === key);
  }

  list(prefix: string): readonly StoredRecord[] {
    return [...this.records.values()].filter((record) => record.key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  stamp(draft: Draft): Promise<StoredRecord> {
    this.#minor += 1;
    const major = draft.key.startsWith("host/") ? 1 : this.#host.clock.nowMs();
    return Promise.resolve(buildRecord({ key: draft.key, version: { major, minor: this.#minor }, final: draft.final === true, content: draft.content }, this.self, { sign: this.#host.sign }));
  }

  async write(drafts: readonly Draft[], options: WriteOptions = {}): Promise<Written> {
    const records = await Promise.all(drafts.map((draft) => this.stamp(draft)));
    await this.#host.world.time.sleep(this.writeMs);
    if (this.failWrites) throw new CcError("INTERNAL", "the disk is full");
    const frames = [...(options.beside ?? []), ...records.map((record) => record.frame)];
    this.store(frames);
    const others = this.#host.world.hosts.filter((other) => other !== this.#host && this.#host.world.isUp(this.#host, other));
    for (const other of others) void this.#host.world.deliver(this.#host, other, "gossip", () => other.replica.store(frames));
    return { records, copies: (options.copies ?? 2) === 2 && others.length > 0 ? 2 : 1 };
  }

  async take(frames: readonly RecordFrame[]): Promise<{ taken: readonly StoredRecord[]; dropped: number }> {
    await this.#host.world.time.sleep(this.writeMs);
    const taken = this.store(frames);
    return { taken, dropped: 0 };
  }

  store(frames: readonly RecordFrame[]): StoredRecord[] {
    const taken: StoredRecord[] = [];
    for (const frame of frames) {
      const checked = checkFrame(frame, cheapVerifier);
      if (!checked.ok) continue;
      const { record } = checked;
      const entry = `${record.key}!${record.writer}`;
      const known = this.records.get(entry);
      if (known !== undefined && (known.final || known.version.major > record.version.major || (known.version.major === record.version.major && known.version.minor >= record.version.minor))) continue;
      this.records.set(entry, record);
      const id = parseRecordKey(record.key)?.id ?? "";
      if (isContainerId(id)) this.byContainer.set(id, (this.byContainer.get(id) ?? new Map()).set(entry, record));
      taken.push(record);
    }
    if (taken.length > 0) for (const listener of this.#listeners) listener(taken);
    return taken;
  }

  onChange(listener: (changed: readonly StoredRecord[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  digest(): Uint8Array {
    return sha(...[...this.records.values()].map((record) => record.hash));
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }
}

function viewOf(host: SimHost): PlacementView {
  const container = (id: ContainerId): KnownContainer | undefined => {
    const records = [...(host.replica.byContainer.get(id)?.values() ?? [])];
    let request: SignedRequest | undefined;
    const phases = new Map<PeerId, string>();
    for (const record of records) {
      const key = parseRecordKey(record.key);
      if (key?.family === "user") request = fromBinary(StampedRequestSchema, record.content).request;
      if (key?.family === "host" && key.kind === "phase") phases.set(key.peer, fromBinary(PhaseSchema, record.content).phase);
    }
    const claims: Holding[] = [];
    for (const record of records) {
      const key = parseRecordKey(record.key);
      if (key?.family !== "host" || key.kind !== "claim") continue;
      const claim = fromBinary(ClaimSchema, record.content);
      const award = claim.warrant?.kind.case === "award" ? openAward(claim.warrant.kind.value, cheapVerifier) : undefined;
      if (award?.ok !== true || award.value.holder !== key.peer || award.value.epoch !== claim.epoch) continue;
      claims.push({ holder: key.peer, epoch: claim.epoch });
    }
    if (request === undefined && claims.length === 0) return undefined;
    const standing = claims.filter((claim) => phases.get(claim.holder) !== "yielded").sort((a, b) => b.epoch - a.epoch || (a.holder < b.holder ? -1 : 1));
    const best = standing[0];
    return { request, best, highestEpoch: Math.max(0, ...claims.map((claim) => claim.epoch)), removed: best !== undefined && phases.get(best.holder) === "gone" };
  };
  return {
    container,
    liveByName: (name) =>
      [...host.replica.byContainer.keys()].filter((id) => {
        const known = container(id);
        const read = known?.request === undefined || known.removed ? undefined : requests.read(known.request);
        return read?.ok === true && read.value.requirements.name === name;
      }),
    hosts: () => host.world.hosts.map(({ peer, name, zone }) => ({ peer, name, zone })),
  };
}

export class SimHost {
  readonly world: World;
  readonly name: string;
  readonly zone: Zone;
  readonly peer: PeerId;
  readonly sign: (message: Uint8Array) => Uint8Array;
  readonly clock: Clock;
  readonly replica: FakeReplica;
  readonly view: PlacementView;
  readonly own: { -readonly [K in keyof OwnHost]: OwnHost[K] };
  readonly handlers = new Map<string, (request: unknown, from: PeerId, signal: AbortSignal) => Promise<unknown>>();
  readonly topics = new Map<string, (data: Uint8Array, from: PeerId) => GossipVerdict>();
  readonly gaveWay: ContainerId[] = [];
  /** Peers that this host holds unreachable. */
  readonly unreachable = new Set<PeerId>();
  dead = false;
  parts: PlacementParts;
  placement: Placement;

  constructor(world: World, name: string, zone: string) {
    const keys = keysOf(name);
    this.world = world;
    this.name = name;
    this.zone = zone as Zone;
    this.peer = keys.peer;
    this.sign = keys.sign;
    this.clock = world.time.clock();
    this.replica = new FakeReplica(this);
    this.view = viewOf(this);
    this.own = { capacity: { memoryBytes: 1024 * MIB, diskBytes: 10_240 * MIB, cpuShares: 4096, containersMax: 100 }, labels: {}, draining: false, loadPerCore: 0, hasImage: () => Promise.resolve(true) };
    this.parts = {
      mesh: this.#mesh(),
      liveness: this.#liveness(),
      replica: this.replica,
      clock: this.clock,
      random: seeded(world.hosts.length + 7),
      logger: silentLogger,
      signer: { sign: keys.sign },
      verifier: cheapVerifier,
      requests,
      view: this.view,
      host: this.own,
      yielding: { giveWay: (id) => this.#giveWay(id) },
    };
    this.placement = createPlacement(this.parts);
    this.placement.start();
  }

  /** The peer's process ends and comes back: memory is lost, records stay. */
  restart(): void {
    this.placement.stop();
    this.handlers.clear();
    this.topics.clear();
    this.dead = false;
    this.placement = createPlacement(this.parts);
    this.placement.start();
  }

  die(): void {
    this.dead = true;
    this.placement.stop();
  }

  async #giveWay(id: ContainerId): Promise<void> {
    this.gaveWay.push(id);
    const phase = create(PhaseSchema, { container: id, phase: "yielded" });
    const { toBinary } = await import("@bufbuild/protobuf");
    await this.replica.write([{ key: `host/${this.peer}/${this.zone}/phase/${id}` as RecordKey, content: toBinary(PhaseSchema, phase) }]);
  }

  #mesh(): Mesh {
    const unused = (): never => {
      throw new Error("not part of this test");
    };
    return {
      self: this.peer,
      connected: () => [],
      onConnection: unused,
      publish: (topic, data) => {
        for (const other of this.world.hosts) {
          if (other !== this) void this.world.deliver(this, other, "bid-request", () => other.topics.get(topic)?.(data, this.peer));
        }
      },
      subscribe: (topic, listener) => {
        this.topics.set(topic, listener);
        return () => this.topics.delete(topic);
      },
      call: (peer, name, request, options) => this.#call(peer, name, request, options.timeoutMs),
      handle: <C extends MeshCall>(name: C, handler: (request: CallRequest<C>, from: PeerId, signal: AbortSignal) => Promise<CallReplyInit<C>>) => {
        this.handlers.set(name, (request, from, signal) => handler(request as CallRequest<C>, from, signal));
      },
      openStream: unused,
      handleStreams: unused,
      disconnect: unused,
    };
  }

  async #call<C extends MeshCall>(peer: PeerId, name: C, init: CallRequestInit<C>, timeoutMs: number): Promise<CallReply<C>> {
    const { world } = this;
    world.calls.push(name);
    const to = world.host(peer);
    if (!world.isUp(this, to) && !world.isSilent(this, to)) throw new CcError("PEER_UNREACHABLE", "no connection");
    return new Promise((resolve, reject) => {
      const cancel = world.time.after(timeoutMs, () => reject(new CcError("TIMEOUT", "no answer")));
      const reply = async (): Promise<void> => {
        const request = create(MeshService.method[name].input, init as never);
        const handler = to.handlers.get(name);
        const answer = await (name === "askAround" ? to.#askAround(request as CallRequest<"askAround">) : (handler?.(request, this.peer, new AbortController().signal) ?? Promise.reject(new CcError("STARTING", "no handler")))).then(
          (value) => ({ value }),
          (thrown: unknown) => ({ thrown }),
        );
        await world.deliver(to, this, `${name}:reply`, () => {
          cancel();
          if ("thrown" in answer) reject(answer.thrown);
          else resolve(create(MeshService.method[name].output, answer.value as never) as unknown as CallReply<C>);
        });
      };
      void world.deliver(this, to, name, reply);
    });
  }

  #askAround(request: CallRequest<"askAround">): Promise<{ frames: RecordFrame[] }> {
    const records = request.ids.filter(isContainerId).flatMap((id) => [...(this.replica.byContainer.get(id)?.values() ?? [])]);
    return Promise.resolve({ frames: records.map((record) => record.frame) });
  }

  #liveness(): Liveness {
    const of = (peer: PeerId): Sighting => {
      const target = this.world.host(peer);
      const standing = this.unreachable.has(peer) ? "unreachable" : "alive";
      const seenBy = this.world.hosts.filter((other) => other !== target && this.world.isUp(other, target) && this.world.isUp(target, other)).map((other) => other.peer);
      return { peer, standing, sinceMs: 0, heardAtMs: 0, seenBy, clockOffsetMs: 0, startNumber: 1, incarnation: 0 };
    };
    const others = (): PeerId[] => this.world.hosts.filter((other) => other !== this).map((other) => other.peer);
    return { of, reachable: () => others().filter((peer) => !this.unreachable.has(peer)), all: () => others().map(of), medianOffsetMs: () => 0, onChange: () => () => undefined };
  }
}

export class World {
  readonly time = new VirtualTime();
  /** Sorted by peer id, so that `hosts[0]` is the lowest. */
  readonly hosts: SimHost[] = [];
  readonly calls: string[] = [];
  /** Every message may be lost or held up: a number is a delay in ms. */
  onMessage: (from: SimHost, to: SimHost, kind: string) => "drop" | number = () => 1;
  /** `from>to` by name: calls fail at once. */
  readonly cut = new Set<string>();
  /** The same, but calls are met with silence. */
  readonly silent = new Set<string>();
  #nonce = 0;

  constructor(count: number, zones: readonly string[] = ["a"]) {
    const names = Array.from({ length: count }, (_, at) => `host-${at}`).sort((x, y) => (keysOf(x).peer < keysOf(y).peer ? -1 : 1));
    names.forEach((name, at) => this.hosts.push(new SimHost(this, name, zones[at % zones.length] ?? "a")));
  }

  host(peer: PeerId): SimHost {
    const host = this.hosts.find((other) => other.peer === peer);
    if (host === undefined) throw new Error(`no host ${peer}`);
    return host;
  }

  at(index: number): SimHost {
    const host = this.hosts[index];
    if (host === undefined) throw new Error(`no host number ${index}`);
    return host;
  }

  isSilent(from: SimHost, to: SimHost): boolean {
    return to.dead || this.silent.has(`${from.name}>${to.name}`);
  }

  isUp(from: SimHost, to: SimHost): boolean {
    return !from.dead && !to.dead && !this.cut.has(`${from.name}>${to.name}`) && !this.isSilent(from, to);
  }

  async deliver(from: SimHost, to: SimHost, kind: string, arrive: () => unknown): Promise<void> {
    const fate = this.onMessage(from, to, kind);
    if (fate === "drop") return;
    await this.time.sleep(fate);
    if (this.isUp(from, to)) await arrive();
  }

  request(to: SimHost, token: string, spec: SpecOptions = {}, askedBefore: readonly SimHost[] = []): SignedRequest {
    this.#nonce += 1;
    const body: Body = { to: { call: "Run", mesh: MESH_ID, peer: to.peer }, token, spec, askedBefore: askedBefore.map((host) => host.peer), nonce: `nonce-${this.#nonce}`, signedAtMs: to.clock.nowMs() };
    return create(SignedRequestSchema, { body: Buffer.from(JSON.stringify(body)), signatureInput: `nonce-${this.#nonce}`, signature: "good" });
  }

  place(to: SimHost, token: string, spec: SpecOptions = {}, askedBefore: readonly SimHost[] = [], signal: AbortSignal = new AbortController().signal): Promise<PlacementOutcome> {
    const request = this.request(to, token, spec, askedBefore);
    const asked = requests.read(request);
    if (!asked.ok) throw new Error(asked.message);
    return to.placement.requester.place(asked.value, request, signal);
  }

  run(to: SimHost, token: string, spec: SpecOptions = {}, askedBefore: readonly SimHost[] = []): Promise<PlacementOutcome> {
    return this.time.settle(this.place(to, token, spec, askedBefore));
  }

  /** Hosts whose own records say that they have claimed the container and have not given way. */
  holders(id: ContainerId): SimHost[] {
    return this.hosts.filter((host) => {
      const records = [...(host.replica.byContainer.get(id)?.values() ?? [])];
      const claim = records.some((record) => record.key === `host/${host.peer}/${host.zone}/claim/${id}`);
      const phase = records.find((record) => record.key === `host/${host.peer}/${host.zone}/phase/${id}`);
      return claim && (phase === undefined || fromBinary(PhaseSchema, phase.content).phase !== "yielded");
    });
  }

  stop(): void {
    for (const host of this.hosts) host.placement.stop();
  }
}

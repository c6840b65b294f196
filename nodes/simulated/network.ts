import { create, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { hash } from "node:crypto";
import { Mesh as MeshService } from "../../src/api/gen/cc/v1/mesh_pb.ts";
import { asCcError, CcError, type PeerId } from "../../src/base/index.ts";
import type { CallOptions, CallReply, CallReplyInit, CallRequest, CallRequestInit, FrameStream, GossipVerdict, Mesh, MeshCall, StreamHandler } from "../../src/mesh/index.ts";
import type { SeededRandom } from "./random.ts";
import type { HostClock, Timeline } from "./timeline.ts";

export type NetworkFaults = {
  /** Probability that a message (gossip, a call's request, a call's reply) is lost. */
  lossRate: number;
  /** Probability that a gossip message comes twice. */
  duplicateRate: number;
  delayMsMin: number;
  delayMsMax: number;
  /** Probability that a message takes up to `slowMs` on top: messages overtake each other. */
  slowRate: number;
  slowMs: number;
};

/** What is known of a call on its way, for who watches the wires. */
export type CarriedCall = { readonly from: PeerId; readonly to: PeerId; readonly name: MeshCall; readonly request: object };

type Handler = (request: never, from: PeerId, signal: AbortSignal) => Promise<unknown>;
type Listener = (data: Uint8Array, from: PeerId) => GossipVerdict;

export const CALM: Readonly<NetworkFaults> = { lossRate: 0, duplicateRate: 0, delayMsMin: 1, delayMsMax: 8, slowRate: 0, slowMs: 0 };
const REDIAL_MS_MIN = 400;
const REDIAL_MS_MAX = 2_000;
const SEEN_MAX = 4_096;

/** The wires between simulated hosts: delay, loss, duplication, reordering (by delay), cuts in each direction. */
export class Network {
  #faults: NetworkFaults = { ...CALM };
  /** Since when no message is lost or held up by chance; infinite while some are. */
  calmSinceMs = 0;
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  readonly nodes = new Map<PeerId, SimulatedMesh>();
  readonly #cuts = new Map<string, number>();
  /** Peers that gossip does not reach; calls do. */
  readonly gossipCutTo = new Set<PeerId>();
  /** Probability that the answer to a call of this name is lost. */
  readonly lostReplies = new Map<MeshCall, number>();
  /** A neighbour was scored for what it passed on or made. */
  onReject: (by: PeerId, from: PeerId) => void = () => undefined;
  /** Who may see every call that arrives: the invariants. */
  onCall: (call: CarriedCall) => void = () => undefined;
  /** When a direction was cut last, by `from>to`: who was reachable lately is a question of the invariants. */
  readonly #healedAtMs = new Map<string, number>();

  constructor(timeline: Timeline, random: SeededRandom) {
    this.timeline = timeline;
    this.random = random;
  }

  get faults(): Readonly<NetworkFaults> {
    return this.#faults;
  }

  /** From now on, on all wires. */
  behave(faults: Partial<NetworkFaults>): void {
    this.#faults = { ...CALM, ...faults };
    const isCalm = this.#faults.lossRate === 0 && this.#faults.slowRate === 0;
    if (!isCalm) this.calmSinceMs = Number.POSITIVE_INFINITY;
    else if (this.calmSinceMs === Number.POSITIVE_INFINITY) this.calmSinceMs = this.timeline.nowMs;
  }

  /** One direction. Two cuts of it need two heals. */
  cut(from: PeerId, to: PeerId): void {
    this.#cuts.set(wire(from, to), (this.#cuts.get(wire(from, to)) ?? 0) + 1);
  }

  heal(from: PeerId, to: PeerId): void {
    const left = (this.#cuts.get(wire(from, to)) ?? 0) - 1;
    if (left > 0) this.#cuts.set(wire(from, to), left);
    else if (this.#cuts.delete(wire(from, to))) this.#healedAtMs.set(wire(from, to), this.timeline.nowMs);
  }

  healAll(): void {
    for (const name of this.#cuts.keys()) this.#healedAtMs.set(name, this.timeline.nowMs);
    this.#cuts.clear();
    this.behave({});
  }

  /** Since when messages go both ways between two hosts; infinite while they don't. */
  openSinceMs(a: PeerId, b: PeerId): number {
    if (!this.passes(a, b) || !this.passes(b, a)) return Number.POSITIVE_INFINITY;
    return Math.max(this.calmSinceMs, this.#healedAtMs.get(wire(a, b)) ?? 0, this.#healedAtMs.get(wire(b, a)) ?? 0);
  }

  passes(from: PeerId, to: PeerId): boolean {
    return !this.#cuts.has(wire(from, to));
  }

  get cutCount(): number {
    return this.#cuts.size;
  }

  delayMs(): number {
    const { delayMsMin, delayMsMax, slowRate, slowMs } = this.faults;
    return this.random.between(delayMsMin, delayMsMax) + (slowRate > 0 && this.random.chance(slowRate) ? this.random.below(slowMs) : 0);
  }

  /** Delivers after a seeded delay, unless the wire is cut when it leaves or arrives, or the message is lost. */
  carry(from: PeerId, to: PeerId, deliver: (node: SimulatedMesh) => void): void {
    if (!this.passes(from, to) || (this.faults.lossRate > 0 && this.random.chance(this.faults.lossRate))) return;
    this.timeline.after(this.delayMs(), () => {
      const node = this.nodes.get(to);
      if (node === undefined || !this.passes(from, to)) return;
      // A message to a host whose loop stands still waits for it.
      node.clock.deliver(() => deliver(node));
    });
  }
}

const wire = (from: PeerId, to: PeerId): string => `${from}>${to}`;

/** A connection as one side holds it: to one life of the other. */
type Link = { readonly to: SimulatedMesh; readonly closed: AbortController };

/** One life of a host on the simulated network: the same port as libp2p's. */
export class SimulatedMesh implements Mesh {
  readonly self: PeerId;
  readonly clock: HostClock;
  readonly #network: Network;
  readonly #admitted: (peer: PeerId) => boolean;
  readonly #links = new Map<PeerId, Link>();
  readonly #connectionListeners = new Set<(peer: PeerId, open: boolean) => void>();
  readonly #topics = new Map<string, Set<Listener>>();
  readonly #handlers = new Map<MeshCall, Handler>();
  readonly #seen = new Set<string>();

  constructor(network: Network, self: PeerId, clock: HostClock, admitted: (peer: PeerId) => boolean) {
    this.#network = network;
    this.self = self;
    this.clock = clock;
    this.#admitted = admitted;
    network.nodes.set(self, this);
    this.clock.after(network.random.below(REDIAL_MS_MIN), () => this.#redial());
  }

  connected(): readonly PeerId[] {
    return [...this.#links.keys()];
  }

  onConnection(listener: (peer: PeerId, open: boolean) => void): () => void {
    this.#connectionListeners.add(listener);
    return () => this.#connectionListeners.delete(listener);
  }

  publish(topic: string, data: Uint8Array): void {
    this.#remember(nameOf(topic, data));
    this.#flood(topic, data, undefined);
  }

  subscribe(topic: string, listener: Listener): () => void {
    const listeners = this.#topics.get(topic) ?? new Set();
    this.#topics.set(topic, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  async call<C extends MeshCall>(peer: PeerId, name: C, request: CallRequestInit<C>, options: CallOptions): Promise<CallReply<C>> {
    options.signal?.throwIfAborted();
    const link = this.#links.get(peer);
    if (link === undefined) throw new CcError("PEER_UNREACHABLE", `no connection to ${peer}`);
    const { input, output } = MeshService.method[name];
    // Over the wire as bytes: what a message cannot say does not arrive, and nobody shares an object with another host.
    const sent = toBinary(input, create(input, request as never));
    return new Promise<CallReply<C>>((resolve, reject) => {
      let open = true;
      const gone = new AbortController();
      const settle = (finish: () => void): void => {
        if (!open) return;
        open = false;
        cancel();
        options.signal?.removeEventListener("abort", onAbort);
        link.closed.signal.removeEventListener("abort", onClosed);
        finish();
      };
      const giveUp = (why: CcError): void =>
        settle(() => {
          gone.abort(why);
          reject(why);
        });
      const onAbort = (): void => settle(() => reject(options.signal?.reason));
      const onClosed = (): void => giveUp(new CcError("PEER_UNREACHABLE", `the connection to ${peer} was lost`));
      const cancel = this.clock.after(options.timeoutMs, () => giveUp(new CcError("TIMEOUT", `no answer from ${peer} within ${options.timeoutMs} ms`)));
      options.signal?.addEventListener("abort", onAbort, { once: true });
      link.closed.signal.addEventListener("abort", onClosed, { once: true });
      this.#network.carry(this.self, peer, (node) => {
        if (node !== link.to || !node.#holds(this)) return this.#network.carry(peer, this.self, (me) => me === this && me.#close(peer, link));
        const answer = (finish: () => void): void => {
          const { lostReplies, random } = this.#network;
          if (lostReplies.size > 0 && random.chance(lostReplies.get(name) ?? 0)) return;
          this.#network.carry(peer, this.self, (me) => me === this && settle(finish));
        };
        node.#serve(name, sent, this.self, gone.signal).then(
          (reply) => answer(() => resolve(fromBinary(output, reply) as CallReply<C>)),
          (error: unknown) => answer(() => reject(error)),
        );
      });
    });
  }

  handle<C extends MeshCall>(name: C, handler: (request: CallRequest<C>, from: PeerId, signal: AbortSignal) => Promise<CallReplyInit<C>>): void {
    this.#handlers.set(name, handler as Handler);
  }

  /** How this life answers a call: for who puts something else in its place. */
  handlerOf(name: MeshCall): Handler | undefined {
    return this.#handlers.get(name);
  }

  async openStream(peer: PeerId): Promise<FrameStream> {
    throw new CcError("PEER_UNREACHABLE", `the simulated network carries no byte streams (to ${peer})`);
  }

  handleStreams(_handler: StreamHandler): void {
    // Byte streams carry output to people: nothing that is decided depends on them.
  }

  async disconnect(peer: PeerId): Promise<void> {
    const link = this.#links.get(peer);
    if (link === undefined) return;
    this.#close(peer, link);
    // The other side's connection ends too, if the wire lets it know.
    this.#network.carry(this.self, peer, (node) => node === link.to && node.#closeTo(this));
  }

  /** What the operating system of a process that died tells the others: its connections are reset. */
  reset(): void {
    for (const [peer, link] of this.#links) this.#network.carry(this.self, peer, (node) => node === link.to && node.#closeTo(this));
  }

  async #serve(name: MeshCall, bytes: Uint8Array, from: PeerId, signal: AbortSignal): Promise<Uint8Array> {
    if (!this.#admitted(from)) throw new CcError("PEER_UNREACHABLE", `${from} is not admitted here`);
    const handler = this.#handlers.get(name);
    if (handler === undefined) throw new CcError("NOT_YET", `no handler for ${name}`);
    const { input, output } = MeshService.method[name];
    const request = fromBinary(input, bytes) as MessageShape<typeof input>;
    this.#network.onCall({ from, to: this.self, name, request });
    try {
      return toBinary(output, create(output, (await handler(request as never, from, signal)) as never));
    } catch (thrown) {
      // Code, message and details cross the wire, nothing else.
      const { code, message, details } = asCcError(thrown);
      throw new CcError(code, message, { details: { ...details } });
    }
  }

  #flood(topic: string, data: Uint8Array, except: PeerId | undefined): void {
    const { random, faults, gossipCutTo } = this.#network;
    for (const [peer, link] of this.#links) {
      if (peer === except || gossipCutTo.has(peer)) continue;
      const copies = faults.duplicateRate > 0 && random.chance(faults.duplicateRate) ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) this.#network.carry(this.self, peer, (node) => node === link.to && node.#receive(topic, data, this));
    }
  }

  #receive(topic: string, data: Uint8Array, from: SimulatedMesh): void {
    const name = nameOf(topic, data);
    if (!this.#holds(from) || !this.#admitted(from.self) || this.#seen.has(name)) return;
    this.#remember(name);
    let verdict: GossipVerdict = "ignore";
    for (const listener of this.#topics.get(topic) ?? []) verdict = listener(data, from.self);
    if (verdict === "reject") this.#network.onReject(this.self, from.self);
    if (verdict === "accept") this.#flood(topic, data, from.self);
  }

  #remember(name: string): void {
    this.#seen.add(name);
    if (this.#seen.size <= SEEN_MAX) return;
    for (const oldest of this.#seen) {
      this.#seen.delete(oldest);
      return;
    }
  }

  /** Dials whoever is not connected: a connection needs both directions and both sides' consent. */
  #redial(): void {
    // Who is not admitted any more loses its connection too.
    for (const peer of [...this.#links.keys()]) if (!this.#admitted(peer)) void this.disconnect(peer);
    for (const node of this.#network.nodes.values()) {
      const peer = node.self;
      if (peer === this.self || this.#links.has(peer) || !this.#admitted(peer)) continue;
      this.#network.carry(this.self, peer, (other) => {
        if (!other.#admitted(this.self)) return;
        this.#network.carry(peer, this.self, (me) => {
          if (me !== this || !this.#admitted(peer) || this.#network.nodes.get(peer) !== other || !other.clock.alive) return;
          this.#open(other);
          other.#open(this);
        });
      });
    }
    this.clock.after(this.#network.random.between(REDIAL_MS_MIN, REDIAL_MS_MAX), () => this.#redial());
  }

  #holds(other: SimulatedMesh): boolean {
    return this.#links.get(other.self)?.to === other;
  }

  #open(other: SimulatedMesh): void {
    if (!this.clock.alive || this.#holds(other)) return;
    const before = this.#links.get(other.self);
    if (before !== undefined) this.#close(other.self, before);
    this.#links.set(other.self, { to: other, closed: new AbortController() });
    for (const listener of this.#connectionListeners) listener(other.self, true);
  }

  #closeTo(other: SimulatedMesh): void {
    const link = this.#links.get(other.self);
    if (link?.to === other) this.#close(other.self, link);
  }

  #close(peer: PeerId, link: Link): void {
    if (!this.clock.alive || this.#links.get(peer) !== link) return;
    this.#links.delete(peer);
    link.closed.abort();
    for (const listener of this.#connectionListeners) listener(peer, false);
  }
}

/** A message is carried to all as the same bytes: named once. */
const names = new WeakMap<Uint8Array, { readonly topic: string; readonly name: string }>();

function nameOf(topic: string, data: Uint8Array): string {
  const known = names.get(data);
  if (known?.topic === topic) return known.name;
  const name = hash("sha1", Buffer.concat([Buffer.from(topic), data]), "base64");
  names.set(data, { topic, name });
  return name;
}

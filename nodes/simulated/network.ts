import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Mesh as MeshService } from "../../src/api/gen/cc/v1/mesh_pb.ts";
import { CcError, type PeerId } from "../../src/base/index.ts";
import type { CallOptions, CallReply, CallRequest, CallReplyInit, CallRequestInit, FrameStream, GossipVerdict, Mesh, MeshCall, StreamHandler } from "../../src/mesh/index.ts";
import type { SeededRandom } from "./random.ts";
import type { HostClock, Timeline } from "./timeline.ts";

export type NetworkFaults = {
  /** Probability that a message (gossip, a call's request, a call's reply) is lost. */
  lossRate: number;
  /** Probability that a gossip message comes twice. */
  duplicateRate: number;
  delayMsMin: number;
  delayMsMax: number;
};

type Handler = (request: never, from: PeerId, signal: AbortSignal) => Promise<unknown>;
type Listener = (data: Uint8Array, from: PeerId) => GossipVerdict;

const REDIAL_MS = 1_000;
const SEEN_MAX = 4_096;

/** The wires between simulated hosts: delay, loss, duplication, reordering (by delay), cuts in each direction. */
export class Network {
  readonly faults: NetworkFaults = { lossRate: 0, duplicateRate: 0, delayMsMin: 1, delayMsMax: 8 };
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  readonly nodes = new Map<PeerId, SimulatedMesh>();
  readonly #cuts = new Set<string>();

  constructor(timeline: Timeline, random: SeededRandom) {
    this.timeline = timeline;
    this.random = random;
  }

  cut(from: PeerId, to: PeerId): void {
    this.#cuts.add(`${from}>${to}`);
  }

  healAll(): void {
    this.#cuts.clear();
  }

  passes(from: PeerId, to: PeerId): boolean {
    return !this.#cuts.has(`${from}>${to}`);
  }

  /** Delivers after a seeded delay, unless the wire is cut when it leaves or arrives, or the message is lost. */
  carry(from: PeerId, to: PeerId, deliver: (node: SimulatedMesh) => void): void {
    if (!this.passes(from, to) || this.random.chance(this.faults.lossRate)) return;
    const sender = this.nodes.get(from);
    this.timeline.after(this.random.between(this.faults.delayMsMin, this.faults.delayMsMax), () => {
      const node = this.nodes.get(to);
      if (node === undefined || !node.clock.alive || !this.passes(from, to)) return;
      // A message to a host whose loop stands still waits for it.
      const lateMs = node.clock.stalledUntilMs - this.timeline.nowMs;
      if (lateMs > 0) node.clock.after(lateMs, () => deliver(node));
      else if (sender === undefined || this.nodes.get(to) === node) deliver(node);
    });
  }
}

/** One life of a host on the simulated network: the same port as libp2p's. */
export class SimulatedMesh implements Mesh {
  readonly self: PeerId;
  readonly clock: HostClock;
  readonly #network: Network;
  readonly #admitted: (peer: PeerId) => boolean;
  readonly #connected = new Set<PeerId>();
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
    this.#redial();
  }

  connected(): readonly PeerId[] {
    return [...this.#connected];
  }

  onConnection(listener: (peer: PeerId, open: boolean) => void): () => void {
    this.#connectionListeners.add(listener);
    return () => this.#connectionListeners.delete(listener);
  }

  publish(topic: string, data: Uint8Array): void {
    this.#seen.add(nameOf(topic, data));
    this.#flood(topic, data, undefined);
  }

  subscribe(topic: string, listener: Listener): () => void {
    const listeners = this.#topics.get(topic) ?? new Set();
    this.#topics.set(topic, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  async call<C extends MeshCall>(peer: PeerId, name: C, request: CallRequestInit<C>, options: CallOptions): Promise<CallReply<C>> {
    if (options.signal?.aborted === true) throw options.signal.reason;
    if (!this.#connected.has(peer)) throw new CcError("PEER_UNREACHABLE", `no connection to ${peer}`);
    const method = MeshService.method[name];
    const sent = create(method.input, request as never) as CallRequest<C>;
    return new Promise<CallReply<C>>((resolve, reject) => {
      let open = true;
      const gone = new AbortController();
      const settle = (finish: () => void): void => {
        if (!open) return;
        open = false;
        cancel();
        options.signal?.removeEventListener("abort", onAbort);
        finish();
      };
      const onAbort = (): void => settle(() => reject(options.signal?.reason));
      const cancel = this.clock.after(options.timeoutMs, () =>
        settle(() => {
          gone.abort(new CcError("TIMEOUT", "the caller waits no longer"));
          reject(new CcError("TIMEOUT", `no answer from ${peer} within ${options.timeoutMs} ms`));
        }),
      );
      options.signal?.addEventListener("abort", onAbort, { once: true });
      this.#network.carry(this.self, peer, (node) => {
        const answer = (finish: () => void): void => this.#network.carry(peer, this.self, (me) => me === this && settle(finish));
        node.#serve(name, sent, this.self, gone.signal).then(
          (reply) => answer(() => resolve(create(method.output, reply as never) as CallReply<C>)),
          (error: unknown) => answer(() => reject(error)),
        );
      });
    });
  }

  handle<C extends MeshCall>(name: C, handler: (request: CallRequest<C>, from: PeerId, signal: AbortSignal) => Promise<CallReplyInit<C>>): void {
    this.#handlers.set(name, handler as Handler);
  }

  async openStream(peer: PeerId): Promise<FrameStream> {
    throw new CcError("PEER_UNREACHABLE", `the simulated network carries no byte streams (to ${peer})`);
  }

  handleStreams(_handler: StreamHandler): void {
    // Byte streams carry output to people: nothing that is decided depends on them.
  }

  async disconnect(peer: PeerId): Promise<void> {
    this.#setConnected(peer, false);
    // The other side's connection ends too, if the wire lets it know.
    this.#network.carry(this.self, peer, (node) => node.#setConnected(this.self, false));
  }

  async #serve(name: MeshCall, request: unknown, from: PeerId, signal: AbortSignal): Promise<unknown> {
    if (!this.#admitted(from)) throw new CcError("PEER_UNREACHABLE", `${from} is not admitted here`);
    const handler = this.#handlers.get(name);
    if (handler === undefined) throw new CcError("NOT_YET", `no handler for ${name}`);
    return handler(request as never, from, signal);
  }

  #flood(topic: string, data: Uint8Array, except: PeerId | undefined): void {
    for (const peer of this.#connected) {
      if (peer === except) continue;
      const copies = this.#network.random.chance(this.#network.faults.duplicateRate) ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) this.#network.carry(this.self, peer, (node) => node.#receive(topic, data, this.self));
    }
  }

  #receive(topic: string, data: Uint8Array, from: PeerId): void {
    const name = nameOf(topic, data);
    if (!this.#connected.has(from) || this.#seen.has(name)) return;
    this.#seen.add(name);
    if (this.#seen.size > SEEN_MAX)
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest);
        break;
      }
    let verdict: GossipVerdict = "ignore";
    for (const listener of this.#topics.get(topic) ?? []) verdict = listener(data, from);
    if (verdict === "accept") this.#flood(topic, data, from);
  }

  /** Dials whoever is not connected: a connection needs both directions and both sides' consent. */
  #redial(): void {
    for (const node of this.#network.nodes.values()) {
      const peer = node.self;
      if (peer === this.self || this.#connected.has(peer) || !this.#admitted(peer)) continue;
      this.#network.carry(this.self, peer, (other) => {
        if (!other.#admitted(this.self)) return;
        this.#network.carry(peer, this.self, (me) => {
          if (me !== this) return;
          this.#setConnected(peer, true);
          other.#setConnected(this.self, true);
        });
      });
    }
    this.clock.after(REDIAL_MS + this.#network.random.below(200), () => this.#redial());
  }

  #setConnected(peer: PeerId, open: boolean): void {
    if (!this.clock.alive || this.#connected.has(peer) === open) return;
    if (open) this.#connected.add(peer);
    else this.#connected.delete(peer);
    for (const listener of this.#connectionListeners) listener(peer, open);
  }

  /** What the operating system of a host that died by itself tells the others: its connections are reset. */
  reset(): void {
    for (const peer of this.#connected) this.#network.carry(this.self, peer, (node) => node.#setConnected(this.self, false));
  }
}

function nameOf(topic: string, data: Uint8Array): string {
  return createHash("sha256").update(topic).update("\n").update(data).digest("base64");
}

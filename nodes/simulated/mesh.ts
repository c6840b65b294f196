import { hash } from "node:crypto";
import { create, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { Mesh as MeshService } from "../../src/api/gen/cc/v1/mesh_pb.ts";
import { asCcError, CcError, type PeerId } from "../../src/base/index.ts";
import type {
  CallOptions,
  CallReply,
  CallReplyInit,
  CallRequest,
  CallRequestInit,
  FrameStream,
  GossipVerdict,
  Mesh,
  MeshCall,
  StreamHandler,
} from "../../src/mesh/index.ts";
import type { Network } from "./network.ts";
import type { HostClock } from "./timeline.ts";

type Handler = (request: never, from: PeerId, signal: AbortSignal) => Promise<unknown>;
type Listener = (data: Uint8Array, from: PeerId) => GossipVerdict;

const REDIAL_MS_MIN = 400;
const REDIAL_MS_MAX = 2_000;
const SEEN_MAX = 4_096;

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

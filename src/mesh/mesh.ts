import type { MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Mesh as MeshService } from "../api/gen/cc/v1/mesh_pb.ts";
import type { PeerId } from "../base/index.ts";

type Methods = (typeof MeshService)["method"];
/** The calls of the contract between peers: `putRecords`, `awardContainer` and so on. */
export type MeshCall = keyof Methods;
export type CallRequest<C extends MeshCall> = MessageShape<Methods[C]["input"]>;
export type CallRequestInit<C extends MeshCall> = MessageInitShape<Methods[C]["input"]>;
export type CallReply<C extends MeshCall> = MessageShape<Methods[C]["output"]>;
export type CallReplyInit<C extends MeshCall> = MessageInitShape<Methods[C]["output"]>;

export type CallOptions = { readonly timeoutMs: number; readonly signal?: AbortSignal };

/** `reject` scores the sender down: only for what the sender itself signed. */
export type GossipVerdict = "accept" | "ignore" | "reject";

/**
 * A byte stream between two peers, cut into frames (src/api/streams.ts). Bounded both ways: `send` waits for room,
 * frames that nobody takes stop the sender.
 */
export interface FrameStream {
  readonly peer: PeerId;
  /**
   * One frame, given in parts, which are the caller's again at once. Resolves when it is on its way and there is room for
   * the next. Throws CANCELLED when the stream is gone.
   */
  send(...parts: readonly Uint8Array[]): Promise<void>;
  /** The other side's frames, whose bytes nobody else knows; ends at its half-close, throws when the stream broke. */
  frames(): AsyncIterable<Uint8Array>;
  /** Half-closes: no further frames from here. */
  end(): Promise<void>;
  /** Tears both directions down. */
  abort(reason: unknown): void;
}

export type StreamHandler = (opening: Uint8Array, stream: FrameStream) => Promise<void>;

/**
 * The network as the rest sees it: libp2p between real hosts, a seeded event queue in the simulator. Who calls is known
 * and admitted: a peer without a valid certificate has no connection.
 */
export interface Mesh {
  readonly self: PeerId;
  /** Peers with an open, authenticated connection. */
  connected(): readonly PeerId[];
  /** Tells of connections opened and closed. Gives a function that ends the telling. */
  onConnection(listener: (peer: PeerId, open: boolean) => void): () => void;
  /**
   * When (monotonic) something last proved a round trip to the peer: a reply, or room on a stream. Where a network has
   * this, liveness doesn't cut off a host that is under load and answers late, but answers.
   */
  answeredAtMs?(peer: PeerId): number | undefined;
  /** Gossip: best effort, at most once per content, not to oneself. */
  publish(topic: string, data: Uint8Array): void;
  subscribe(topic: string, listener: (data: Uint8Array, from: PeerId) => GossipVerdict): () => void;
  /** One call. Throws CcError: PEER_UNREACHABLE (no connection), TIMEOUT, or what the other side refused with. */
  call<C extends MeshCall>(peer: PeerId, name: C, request: CallRequestInit<C>, options: CallOptions): Promise<CallReply<C>>;
  /** Answers a call; a thrown CcError reaches the caller with its code. One handler per call. */
  handle<C extends MeshCall>(name: C, handler: (request: CallRequest<C>, from: PeerId, signal: AbortSignal) => Promise<CallReplyInit<C>>): void;
  /** Opens a byte stream: `opening` (at most 1 MiB, a StreamOpen message) goes first. */
  openStream(peer: PeerId, opening: Uint8Array, options: CallOptions): Promise<FrameStream>;
  handleStreams(handler: StreamHandler): void;
  /** Closes all connections to a peer: it was removed, or it is held unreachable. */
  disconnect(peer: PeerId): Promise<void>;
}

/** Gossip topics. Bid requests go to a topic of their zone. */
export const RECORDS_TOPIC = "/cc/records/1";
export const bidTopic = (zone: string): string => `/cc/bids/1/${zone}`;

import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import type { Connection, MultiaddrConnection, Stream } from "@libp2p/interface";
import { peerIdFromPrivateKey, peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { asCcError, CcError, type Clock, isPeerId, type Logger, type PeerId, type Random } from "../../base/index.ts";
import type { AddressBook } from "../addresses.ts";
import { ADDRESSES_PER_PEER_MAX, OPENING_BYTES_MAX, STREAMS_MAX } from "../limits.ts";
import type { CallOptions, Mesh, StreamHandler } from "../mesh.ts";
import { createGossip } from "./gossip.ts";
import { joinWrites } from "./joined-writes.ts";
import { Libp2pFrameStream } from "./libp2p-frame-stream.ts";
import { type CcNode, createNode } from "./libp2p-node.ts";
import { createLightLane, LANE_PROTOCOL, LIGHT_CALLS } from "./light-lane.ts";
import { CALLS_PROTOCOL, createPeerCalls } from "./peer-calls.ts";
import { createRedial } from "./redial.ts";

const STREAMS_PROTOCOL = "/cc/stream/1";
const OPENING_MS = 10_000;
const OPEN_LANE_MS = 3_000;
const DIAL_MS = 6_000;
const CHECK_MS = 5_000;
/** A connection that is this old has its gossip stream, or will not get one by itself. */
const GOSSIP_READY_MS = 15_000;

export type Libp2pMeshParts = {
  /** The 32 bytes of the host's Ed25519 key. */
  readonly seed: Uint8Array;
  /** Multiaddrs such as /ip4/0.0.0.0/tcp/7411. */
  readonly listen: readonly string[];
  /** What to tell others instead of the interfaces' addresses. */
  readonly announce?: readonly string[];
  /** Whether a peer has a valid certificate. Asked at each connection and message: must be cheap. */
  readonly admitted: (peer: PeerId) => boolean;
  /** All admitted peers: whom to be connected to. Oneself may be among them. */
  readonly members: () => readonly PeerId[];
  readonly addresses: AddressBook;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
};

export interface Libp2pMesh extends Mesh {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Where this peer listens, as others may dial it; without /p2p/... Empty until started. */
  listenAddresses(): readonly string[];
  /** Members came or went: closes connections to who is no longer admitted, dials who is new. */
  membersChanged(): Promise<void>;
}

const joinedAndLetIn = (connection: MultiaddrConnection): boolean => {
  joinWrites(connection);
  return false;
};

const withoutPeer = (address: string): string => address.replace(/\/p2p\/[^/]+$/, "");

export async function createLibp2pMesh(parts: Libp2pMeshParts): Promise<Libp2pMesh> {
  const { admitted, members, addresses, clock, random, log } = parts;
  const privateKey = await generateKeyPairFromSeed("Ed25519", parts.seed);
  const self = peerIdFromPrivateKey(privateKey).toString();
  if (!isPeerId(self)) throw new CcError("INTERNAL", "an Ed25519 key gave a peer id of another kind");
  const listeners = new Set<(peer: PeerId, open: boolean) => void>();
  const gossip = createGossip(admitted, clock, log);
  const answeredAtMs = new Map<PeerId, number>();
  let streamHandler: StreamHandler | undefined;
  let node: CcNode | undefined;
  let stopping = new AbortController();
  let cancelCheck: (() => void) | undefined;

  const answered = (peer: PeerId): void => {
    answeredAtMs.set(peer, clock.monotonicMs());
  };

  const connectionsTo = (peer: PeerId): Connection[] => node?.getConnections(peerIdFromString(peer)).filter((connection) => connection.status === "open") ?? [];

  const openStreamOf = async (peer: PeerId, protocol: string, signal: AbortSignal): Promise<Stream> => {
    // The newest: after the other side's restart the older one may be dead without a word.
    const [newest] = connectionsTo(peer).sort((a, b) => b.timeline.open - a.timeline.open);
    if (newest === undefined) throw new CcError("PEER_UNREACHABLE", `there is no connection to ${peer}`);
    try {
      return await newest.newStream(protocol, { signal });
    } catch (error) {
      throw new CcError("PEER_UNREACHABLE", `${peer} does not take a stream for ${protocol}`, { cause: error });
    }
  };

  const calls = createPeerCalls({ openStream: (peer, signal) => openStreamOf(peer, CALLS_PROTOCOL, signal), answered, log });

  const lane = createLightLane({
    openStream: async (peer) => new Libp2pFrameStream(peer, await openStreamOf(peer, LANE_PROTOCOL, AbortSignal.timeout(OPEN_LANE_MS)), false, () => undefined),
    answer: (name, request, from) => calls.answer(name, request, from, stopping.signal),
    answered,
  });
  const dropCalls = (peer?: PeerId): void => {
    calls.drop(peer);
    lane.drop(peer);
  };

  const onLane = (stream: Stream, connection: Connection): void => {
    const frames = new Libp2pFrameStream(connection.remotePeer.toString() as PeerId, stream, false, () => undefined);
    lane.serve(frames).then(
      () => frames.retire(),
      (error: unknown) => frames.abort(error),
    );
  };

  const disconnect = async (peer: PeerId): Promise<void> => {
    // Abort, not close: a dead link's close would wait for what sits in TCP's queue.
    for (const connection of node?.getConnections(peerIdFromString(peer)) ?? []) connection.abort(new Error("disconnected by this peer"));
    dropCalls(peer);
  };

  const dial = async (peer: PeerId, attempts: number): Promise<void> => {
    if (node === undefined) return;
    const id = peerIdFromString(peer);
    const signal = AbortSignal.timeout(DIAL_MS);
    const known = addresses.addressesOf(peer).slice(0, ADDRESSES_PER_PEER_MAX);
    let targets = known.map((address) => multiaddr(`${withoutPeer(address)}/p2p/${peer}`));
    // Every third attempt asks the DHT: the peer may have moved. Always with a limit: a query alone may take minutes.
    if ((known.length === 0 || attempts % 3 === 2) && node.getPeers().length > 0) {
      const found = await node.peerRouting.findPeer(id, { signal });
      targets = found.multiaddrs.slice(0, ADDRESSES_PER_PEER_MAX).map((address) => multiaddr(`${withoutPeer(address.toString())}/p2p/${peer}`));
    }
    if (targets.length === 0) throw new CcError("PEER_UNREACHABLE", `no address of ${peer} is known`);
    await node.dial(targets, { signal });
  };

  const redial = createRedial({
    self,
    clock,
    random,
    log,
    wanted: () => members().filter((peer) => peer !== self),
    isConnected: (peer) => connectionsTo(peer).length > 0,
    dial,
  });

  // Gossipsub does not reopen a stream that was reset while its connection lives: that peer would hear nothing more.
  const checkGossip = (): void => {
    cancelCheck = clock.after(CHECK_MS, checkGossip);
    for (const peer of node?.getPeers() ?? []) {
      const open = node?.getConnections(peer) ?? [];
      const old = open.every((connection) => Date.now() - connection.timeline.open > GOSSIP_READY_MS);
      const gossips = open.some((connection) =>
        connection.streams.some((stream) => stream.direction === "outbound" && stream.protocol.startsWith("/meshsub/")),
      );
      if (!old || gossips || open.length === 0) continue;
      log.warn({ peer: peer.toString() }, "the gossip stream to a peer is gone, its connection is made anew");
      void disconnect(peer.toString() as PeerId);
    }
  };

  const onInboundStream = async (stream: Stream, connection: Connection): Promise<void> => {
    const peer = connection.remotePeer.toString() as PeerId;
    const frames = new Libp2pFrameStream(peer, stream, true, () => answered(peer));
    try {
      const opening = await frames.opening(OPENING_MS);
      if (streamHandler === undefined) throw new CcError("STARTING", "this peer takes no streams yet");
      await streamHandler(opening, frames);
      await frames.retire();
    } catch (error) {
      log.debug({ peer, err: error }, "a peer's stream failed");
      frames.abort(error);
    }
  };

  const denied = (peer: { toString(): string }): boolean => {
    const id = peer.toString();
    return !isPeerId(id) || !admitted(id);
  };

  return {
    self,
    async start() {
      if (node !== undefined) return;
      stopping = new AbortController();
      node = await createNode({
        privateKey,
        listen: parts.listen,
        announce: parts.announce ?? [],
        gossip,
        // Noise has proved the id when these are asked: nothing here answers a stranger.
        gater: {
          denyDialPeer: denied,
          // Not to deny: this is where a connection is first seen.
          denyInboundConnection: joinedAndLetIn,
          denyOutboundConnection: (_peer, connection) => joinedAndLetIn(connection),
          denyOutboundEncryptedConnection: denied,
          denyInboundEncryptedConnection: denied,
          denyInboundUpgradedConnection: denied,
          denyOutboundUpgradedConnection: denied,
        },
      });
      const tell = (peer: string, open: boolean): void => {
        if (!isPeerId(peer)) return;
        if (!open) dropCalls(peer);
        for (const listener of listeners) listener(peer, open);
      };
      node.addEventListener("peer:connect", (event) => tell(event.detail.toString(), true));
      node.addEventListener("peer:disconnect", (event) => tell(event.detail.toString(), false));
      node.addEventListener("peer:identify", (event) => {
        const peer = event.detail.peerId.toString();
        if (isPeerId(peer))
          addresses.remember(
            peer,
            event.detail.listenAddrs.slice(0, ADDRESSES_PER_PEER_MAX).map((address) => withoutPeer(address.toString())),
          );
      });
      // The 33rd inbound stream of a protocol is opened and then reset by default: limits of our own on both sides.
      await node.handle(CALLS_PROTOCOL, (stream, connection) => calls.accept(connection.remotePeer.toString() as PeerId, stream), {
        maxInboundStreams: 8,
        maxOutboundStreams: 8,
      });
      await node.handle(LANE_PROTOCOL, onLane, { maxInboundStreams: 8, maxOutboundStreams: 8 });
      await node.handle(STREAMS_PROTOCOL, onInboundStream, { maxInboundStreams: STREAMS_MAX, maxOutboundStreams: STREAMS_MAX });
      await node.start();
      gossip.attach(node.services.pubsub);
      redial.start();
      cancelCheck = clock.after(CHECK_MS, checkGossip);
      log.info({ peer: self, listen: node.getMultiaddrs().map(String) }, "the mesh is open");
    },
    async stop() {
      const closing = node;
      if (closing === undefined) return;
      redial.stop();
      cancelCheck?.();
      gossip.attach(undefined);
      dropCalls();
      stopping.abort();
      await closing.stop();
      node = undefined;
    },
    listenAddresses: () => node?.getMultiaddrs().map((address) => withoutPeer(address.toString())) ?? [],
    answeredAtMs: (peer) => answeredAtMs.get(peer),
    async membersChanged() {
      const current = new Set(members());
      for (const peer of answeredAtMs.keys()) if (!current.has(peer)) answeredAtMs.delete(peer);
      for (const peer of node?.getPeers() ?? []) if (denied(peer)) await disconnect(peer.toString() as PeerId);
      redial.poke();
    },
    connected: () => node?.getPeers().map(String).filter(isPeerId) ?? [],
    onConnection(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    publish: (topic, data) => gossip.publish(topic, data),
    subscribe: (topic, listener) => gossip.subscribe(topic, listener),
    call: (peer, name, request, options) => (LIGHT_CALLS.has(name) ? lane : calls).call(peer, name, request, options),
    handle: (name, handler) => calls.handle(name, handler),
    async openStream(peer: PeerId, opening: Uint8Array, options: CallOptions) {
      if (opening.length > OPENING_BYTES_MAX)
        throw new CcError("TOO_LARGE", `an opening of ${opening.length} bytes is above the limit of ${OPENING_BYTES_MAX}`);
      const timeout = AbortSignal.timeout(options.timeoutMs);
      const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
      const stream = new Libp2pFrameStream(peer, await openStreamOf(peer, STREAMS_PROTOCOL, signal), false, () => answered(peer));
      const onAbort = (): void => stream.abort(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        await stream.sendOpening(opening);
      } catch (error) {
        throw signal.aborted ? asCcError(signal.reason) : error;
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
      return stream;
    },
    handleStreams(handler) {
      streamHandler = handler;
    },
    disconnect,
  };
}

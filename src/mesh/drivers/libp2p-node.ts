import type { GossipSub } from "@libp2p/gossipsub";
import { identify } from "@libp2p/identify";
import type { ConnectionGater, Libp2p, PrivateKey } from "@libp2p/interface";
import { kadDHT, passthroughMapper } from "@libp2p/kad-dht";
import { noise } from "@libp2p/noise";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import { FULL_MESH_HOSTS_MAX, WINDOW_BYTES_MAX } from "../limits.ts";
import type { Gossip } from "./gossip.ts";
import { noiseCrypto } from "./noise-crypto.ts";

const DHT_PROTOCOL = "/cc/kad/1.0.0";

export type CcNode = Libp2p<{ pubsub: GossipSub }>;

export type NodeParts = {
  readonly privateKey: PrivateKey;
  /** Multiaddrs: /ip4/0.0.0.0/tcp/7411 */
  readonly listen: readonly string[];
  /** Addresses to tell others instead of those of the interfaces (a host behind a router); may be empty. */
  readonly announce: readonly string[];
  readonly gater: ConnectionGater;
  readonly gossip: Gossip;
};

/** The libp2p node with every default that the measurements showed to be wrong for a mesh of admitted hosts. Not started. */
export async function createNode({ privateKey, listen, announce, gater, gossip }: NodeParts): Promise<CcNode> {
  const node = await createLibp2p({
    privateKey,
    start: false,
    addresses: { listen: [...listen], announce: [...announce] },
    transports: [tcp({ dialOpts: { noDelay: true, keepAlive: true }, listenOpts: { noDelay: true, keepAlive: true } })],
    connectionEncrypters: [noise({ crypto: noiseCrypto })],
    streamMuxers: [
      yamux({
        // The window grows to 16 MiB by default, beyond the read limit of 4 MiB: a paused reader's stream was reset.
        streamOptions: { maxStreamWindowSize: WINDOW_BYTES_MAX, maxReadBufferLength: 4 * 1024 * 1024, maxWriteBufferLength: 8 * 1024 * 1024 },
        // More than 10 streams right after a dial are reset by default.
        maxEarlyStreams: 128,
        maxInboundStreams: 2_048,
        maxOutboundStreams: 2_048,
        keepAliveInterval: 30_000,
      }),
    ],
    connectionGater: gater,
    connectionManager: {
      maxConnections: 4 * FULL_MESH_HOSTS_MAX,
      // 5 connections a second from one address by default: after a power cut several hosts behind one address return at once.
      inboundConnectionThreshold: 64,
      maxIncomingPendingConnections: 64,
      maxParallelDials: 16,
      maxPeerAddrsToDial: 16,
      // An address that swallows packets must not use up the whole dial: the next address may be the right one.
      addressDialTimeout: 2_000,
      dialTimeout: 6_000,
      inboundUpgradeTimeout: 5_000,
      // The redial loop is ours; libp2p's would dial from both sides at the same instant.
      reconnectRetries: 0,
    },
    // Its pings time out under load and abort connections that work (10,704 of 12,000 messages delivered); liveness
    // probes over the kept sessions and aborts what does not answer.
    connectionMonitor: { enabled: false, abortConnectionOnPingFailure: false },
    services: {
      // Push only carries changes of addresses and protocols, which come with the host's own record: not used.
      identify: identify({ maxInboundStreams: 4, maxOutboundStreams: 4 }),
      ping: ping({ maxInboundStreams: 4, maxOutboundStreams: 4 }),
      // For finding addresses of peers, never a list of members nor on the path of a request.
      dht: kadDHT({
        protocol: DHT_PROTOCOL,
        clientMode: false,
        // The default mapper drops private addresses: in a home lab there are no others.
        peerInfoMapper: passthroughMapper,
        kBucketSize: 20,
        // Idle work: one query of itself in 10 minutes; its table refresh every 5 minutes has no option.
        querySelfInterval: 10 * 60_000,
        initialQuerySelfInterval: 5_000,
        allowQueryWithZeroPeers: true,
        // No provider records: nothing to keep, nothing to publish again.
        reprovide: { interval: 24 * 3_600_000, concurrency: 1 },
        providers: { cleanupInterval: 24 * 3_600_000 },
      }),
      pubsub: gossip.service,
    },
  });
  return node;
}

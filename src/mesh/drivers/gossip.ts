import { createHash } from "node:crypto";
import { type GossipSub, gossipsub, type Message, TopicValidatorResult } from "@libp2p/gossipsub";
import type { Clock, Logger, PeerId } from "../../base/index.ts";
import { GOSSIP_BYTES_MAX } from "../limits.ts";
import type { GossipVerdict } from "../mesh.ts";

type Listener = (data: Uint8Array, from: PeerId) => GossipVerdict;

const RESULTS = { accept: TopicValidatorResult.Accept, ignore: TopicValidatorResult.Ignore, reject: TopicValidatorResult.Reject } as const;
const hashOf = (message: Message): Uint8Array => createHash("sha256").update(message.topic).update("\0").update(message.data).digest().subarray(0, 20);

/** Rejected messages count against their sender with this half-life. */
const REJECT_HALF_LIFE_MS = 60_000;

/** Topics and their listeners, before and after the node runs. */
export type Gossip = {
  /** The libp2p service. */
  readonly service: ReturnType<typeof gossipsub>;
  /** Connects the listeners to a started node's pubsub service; undefined when it stops. */
  attach(pubsub: GossipSub | undefined): void;
  publish(topic: string, data: Uint8Array): void;
  subscribe(topic: string, listener: Listener): () => void;
};

export function createGossip(admitted: (peer: PeerId) => boolean, clock: Clock, log: Logger): Gossip {
  const topics = new Map<string, Set<Listener>>();
  const rejects = new Map<string, { count: number; atMs: number }>();
  let pubsub: GossipSub | undefined;

  const rejectsOf = (peer: string): number => {
    const known = rejects.get(peer);
    return known === undefined ? 0 : known.count * 0.5 ** ((clock.monotonicMs() - known.atMs) / REJECT_HALF_LIFE_MS);
  };

  const service = gossipsub({
    // Records carry their own signatures: 2,500 to 3,500 messages a second instead of 640 to 1,200.
    globalSignaturePolicy: "StrictNoSign",
    // Without signatures there is no sequence number to tell messages apart: equal content is one message.
    msgIdFn: hashOf,
    msgIdToStrFn: (id) => Buffer.from(id).toString("base64"),
    // A peer that is alone, or whose neighbours have not subscribed yet, may publish: nobody hears it, repair brings it.
    allowPublishToZeroTopicPeers: true,
    ignoreDuplicatePublishError: true,
    emitSelf: false,
    // One hop to all (64 at most): bids have 50 ms.
    floodPublish: true,
    batchPublish: true,
    doPX: false,
    fallbackToFloodsub: false,
    // Gossipsub ignores back-pressure: what a peer does not read piles up here. Above this its stream is reset, and the
    // redial loop's check rebuilds the connection. The default is no limit.
    maxOutboundBufferSize: 16 * 1024 * 1024,
    // One RPC carries several messages and control data; each message is checked in `gate`.
    maxInboundDataLength: 4 * GOSSIP_BYTES_MAX,
    scoreParams: {
      // Several peers behind one address (a lab, a NAT) are no attack here: admission is by certificate.
      IPColocationFactorWeight: 0,
      // Once a second by default, for scores of which only ours moves.
      decayInterval: 10_000,
      // Broken promises come from overload as well: mild, or a busy honest peer would be cut off.
      behaviourPenaltyWeight: -1,
      behaviourPenaltyThreshold: 10,
      // Topic scores need parameters for each topic; a count of our own serves every topic. Ten within a minute:
      // below the graylist's -80, and nothing of that peer is heard until it fades.
      appSpecificScore: (peer) => -rejectsOf(peer),
      appSpecificWeight: 8,
    },
    // The protocol's own is one second; nothing rests on it here (repair is by digests), and half of it costs half.
    heartbeatInterval: 2_000,
  });

  // Delivery happens in the validator: the verdict that decides whether the message is passed on is the listener's own.
  const gate = (topic: string, from: PeerId, data: Uint8Array): GossipVerdict => {
    if (data.length > GOSSIP_BYTES_MAX || !admitted(from)) return "ignore";
    let verdict: GossipVerdict = "ignore";
    for (const listener of topics.get(topic) ?? []) {
      try {
        const own = listener(data, from);
        if (own === "reject") {
          rejects.set(from, { count: rejectsOf(from) + 1, atMs: clock.monotonicMs() });
          return "reject";
        }
        if (own === "accept") verdict = "accept";
      } catch (error) {
        // What one message breaks must not end the peer, nor be passed on to break the next.
        log.warn({ topic, from, err: error }, "a gossip message could not be handled");
      }
    }
    return verdict;
  };

  const join = (topic: string): void => {
    if (pubsub === undefined) return;
    pubsub.topicValidators.set(topic, (peer, message) => RESULTS[gate(topic, peer.toString() as PeerId, message.data)]);
    pubsub.subscribe(topic);
  };

  return {
    service,
    attach(next) {
      pubsub = next;
      for (const topic of topics.keys()) join(topic);
    },
    publish(topic, data) {
      if (data.length > GOSSIP_BYTES_MAX) throw new RangeError(`a gossip message of ${data.length} bytes is above the limit of ${GOSSIP_BYTES_MAX}`);
      pubsub?.publish(topic, data).catch((error: unknown) => {
        // Best effort: repair brings what gossip lost.
        log.debug({ topic, err: error }, "gossip could not be published");
      });
    },
    subscribe(topic, listener) {
      const listeners = topics.get(topic) ?? new Set<Listener>();
      const first = listeners.size === 0;
      listeners.add(listener);
      topics.set(topic, listeners);
      if (first) join(topic);
      return () => {
        listeners.delete(listener);
        if (listeners.size > 0 || topics.get(topic) !== listeners) return;
        topics.delete(topic);
        pubsub?.topicValidators.delete(topic);
        pubsub?.unsubscribe(topic);
      };
    },
  };
}

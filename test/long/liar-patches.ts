import type { Patch } from "../../nodes/simulated/mutations/mutation.ts";

/** Where a peer's source is changed, so that it lies: text that stands there once. */
export const PATCHES: readonly Patch[] = [
  {
    file: "src/placement/attempt.ts",
    find: "create(StampedRequestSchema, { request: this.#request })",
    replace: "create(StampedRequestSchema, { request: globalThis.liar.request(this.#request) })",
  },
  {
    file: "nodes/peer/core/handlers/writes.ts",
    find: "return { key, final, content: toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: caller.signed, extra })) };",
    replace:
      "return { key: globalThis.liar.about(key), final, content: toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: globalThis.liar.request(caller.signed), extra })) };",
  },
  {
    file: "nodes/peer/core/handlers/streams.ts",
    find: "create(StreamOpenSchema, { call, request: caller.signed, container: id })",
    replace: "create(StreamOpenSchema, { call, request: caller.signed, container: globalThis.liar.about(id) })",
  },
  { file: "src/state/reconcile.ts", find: "this.frames.push(record.frame)", replace: "this.frames.push(globalThis.liar.held(record.frame))" },
  {
    file: "nodes/peer/core/ask-around.ts",
    find: "view.recordsOf(ids).map((record) => record.frame)",
    replace: "view.recordsOf(ids).map((record) => globalThis.liar.held(record.frame))",
  },
  // What others gossip is not passed on as it is: they get it from the liar's hands.
  {
    file: "src/mesh/drivers/gossip.ts",
    find: "RESULTS[gate(topic, peer.toString() as PeerId, message.data)]",
    replace: "(gate(topic, peer.toString() as PeerId, message.data), RESULTS.ignore)",
  },
];

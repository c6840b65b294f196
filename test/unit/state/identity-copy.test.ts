import t from "tap";
import type { RecordKey } from "../../../src/base/index.ts";
import { framesBeside } from "../../../src/state/identity-copy.ts";
import { fact, peerId, request, stampedBy } from "./fixtures.ts";

t.test("removed-sponsor: beside the store lie admin records, and the certificates of all other hosts", async (t) => {
  const key = "admin/-/key/k1" as RecordKey;
  const own = stampedBy("peer 1", key, request("CreateKey", {}, { peer: peerId("peer 1"), createdS: 1 }), 1);
  const others = stampedBy("peer 2", key, request("CreateKey", {}, { peer: peerId("peer 2"), createdS: 1 }), 1);
  const [mine, stampers, stranger] = ["peer 1", "peer 2", "peer 3"].map((host) => fact(host, "certificate", "self", 1, 1));
  const host = [mine, stampers, stranger, fact("peer 2", "facts", "self", 1, 2)].filter((record) => record !== undefined);
  t.same(framesBeside([own, others], host, peerId("peer 1")), [stampers?.frame, stranger?.frame, own.frame, others.frame]);
});

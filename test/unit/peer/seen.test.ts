import { create } from "@bufbuild/protobuf";
import t from "tap";
import { catchUp } from "../../../nodes/peer/core/seen.ts";
import { AddressingSchema, type Written } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { silentLogger } from "../../../src/base/index.ts";
import type { ReplicaService } from "../../../src/state/index.ts";
import { fact } from "../state/fixtures.ts";
import { peerId } from "../state/view-fixtures.ts";
import { FakeNeighbours } from "./fake-neighbours.ts";

type Seen = Omit<Written, "$typeName" | "$unknown">;
const record = fact("peer 2", "thing", "x", 5, 5);
const known = fact("peer 2", "thing", "known", 5, 5);
const final = fact("peer 2", "thing", "final", 1, 1, "gone", true);
const at = (key: string, major: number, minor: number, host: string = peerId("peer 2")): Seen => ({ key, versionMajor: major, versionMinor: minor, host });

async function catchesUp(seen: readonly Seen[], silent = false) {
  const neighbours = new FakeNeighbours();
  if (!silent) neighbours.answers.set(peerId("peer 2"), [record.frame]).set(peerId("peer 3"), []);
  const taken: unknown[] = [];
  const stored = [known, final];
  const replica: Pick<ReplicaService, "get" | "take"> = {
    get: (key) => stored.find((one) => one.key === key),
    take: async (frames) => {
      taken.push(...frames);
      return { taken: [], dropped: 0 };
    },
  };
  await catchUp({ mesh: neighbours.mesh, replica: replica as ReplicaService, log: silentLogger }, create(AddressingSchema, { seen: [...seen] }));
  return { asked: neighbours.asked, taken };
}

t.test("what is not known, or older here, is fetched from its host in one call", async (t) => {
  const { asked, taken } = await catchesUp([at(record.key, 5, 5), at(known.key, 6, 0), at(known.key, 5, 6)]);
  t.equal(asked.length, 1);
  t.match(asked[0], { peer: peerId("peer 2"), call: "fetchRecords", request: { keys: [record.key, known.key, known.key] } });
  t.same(taken, [record.frame]);
});

t.test("what is known as new or newer, final, or this host's own needs nobody", async (t) => {
  const { asked } = await catchesUp([at(known.key, 5, 5), at(known.key, 4, 9), at(final.key, 9, 9), at(record.key, 9, 9, peerId("peer 1"))]);
  t.same(asked, []);
});

t.test("nonsense is passed over, and too much of it", async (t) => {
  const { asked } = await catchesUp([at("", 1, 1), at("../../etc", 1, 1), at("nobody/x", 1, 1), at(record.key, 9, 9, "not a peer"), at("host/x", 1, 1)]);
  t.same(asked, []);
  const many = await catchesUp(Array.from({ length: 500 }, (_, index) => at(fact("peer 2", "thing", `n${index}`, 1, 1).key, 1, 1)));
  t.equal(many.asked[0]?.request.keys?.length, 32);
});

t.test("a writer that does not answer is left out", async (t) => {
  const { asked, taken } = await catchesUp([at(record.key, 5, 5), at(known.key, 9, 9, peerId("peer 3"))], true);
  t.equal(asked.length, 2);
  t.same(taken, []);
});

import { create, toBinary } from "@bufbuild/protobuf";
import t from "tap";
import { RecordsSchema } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import type { RecordFrame } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { buildRecord, type StoredRecord } from "../../../src/state/index.ts";
import { fact, keyPair, wish } from "./fixtures.ts";
import { forgedForeign, forgedStamp } from "./forged.ts";
import { type Host, three, WORLD_START_MS } from "./world.ts";

t.test("liar: a neighbour's word about our start number moves nothing but a look at its records", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  const start = a.replica.startNumber();
  a.replica.heard(b.peer, { digest: b.replica.digest(), highestStartOfYours: 2 ** 53 - 1 });
  await world.run(3_000);
  t.equal(a.replica.startNumber(), start);
  await t.resolves(world.until(a.replica.write([a.draft("c1", "x")])));
  t.equal(c.replica.highestStartOf(a.peer), start);
});

t.test("rolled-back-disk: several own records of one key in one message: the last lies there, final stays final, what this life wrote counts", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  const forgotten = a.replica.startNumber() + 5;
  await world.until(a.replica.write([a.draft("c1", "now"), a.draft("c2", "now")]));
  const met = [
    fact(a.name, "phase", "c1", forgotten, 1, "older"),
    fact(a.name, "phase", "c1", forgotten, 2, "gone", true),
    fact(a.name, "phase", "c2", forgotten, 3, "older"),
    fact(a.name, "phase", "c2", forgotten, 4, "newer"),
    fact(a.name, "phase", "c3", forgotten, 5, "older"),
    fact(a.name, "phase", "c3", forgotten, 6, "newer"),
  ];
  const frames = met.map(({ frame }) => frame);
  await world.until(a.replica.take(frames, b.peer));
  await world.run(3_000);
  for (const host of [a, b, c])
    t.same(
      ["c1", "c2", "c3"].map((id) => host.text(a.key("phase", id))),
      ["gone", "now", "newer"],
      host.name,
    );
  t.equal(a.replica.get(a.key("phase", "c3"))?.version.major, forgotten + 1, "written above");
});

t.test("future-clock: a host far ahead or behind wins nothing, and all converge when it is put right", async (t) => {
  for (const offMs of [600_000, 86_400_000, -86_400_000]) {
    const { world, hosts } = await three();
    const [a, b, c] = hosts;
    a.crash();
    a.skewMs = offMs;
    await a.boot();
    await world.run(5_000);
    const [early] = (await world.until(a.replica.write([a.wish("w1", "by the mesh's time", b.clock.nowMs())]))).records;
    t.ok(Math.abs((early?.version.major ?? 0) - WORLD_START_MS - world.time.nowMs) < 60_000, "stamps use the median of the clocks");
    world.cut(a, b);
    world.cut(a, c);
    await world.run(2_000);
    for (const peer of [b.peer, c.peer]) a.end.drop(peer);
    await world.until(a.replica.write([a.wish("w2", "by its own clock alone")]));
    world.wires.healAll();
    await world.run(10_000);
    t.ok(world.equal(), `${offMs} ms`);
    t.equal(b.replica.list("user/").length, offMs > 0 ? 1 : 2, "what is ahead is kept, and read by nobody yet");
    await t.rejects(a.replica.write([a.wish("w3", "signed by its own clock, and stamped by the mesh's")]), { code: "CLOCK_SKEW" });
    const refused = a.replica.write([a.wish("w2", "again", b.clock.nowMs())]);
    if (offMs > 0) await t.rejects(refused, { code: "CLOCK_SKEW" });
    else await t.resolves(world.until(refused));
    await world.until(b.replica.write([b.wish("w2", "another peer takes it")]));
    await world.run(2_000);
    t.equal(c.replica.list("user/attic/wish/w2").at(-1)?.writer !== undefined, true);
    t.ok(world.equal());
    if (offMs !== 600_000) continue;
    await world.run(600_000);
    t.equal(b.replica.list("user/attic/wish/w2").length, 2, "its time comes");
  }
});

t.test("records of hosts that are not admitted yet wait, bounded, and count with the certificate", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  const records = [fact("stranger", "phase", "c1", 1, 2), wish("stranger", "w9", WORLD_START_MS)];
  const before = a.replica.digest();
  t.same(
    await world.until(
      a.replica.take(
        records.map(({ frame }) => frame),
        b.peer,
      ),
    ),
    { taken: [], dropped: 0 },
  );
  t.same(a.replica.digest(), before);
  t.equal(a.replica.counts().waiting, 2);
  const many = Array.from({ length: 2_100 }, (_, at) => fact("stranger", "phase", `m${at}`, 1, at + 10).frame);
  const { dropped } = await world.until(a.replica.take(many, b.peer));
  t.ok(dropped > 0 && a.replica.counts().waiting <= 2_000, "a neighbour that sends rubbish fills its own room only");
  t.match(await world.until(a.replica.take([fact("stranger 2", "phase", "c1", 1, 1).frame], hosts[2].peer)), { dropped: 0 });
  const certificate = fact("stranger", "certificate", "self", 1, 1, "member");
  const { taken } = await world.until(a.replica.take([certificate.frame], hosts[2].peer));
  t.ok(taken.length > 1_000);
  await world.run(6_000);
  t.ok(world.equal(), "and everybody gets them");
  t.equal(b.text(a.key("phase", "c1")), undefined);
});

t.test("the edge: what breaks the rules is dropped and counted, and scored only against who signed it", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  const heard = (data: Uint8Array, from: Host): string => a.hear(data, from);
  const message = (...frames: StoredRecord["frame"][]): Uint8Array => toBinary(RecordsSchema, create(RecordsSchema, { frames }));
  const good = fact("peer 2", "phase", "c5", 9, 9).frame;
  t.equal(heard(Buffer.from("rubbish"), b), "ignore");
  t.equal(heard(message(good), b), "accept");
  t.equal(heard(message({ ...good, signature: new Uint8Array(64) }), b), "accept", "known already");
  const bad = { ...fact("peer 2", "phase", "c6", 9, 10).frame, signature: new Uint8Array(64) };
  t.equal(heard(message(bad), b), "ignore", "anybody can write another's name under rubbish");
  t.equal(heard(message({ ...good, frame: 2 }), b), "ignore", "stricter-next: a later version's frame is nobody's fault");
  t.same(a.replica.counts().drops, { "bad-signature": 1, "unknown-frame": 1 });
  await world.run(3_000);
  const mixed = fact("peer 3", "phase", "c7", 9, 9).frame;
  world.cut(a, b);
  t.equal(heard(message(bad, mixed), b), "ignore");
  await world.run(3_000);
  t.equal(hosts[2].replica.get(hosts[2].key("phase", "c7")) !== undefined, true);
  t.ok(world.equal(a, hosts[2]));
});

t.test("the edge: a neighbour that signs what breaks the rules is scored down", async (t) => {
  const { hosts } = await three();
  const [a, b] = hosts;
  const data = toBinary(RecordsSchema, create(RecordsSchema, { frames: [forgedForeign("peer 2", a.peer)] }));
  t.equal(a.hear(data, b), "reject");
  t.equal(a.hear(data, hosts[2]), "ignore", "who only passes it on is not");
  const framed = toBinary(RecordsSchema, create(RecordsSchema, { frames: [forgedForeign("peer 2", a.peer, "eve")] }));
  t.equal(a.hear(framed, b), "ignore", "nor who is named under what another signed");
});

t.test("liar: another host's records can't be written, whatever the version", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  await t.rejects(a.replica.write([{ key: b.key("phase", "c1"), content: new Uint8Array() }]), { code: "FORBIDDEN" });
  await t.rejects(a.replica.write([{ key: a.wish("w", "t").key, content: Buffer.from("no request") }]), { code: "BAD_REQUEST" });
  await t.rejects(a.replica.write([b.wish("w", "addressed to another")]), { code: "BAD_REQUEST" });
  await world.until(a.replica.write([a.draft("c1", "gone", true)]));
  await t.rejects(a.replica.write([a.draft("c1", "back")]), { code: "CONFLICT" });
});

t.test("restamp: what is stamped far from its signed time lies in nobody's way, whichever comes first", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  const now = WORLD_START_MS + world.time.nowMs;
  const { key, content } = b.wish("c1", "remove");
  const [inTime, ahead] = [now, now + 3_600_000].map((major) => forgedStamp(b.name, key, content, major)) as [RecordFrame, RecordFrame];
  for (const [host, order] of [
    [a, [inTime, ahead]],
    [c, [ahead, inTime]],
  ] as const) {
    for (const frame of order) await world.until(host.replica.take([frame], b.peer));
    t.match(host.replica.list("user/"), [{ version: { major: now } }]);
    t.match(host.replica.counts().drops, { "bad-stamp": 1 });
  }
  t.same(a.replica.digest(), c.replica.digest());
});

t.test("restamp: of two stamps of one request the lower counts, also after a restart", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  const now = WORLD_START_MS + world.time.nowMs;
  const { key, content } = b.wish("c1", "stop");
  const [signed, again] = [now, now + 20_000].map((major) =>
    buildRecord({ key, version: { major, minor: 0 }, final: false, content }, b.peer, keyPair(b.name).signer),
  ) as [StoredRecord, StoredRecord];
  for (const [host, order] of [
    [a, [signed, again]],
    [c, [again, signed]],
  ] as const) {
    for (const record of order) await world.until(host.replica.take([record.frame], b.peer));
    const stored = host.replica.get(key) as StoredRecord;
    t.equal(stored.version.major, now + 20_000, "the merge knows versions only");
    t.equal(host.replica.stampOf(stored).major, now);
    host.crash();
    await host.boot();
    await world.run(3_000);
    t.equal(host.replica.stampOf(host.replica.get(key) as StoredRecord).major, now);
  }
});

t.test("future-clock: an older stamp that comes after one that is ahead is read meanwhile", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  const now = WORLD_START_MS + world.time.nowMs;
  const [older, ahead] = [wish(b.name, "w1", now), wish(b.name, "w1", now + 86_400_000)];
  t.equal((await world.until(a.replica.take([ahead.frame], b.peer))).taken.length, 1);
  t.same(a.replica.list("user/"), []);
  t.equal(a.replica.counts().ahead, 1);
  await world.until(a.replica.take([older.frame], b.peer));
  t.same(
    a.replica.list("user/").map(({ version }) => version.major),
    [now],
  );
});

import { create, toBinary } from "@bufbuild/protobuf";
import t from "tap";
import { RecordsSchema } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { buildRecord, type StoredRecord } from "../../../src/state/index.ts";
import { forgedForeign } from "./forged.ts";
import type { RecordKey } from "../../../src/base/index.ts";
import { fact, keyPair, peerId, request, stampedBy, wish } from "./fixtures.ts";
import { type Host, World, WORLD_START_MS } from "./world.ts";

type Three = [Host, Host, Host];

async function three(seed = 1): Promise<{ world: World; hosts: Three }> {
  const world = new World(seed);
  const hosts = (await world.add("peer 1", "peer 2", "peer 3")) as Three;
  await world.run(5_000);
  return { world, hosts };
}

t.test("a write is acknowledged on two disks, everywhere within a second, and told once", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  const told: string[] = [];
  c.replica.onChange((changed) => told.push(...changed.map(({ key }) => key)));
  const written = await world.until(a.replica.write([a.draft("c1", "running"), a.wish("w1", "t1")]));
  t.equal(written.copies, 2);
  t.equal(written.records[0]?.version.major, a.replica.startNumber());
  await world.run(1_000);
  t.ok(world.equal());
  t.equal(b.text(a.key("phase", "c1")), "running");
  t.same(told.sort(), written.records.map(({ key }) => key).sort());
});

t.test("copies-1: where no other host is reachable the answer says so", async (t) => {
  const world = new World();
  const [alone] = await world.add("peer 1");
  await world.run(1_000);
  t.equal((await world.until(alone?.replica.write([alone.draft("c1", "x")]) ?? Promise.reject(new Error()))).copies, 1);
  const { world: cut, hosts } = await three();
  const [a, b, c] = hosts;
  cut.cut(a, b);
  t.equal((await cut.until(a.replica.write([a.draft("c1", "x")]))).copies, 2, "one host is silent: the other is asked");
  cut.cut(a, c);
  t.equal((await cut.until(a.replica.write([a.draft("c1", "y")]))).copies, 1, "all are silent");
  t.equal((await cut.until(a.replica.write([a.draft("c1", "z")], { copies: 1 }))).copies, 1);
});

t.test("a cut heals: equal digests within 10 s, the later write stays, both edits are there (two-edits)", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  world.cut(a, b);
  world.cut(a, c);
  await world.until(a.replica.write([a.wish("list/a".replace("/", "-"), "one")]));
  await world.until(b.replica.write([b.wish("list-b", "two")]));
  for (let at = 0; at < 50; at += 1) await world.until(b.replica.write([b.draft(`c${at}`, "x")]));
  t.notOk(world.equal());
  world.wires.healAll();
  await world.run(10_000);
  t.ok(world.equal());
  t.equal(a.replica.list("user/").length, 2);
  t.equal(a.replica.list(`host/${b.peer}/`).length, 51);
});

t.test("what gossip lost, repair brings", async (t) => {
  const { world, hosts } = await three(7);
  world.wires.lossRate = 0.4;
  world.wires.duplicateRate = 0.2;
  for (let at = 0; at < 40; at += 1) {
    const host = hosts[at % 3] as Host;
    await world.until(host.replica.write([host.draft(`c${at % 7}`, `v${at}`)]));
  }
  world.wires.lossRate = 0;
  await world.run(10_000);
  t.ok(world.equal());
});

t.test("sequence-reuse: what was gossiped before its fsync and then lost is not mistaken for what came after", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  const before = a.disk.snapshot();
  await world.until(a.replica.write([a.draft("c1", "lost"), a.draft("c2", "lost")]));
  await world.run(100);
  a.crash();
  a.disk.restore(before);
  await world.run(1_000);
  await a.boot();
  await world.run(3_000);
  t.equal(a.text(a.key("phase", "c1")), "lost", "refilled: what the others have is remembered again");
  await world.until(a.replica.write([a.draft("c1", "after")]));
  await world.run(5_000);
  t.ok(world.equal());
  t.equal(b.text(a.key("phase", "c1")), "after");
});

t.test("gap-by-overwrite: a record that was overwritten before a neighbour saw it leaves no hole", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  world.cut(a, c);
  world.cut(b, c);
  for (const text of ["1", "2", "3"]) await world.until(a.replica.write([a.draft("c1", text), a.draft(`d${text}`, text)]));
  world.wires.healAll();
  await world.run(10_000);
  t.ok(world.equal());
  t.equal(c.text(a.key("phase", "d2")), "2");
});

t.test("rolled-back-disk: last week's disk is refilled before the host acts, its start number is above all", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  const lastWeek = a.disk.snapshot();
  const rememberedLastWeek = a.remembered;
  for (let at = 0; at < 3; at += 1) {
    a.crash();
    await a.boot();
    await world.run(4_000);
    await world.until(a.replica.write([a.draft("c1", `life ${at}`)]));
    await world.run(500);
  }
  const highest = a.replica.startNumber();
  a.crash();
  a.disk.restore(lastWeek);
  a.remembered = rememberedLastWeek;
  await a.boot();
  t.rejects(a.replica.write([a.draft("c1", "too early")]), { code: "STARTING" });
  await world.run(4_000);
  t.ok(a.replica.startNumber() > highest, `${a.replica.startNumber()} above ${highest}`);
  t.equal(a.text(a.key("phase", "c1")), "life 2");
  t.ok(a.said.some((line) => line.includes("older than what its neighbours hold")));
  await world.until(a.replica.write([a.draft("c1", "now")]));
  await world.run(2_000);
  t.equal(b.text(a.key("phase", "c1")), "now");
  t.ok(world.equal());
});

t.test("rolled back and alone: own newer records that it meets later are written above, with what it did meanwhile", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  const old = a.disk.snapshot();
  const oldRemembered = a.remembered;
  for (let at = 0; at < 4; at += 1) {
    a.crash();
    await a.boot();
    await world.run(3_000);
  }
  await world.until(a.replica.write([a.draft("c1", "before"), a.draft("c2", "before"), a.draft("c3", "gone", true)]));
  await world.run(1_000);
  a.crash();
  world.cut(a, b);
  world.cut(a, c);
  a.disk.restore(old);
  a.remembered = oldRemembered;
  await a.boot();
  await world.run(12_000);
  t.equal(a.replica.standing(), "ready", "10 s at most");
  await world.until(a.replica.write([a.draft("c1", "alone"), a.draft("c3", "alone")]));
  world.wires.healAll();
  await world.run(10_000);
  t.ok(world.equal());
  for (const host of hosts) {
    t.equal(host.text(a.key("phase", "c1")), "alone", "what this life wrote counts");
    t.equal(host.text(a.key("phase", "c2")), "before", "what it had forgotten is adopted");
    t.equal(host.text(a.key("phase", "c3")), "gone", "what is final stays final");
  }
  const start = a.replica.startNumber();
  t.ok((b.replica.get(a.key("phase", "c2"))?.version.major ?? 0) === start, "written above under a new start number");
  a.crash();
  await a.boot();
  await world.run(4_000);
  t.ok(a.replica.startNumber() > start, "which was fsynced");
});

t.test("a lost store: said, refilled from neighbours before anything is written", async (t) => {
  const { world, hosts } = await three();
  const [a] = hosts;
  await world.until(a.replica.write([a.draft("c1", "x"), a.wish("w1", "t")]));
  await world.run(1_000);
  const start = a.replica.startNumber();
  a.crash();
  a.disk.lose();
  await a.boot();
  await world.run(4_000);
  t.equal(a.replica.standing(), "ready");
  t.ok(a.said.some((line) => line.includes("not there")));
  t.equal(a.text(a.key("phase", "c1")), "x");
  t.ok(a.replica.startNumber() > start);
  await world.run(5_000);
  t.ok(world.equal());
  a.crash();
  a.disk.damage();
  await a.boot();
  await world.run(4_000);
  t.equal(a.text(a.key("phase", "c1")), "x");
  t.ok(a.said.some((line) => line.includes("set aside")));
});

t.test("a lost store and nobody there: waits for ever, unless root says go on", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  a.crash();
  a.disk.lose();
  world.cut(a, b);
  world.cut(a, c);
  a.settings = { neighboursExpected: true };
  await a.boot();
  await world.run(60_000);
  t.equal(a.replica.standing(), "waiting-lost");
  await t.rejects(a.replica.write([a.draft("c1", "x")]), { code: "STORE_LOST" });
  a.crash();
  a.settings = { neighboursExpected: true, acceptLostStore: true };
  const start = a.remembered?.startNumber ?? 0;
  await a.boot();
  await world.run(11_000);
  t.equal(a.replica.standing(), "ready");
  t.ok(a.replica.startNumber() > start);
});

t.test("admin records lie beside the store too, and come back from there", async (t) => {
  const world = new World();
  const [a] = (await world.add("peer 1")) as [Host];
  await world.run(1_000);
  const { key, content } = a.wish("k1", "t");
  await world.until(a.replica.write([{ key: key.replace("user/attic/wish", "admin/-/key") as typeof key, content }]));
  await world.run(100);
  t.equal(a.remembered?.adminFrames.length, 1);
  a.crash();
  a.disk.lose();
  a.settings = { acceptLostStore: true };
  await a.boot();
  await world.run(11_000);
  t.equal(a.replica.list("admin/").length, 1);
});

t.test("a lone host without its store still knows what other peers stamped for admins", async (t) => {
  const world = new World();
  const [a] = (await world.add("peer 1")) as [Host];
  await world.run(1_000);
  const elsewhere = stampedBy("peer 2", "admin/-/key/k1" as RecordKey, request("CreateKey", {}, { peer: peerId("peer 2") }), WORLD_START_MS);
  a.crash();
  a.disk.lose();
  a.remembered = { adminFrames: [elsewhere.frame], storeId: "lost", startNumber: 4 };
  a.settings = { acceptLostStore: true };
  await a.boot();
  await world.run(11_000);
  t.match(a.replica.list("admin/"), [{ writer: peerId("peer 2") }]);
  t.equal(a.replica.startNumber(), 5);
});

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

t.test("a neighbour whose digest differs twice is repaired with", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  const before = a.replica.counts().records;
  world.wires.lossRate = 1;
  await world.until(b.replica.write([b.draft("c1", "x")], { copies: 1 }));
  await world.run(100);
  world.wires.lossRate = 0;
  for (let at = 0; at < 2; at += 1) a.replica.heard(b.peer, { digest: b.replica.digest(), highestStartOfYours: 0 });
  await world.run(900);
  t.equal(a.replica.counts().records, before + 1);
});

t.test("future-clock: a host far ahead or behind wins nothing, and all converge when it is put right", async (t) => {
  for (const offMs of [600_000, 86_400_000, -86_400_000]) {
    const { world, hosts } = await three();
    const [a, b, c] = hosts;
    a.crash();
    a.skewMs = offMs;
    await a.boot();
    await world.run(5_000);
    const [early] = (await world.until(a.replica.write([a.wish("w1", "by the mesh's time")]))).records;
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
    const refused = a.replica.write([a.wish("w2", "again")]);
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
  t.same(await world.until(a.replica.take(records.map(({ frame }) => frame), b.peer)), { taken: [], dropped: 0 });
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

t.test("a stamp that is not stored; another's frame in one batch with own records", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  const stampedRecord = await a.replica.stamp(a.wish("w1", "t"));
  t.equal(a.replica.list("user/").length, 0);
  const { records, copies } = await world.until(b.replica.write([b.draft("c1", "claimed")], { beside: [stampedRecord.frame] }));
  t.equal(copies, 2);
  t.equal(records.length, 1);
  await world.run(2_000);
  for (const host of [a, b, c]) t.match(host.replica.get(stampedRecord.key), { writer: a.peer });
  await t.rejects(b.replica.write([b.draft("c2", "x")], { beside: [{ ...stampedRecord.frame, signature: new Uint8Array(64) }] }), { code: "BAD_REQUEST" });
  t.equal(b.text(b.key("phase", "c2")), undefined, "nothing of it was written");
});

t.test("restamp: of two stamps of one request the lower counts, also after a restart", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  const now = WORLD_START_MS + world.time.nowMs;
  const { key, content } = b.wish("c1", "stop");
  const [signed, again] = [now, now + 20_000].map((major) => buildRecord({ key, version: { major, minor: 0 }, final: false, content }, b.peer, keyPair(b.name).signer)) as [StoredRecord, StoredRecord];
  for (const order of [[signed, again], [again, signed]]) {
    for (const record of order) await world.until(a.replica.take([record.frame], b.peer));
    const stored = a.replica.get(key) as StoredRecord;
    t.equal(stored.version.major, now + 20_000, "the merge knows versions only");
    t.equal(a.replica.stampOf(stored).major, now);
    a.crash();
    await a.boot();
    await world.run(3_000);
    t.equal(a.replica.stampOf(a.replica.get(key) as StoredRecord).major, now);
  }
});

t.test("a disk that refuses a write: nothing is acknowledged any more", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  a.disk.refuseWrites();
  await t.rejects(world.until(a.replica.write([a.draft("c1", "x")])), /full/);
  t.equal(a.replica.standing(), "failed");
  await t.rejects(a.replica.write([a.draft("c1", "x")]), { code: "INTERNAL" });
  await t.rejects(world.until(a.replica.take([fact("peer 2", "phase", "c9", 99, 1).frame], b.peer)));
});

t.test("stop and start may be called twice; what was staged is on disk", async (t) => {
  const { world, hosts } = await three();
  const [a] = hosts;
  const written = a.replica.write([a.draft("c1", "x")], { copies: 1 });
  await Promise.all([a.replica.start(), written]);
  await Promise.all([a.replica.stop(), a.replica.stop()]);
  t.equal(a.replica.standing(), "stopped");
  t.ok(a.disk.snapshot().records.has(a.key("phase", "c1")));
  await t.rejects(a.replica.write([a.draft("c1", "y")]), { code: "STARTING" });
  await world.run(5_000);
});

t.test("the same seed gives the same history", async (t) => {
  const history = async (): Promise<string> => {
    const { world, hosts } = await three(42);
    for (let at = 0; at < 10; at += 1) {
      const host = hosts[at % 3] as Host;
      await world.until(host.replica.write([host.draft(`c${at}`, "x")]));
    }
    return `${world.time.fired} ${Buffer.from(hosts[0].replica.digest()).toString("hex")}`;
  };
  t.equal(await history(), await history());
});

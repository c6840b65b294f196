import t from "tap";
import type { RecordKey } from "../../../src/base/index.ts";
import { fact, peerId, request, stampedBy } from "./fixtures.ts";
import { type Host, three, WORLD_START_MS, World } from "./world.ts";

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

t.test("slow-pull: no other host gets a claim before it lies on its own host's disk", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  let isFsynced = false;
  const { promise, resolve } = Promise.withResolvers<void>();
  a.fsync = promise;
  const writing = a.replica.write([a.draft("c1", "claimed")], { isClaim: true }).then(() => {
    isFsynced = true;
  });
  const other = a.replica.write([a.draft("c2", "running")]);
  await world.run(20_000);
  t.notOk(isFsynced);
  t.equal(b.text(a.key("phase", "c2")), "running", "anything else is told at once");
  t.equal(b.text(a.key("phase", "c1")), undefined, "neither by gossip, nor by repair");
  const keys = [a.key("phase", "c1"), a.key("phase", "c2")];
  const fetched = await world.until(b.end.port.call(a.peer, "fetchRecords", { keys }, { timeoutMs: 1_000 }));
  t.equal(fetched.frames.length, 1, "nor where it is asked for");
  resolve();
  await world.until(Promise.all([writing, other]));
  await world.run(5_000);
  t.equal(b.text(a.key("phase", "c1")), "claimed");
  t.ok(world.equal());
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
  t.ok(a.said.some((line) => line.includes("older than what is held of it elsewhere")));
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
  const signed = request("CreateKey", {}, { peer: peerId("peer 2"), createdS: WORLD_START_MS / 1_000 });
  const elsewhere = stampedBy("peer 2", "admin/-/key/k1" as RecordKey, signed, WORLD_START_MS);
  a.crash();
  a.disk.lose();
  a.remembered = { adminFrames: [elsewhere.frame], storeId: "lost", startNumber: 4 };
  a.settings = { acceptLostStore: true };
  await a.boot();
  await world.run(11_000);
  t.match(a.replica.list("admin/"), [{ writer: peerId("peer 2") }]);
  t.equal(a.replica.startNumber(), 5);
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

t.test("a disk that refuses a write: nothing is acknowledged any more", async (t) => {
  const { world, hosts } = await three();
  const [a, b] = hosts;
  a.disk.refuseWrites();
  await t.rejects(world.until(a.replica.write([a.draft("c1", "x")])), /full/);
  t.equal(a.replica.standing(), "failed");
  await t.rejects(a.replica.write([a.draft("c1", "x")]), { code: "INTERNAL" });
  await t.rejects(world.until(a.replica.take([fact("peer 2", "phase", "c9", 99, 1).frame], b.peer)));
});

t.test("a disk that refuses the first write of a start: who waits for the start is told", async (t) => {
  const { world, hosts } = await three();
  const [a] = hosts;
  await world.run(1_000);
  a.crash();
  await a.boot();
  a.disk.refuseWrites();
  const ready = a.replica.ready(new AbortController().signal);
  ready.catch(() => undefined);
  await world.run(20_000);
  t.equal(a.replica.standing(), "failed");
  await t.rejects(Promise.race([ready, Promise.resolve()]), /the disk refused a write .*full/);
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

t.test("store-lost: a lone host that may go on without its store takes what lies beside its containers, and writes above it", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  await world.until(a.replica.write([a.draft("c1", "mine")]));
  const before = a.replica.startNumber();
  a.beside = a.replica.list(`host/${a.peer}/`).map(({ frame }) => frame);
  a.crash();
  world.cut(a, b);
  world.cut(a, c);
  a.disk.lose();
  a.settings = { ...a.settings, acceptLostStore: true, neighboursExpected: true };
  await a.boot();
  await world.run(5_000);
  t.equal(a.replica.standing(), "waiting-lost", "neighbours come first");
  t.equal(a.text(a.key("phase", "c1")), undefined);
  await world.run(8_000);
  t.equal(a.replica.standing(), "ready");
  t.equal(a.text(a.key("phase", "c1")), "mine");
  t.ok(a.replica.startNumber() > before);
  world.wires.healAll();
  await world.run(10_000);
  t.ok(world.equal());
});

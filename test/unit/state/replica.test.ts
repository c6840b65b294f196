import t from "tap";
import { type PeerId, silentLogger } from "../../../src/base/index.ts";
import { askForCopy, type CopyParts } from "../../../src/state/copies.ts";
import { fact, peerId } from "./fixtures.ts";
import { Chance } from "./wires.ts";
import { type Host, three, World } from "./world.ts";

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

t.test("neighbours whose digests are known to be equal send nothing for repair", async (t) => {
  const { world, hosts } = await three();
  await world.run(10_000);
  let sent = 0;
  const carry = world.wires.carry.bind(world.wires);
  world.wires.carry = (...way) => {
    sent += 1;
    carry(...way);
  };
  const probe = (): void => {
    for (const host of hosts)
      for (const other of hosts) if (host !== other) host.replica.heard(other.peer, { digest: other.replica.digest(), highestStartOfYours: 0 });
  };
  await world.run(30_000);
  t.ok(sent >= 3 * 2 * 6, "nobody has said its digest: asked every few seconds");
  probe();
  sent = 0;
  await world.run(30_000);
  t.equal(sent, 0);
  const [a, b] = hosts;
  world.wires.lossRate = 1;
  await world.until(b.replica.write([b.draft("c1", "x")], { copies: 1 }));
  await world.run(100);
  world.wires.lossRate = 0;
  probe();
  await world.run(4_500);
  t.equal(a.text(b.key("phase", "c1")), "x", "who is known to differ is asked at the next turn");
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

t.test("copies-1: a host that does not count what it was given is no second disk", async (t) => {
  const frames = [fact("peer 1", "phase", "c1", 1, 1).frame];
  const answers = new Map([
    [peerId("peer 2"), 0],
    [peerId("peer 3"), 1],
  ]);
  const asked: string[] = [];
  const parts = (reachable: readonly PeerId[]): CopyParts => ({
    mesh: {
      connected: () => [...answers.keys()],
      call: async (peer) => {
        asked.push(peer);
        return { stored: answers.get(peer) ?? 0 } as never;
      },
    },
    liveness: { reachable: () => reachable },
    random: new Chance(1),
    log: silentLogger,
  });
  const { signal } = new AbortController();
  t.equal(await askForCopy(frames, parts([...answers.keys()]), signal), peerId("peer 3"));
  t.equal(await askForCopy(frames, parts([peerId("peer 2")]), signal), undefined);
  t.equal(await askForCopy(frames, parts([peerId("stranger")]), signal), undefined, "reachable, but not connected");
  t.notOk(asked.includes(peerId("stranger")));
});

t.test("a connection that comes back is repaired over at once", async (t) => {
  const { world, hosts } = await three();
  const [a, b, c] = hosts;
  for (const other of [b, c]) {
    world.cut(a, other);
    a.end.drop(other.peer);
    other.end.drop(a.peer);
  }
  for (let at = 0; at < 8; at += 1) {
    await world.until(b.replica.write([b.draft(`c${at}`, "x")], { copies: 1 }));
    await world.run(1_300);
    world.wires.healAll();
    let waitedMs = 0;
    while (!a.end.open.has(b.peer) && !a.end.open.has(c.peer)) {
      await world.run(10);
      waitedMs += 10;
    }
    await world.run(850);
    t.ok(world.equal(a, b), `within a second of the connection (${waitedMs} ms)`);
    for (const other of [b, c]) {
      world.cut(a, other);
      a.end.drop(other.peer);
      other.end.drop(a.peer);
    }
  }
});

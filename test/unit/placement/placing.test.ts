import t from "tap";
import { MIB, World } from "./world.ts";

t.test("a container is placed, claimed once and known at requester and holder", async (t) => {
  const world = new World(3);
  const [asked] = [world.at(1)];
  const started = world.time.nowMs;
  const outcome = await world.run(asked, "token-1");
  t.ok(outcome.ok);
  if (!outcome.ok) return;
  t.equal(outcome.copies, 2);
  t.equal(outcome.holding.epoch, 1);
  t.ok(world.time.nowMs - started < 50, "all have answered: the window does not run to its end");
  t.strictSame(
    world.holders(outcome.id).map((host) => host.peer),
    [outcome.holding.holder],
  );
  t.equal(asked.view.container(outcome.id)?.best?.holder, outcome.holding.holder);
  t.ok(world.host(outcome.holding.holder).placement.holder.mayStart(outcome.id).ok);
  t.equal(outcome.answers.filter((row) => row.chosen).length, 1);
  t.equal(outcome.answers.filter((row) => row.kind === "bid").length, 3);
  t.ok(outcome.records.some((record) => record.key === `user/a/container/${outcome.id}`));
  world.stop();
});

t.test("one host alone places with one copy, and says so", async (t) => {
  const world = new World(1);
  const outcome = await world.run(world.at(0), "token-1");
  t.match(outcome, { ok: true, copies: 1, holding: { holder: world.at(0).peer } });
  world.stop();
});

t.test("the cheapest takes it: image, labels and load are in the price", async (t) => {
  const world = new World(3);
  world.at(0).own.hasImage = () => Promise.resolve(false);
  world.at(1).own.loadPerCore = 3;
  const first = await world.run(world.at(0), "token-1");
  t.match(first, { ok: true, holding: { holder: world.at(2).peer } });
  world.at(0).own.labels = { disk: "ssd" };
  world.at(0).own.hasImage = () => Promise.resolve(true);
  const second = await world.run(world.at(0), "token-2", { labels: { disk: "ssd" } });
  t.match(second, { ok: true, holding: { holder: world.at(0).peer } });
  world.stop();
});

t.test("all refuse: the error says why, host by host", async (t) => {
  const world = new World(3);
  world.at(2).own.draining = true;
  const outcome = await world.run(world.at(0), "token-1", { memoryBytes: 4096 * MIB });
  t.match(outcome, { ok: false, code: "NO_ROOM" });
  if (outcome.ok) return;
  for (const host of world.hosts) t.match(outcome.message, new RegExp(`${host.name}: `));
  t.match(outcome.message, /4 GiB of memory asked, 1 GiB free of 1 GiB/);
  t.match(outcome.message, /being drained/);
  t.ok(world.time.nowMs < 50);
  world.stop();
});

t.test("lost bids: the silent are asked directly before anything is refused", async (t) => {
  const world = new World(3);
  for (const host of [world.at(0), world.at(1)]) host.own.draining = true;
  world.onMessage = (_from, to, kind) => (kind === "bid-request" && to === world.at(2) ? "drop" : 1);
  const outcome = await world.run(world.at(0), "token-1");
  t.match(outcome, { ok: true, holding: { holder: world.at(2).peer } });
  world.stop();
});

t.test("a silent host holds up nobody who has a bid, and is named where nobody has", async (t) => {
  const world = new World(3);
  world.at(2).die();
  const placed = await world.run(world.at(0), "token-1");
  t.ok(placed.ok);
  t.ok(world.time.nowMs >= 50 && world.time.nowMs < 100);
  for (const host of [world.at(0), world.at(1)]) host.own.draining = true;
  const before = world.time.nowMs;
  const refused = await world.run(world.at(0), "token-2");
  t.match(refused, { ok: false, code: "NO_ROOM" });
  if (!refused.ok) t.match(refused.message, new RegExp(`${world.at(2).name}: no answer`));
  t.ok(world.time.nowMs - before >= 1_050 && world.time.nowMs - before < 1_200);
  world.stop();
});

t.test("pinned to a host or a zone", async (t) => {
  const world = new World(4, ["a", "b"]);
  const [first, second] = [world.at(0), world.at(1)];
  t.match(await world.run(first, "t1", { host: second.name }), { ok: true, holding: { holder: second.peer } });
  t.match(await world.run(first, "t2", { host: second.peer }), { ok: true, holding: { holder: second.peer } });
  const inZone = await world.run(first, "t3", { zone: "b" });
  t.ok(inZone.ok && world.host(inZone.holding.holder).zone === "b");
  t.match(await world.run(first, "t4", { host: "nobody" }), { ok: false, code: "NOT_FOUND" });
  t.match(await world.run(first, "t5", { zone: "nowhere" }), { ok: false, code: "NO_ROOM" });
  first.unreachable.add(second.peer);
  t.match(await world.run(first, "t6", { host: second.name }), { ok: false, code: "HOST_UNREACHABLE" });
  world.stop();
});

t.test("200 requests at once over three hosts: never over-committed, all answered", async (t) => {
  const world = new World(3);
  const outcomes = await world.time.settle(Promise.all(Array.from({ length: 200 }, (_, at) => world.place(world.at(at % 3), `token-${at}`))));
  const placed = outcomes.filter((outcome) => outcome.ok);
  t.equal(placed.length, 48, "1,024 MiB each, 64 MiB a container");
  for (const host of world.hosts) {
    t.same(host.placement.holder.used, { memoryBytes: 1024 * MIB, diskBytes: 1024 * MIB, cpuShares: 16 * 1024, containers: 16 });
  }
  for (const outcome of outcomes) if (!outcome.ok) t.match(outcome, { code: "NO_ROOM", message: /64 MiB of memory asked, 0 B free of 1 GiB/ });
  world.stop();
});

t.test("a claim counts without a timer: a slow pull frees no room", async (t) => {
  const world = new World(1);
  const host = world.at(0);
  t.ok((await world.run(host, "token-1", { memoryBytes: 1000 * MIB })).ok);
  await world.time.pass(3_600_000);
  t.match(await world.run(host, "token-2", { memoryBytes: 1000 * MIB }), { ok: false, code: "NO_ROOM" });
  host.restart();
  t.match(await world.run(host, "token-3", { memoryBytes: 1000 * MIB }), { ok: false, code: "NO_ROOM" }, "nor does a restart");
  world.stop();
});

t.test("a write that fails gives the room back and acknowledges nothing", async (t) => {
  const world = new World(1);
  world.at(0).replica.failWrites = "INTERNAL";
  t.match(await world.run(world.at(0), "token-1"), { ok: false, code: "INTERNAL", message: /could not write its claim/ });
  t.equal(world.at(0).placement.holder.used.containers, 0);
  world.at(0).replica.failWrites = undefined;
  t.match(await world.run(world.at(0), "token-1"), { ok: true }, "the same token goes through once the disk is well");
  world.stop();
});

t.test("a claim that could not be written since the peer was stopping is no fault of the host's", async (t) => {
  const world = new World(1);
  world.at(0).replica.failWrites = "STARTING";
  t.match(await world.run(world.at(0), "token-1"), { ok: false, code: "STARTING", message: /the records are closed/ });
  t.equal(world.at(0).placement.holder.used.containers, 0);
  world.stop();
});

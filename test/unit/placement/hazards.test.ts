import t from "tap";
import type { ContainerId } from "../../../src/base/index.ts";
import { makeDecline } from "../../../src/placement/award.ts";
import { containerIdOf, type PlacementOutcome } from "../../../src/placement/index.ts";
import { KEY, MIB, type SimHost, World } from "./world.ts";

const placedAt = (outcome: PlacementOutcome): string => (outcome.ok ? outcome.holding.holder : `${outcome.code}: ${outcome.message}`);
const starts = (world: World, id: ContainerId): SimHost[] => world.hosts.filter((host) => host.placement.holder.mayStart(id).ok);

t.test("one token at two peers at once: one start, the same answer from both", async (t) => {
  for (const [first, second] of [
    [0, 2],
    [2, 0],
  ] as const) {
    for (const gapMs of [0, 1, 3, 5, 8]) {
      const world = new World(3);
      const one = world.place(world.at(first), "token-1");
      await world.time.pass(gapMs);
      const other = world.place(world.at(second), "token-1", {}, gapMs > 0 ? [world.at(first)] : []);
      const outcomes = await world.time.settle(Promise.all([one, other]));
      t.equal(placedAt(outcomes[0]), placedAt(outcomes[1]), `${first} then ${second} after ${gapMs} ms`);
      const id = containerIdOf(KEY, "token-1");
      t.equal(world.holders(id).length, 1);
      await world.time.pass(100);
      t.equal(starts(world, id).length, 1);
      world.stop();
    }
  }
});

t.test("retry-elsewhere: the client's retry at another peer finds the same container at the same host", async (t) => {
  const world = new World(3);
  const first = await world.run(world.at(2), "token-1");
  world.onMessage = (from, _to, kind) => (kind === "gossip" && from === world.at(2) ? "drop" : 1);
  const again = await world.run(world.at(0), "token-1", {}, [world.at(2)]);
  t.ok(first.ok && again.ok && first.id === again.id);
  t.equal(placedAt(again), placedAt(first));
  t.equal(world.holders(containerIdOf(KEY, "token-1")).length, 1);
  world.stop();
});

t.test("the retry learns of it through 'have it already', though no gossip arrived and nobody is named", async (t) => {
  const world = new World(3);
  world.onMessage = (_from, _to, kind) => (kind === "gossip" ? "drop" : 1);
  const first = await world.run(world.at(2), "token-1");
  const again = await world.run(world.at(0), "token-1");
  t.ok(again.ok);
  t.equal(placedAt(again), placedAt(first));
  world.stop();
});

t.test("'have it' holds every award up until its proof is there, also where the first is lost", async (t) => {
  const world = new World(3);
  let lost = 0;
  world.onMessage = (_from, _to, kind) => {
    if (kind === "gossip") return "drop";
    if (kind !== "askAround:reply" || lost > 0) return 1;
    lost += 1;
    return "drop";
  };
  world.at(1).own.loadPerCore = 3;
  const first = await world.run(world.at(2), "token-1", { host: world.at(1).name });
  const again = await world.run(world.at(0), "token-1", { host: world.at(1).name });
  t.equal(placedAt(again), placedAt(first));
  t.equal(lost, 1);
  const other = await world.run(world.at(2), "token-2");
  t.ok(other.ok);
  lost = 0;
  t.equal(placedAt(await world.run(world.at(0), "token-2")), placedAt(other));
  t.equal(world.holders(containerIdOf(KEY, "token-2")).length, 1);
  world.stop();
});

t.test("after a rival gave up everybody is asked anew", async (t) => {
  const world = new World(3);
  const [lower, higher, best] = [world.at(0), world.at(1), world.at(2)];
  for (const host of [lower, higher]) host.own.loadPerCore = 3;
  let direct = 0;
  world.onMessage = (from, to, kind) => {
    if (kind === "askBid" && to === best) direct += 1;
    return kind === "bid" && from === best && to === lower ? "drop" : 10;
  };
  const placing = world.place(higher, "token-1");
  await world.time.pass(1);
  const cut = new AbortController();
  const given = world.place(lower, "token-1", {}, [], cut.signal);
  given.catch(() => undefined);
  await world.time.pass(35);
  t.equal(world.holders(containerIdOf(KEY, "token-1")).length, 0, "the higher waits for the lower");
  cut.abort(new DOMException("the user left", "AbortError"));
  t.equal(placedAt(await world.time.settle(placing)), best.peer);
  t.equal(direct, 0, "by gossip, as a new request");
  await t.rejects(world.time.settle(given), { code: "CANCELLED" });
  world.stop();
});

t.test("lost-award: the reply is lost, the same award is asked again, nobody else is awarded", async (t) => {
  const world = new World(3);
  let lost = 0;
  world.onMessage = (_from, _to, kind) => {
    if (kind === "gossip") return "drop";
    if (kind !== "awardContainer:reply" || lost > 0) return 1;
    lost += 1;
    return "drop";
  };
  for (const host of [world.at(0), world.at(1)]) host.own.loadPerCore = 3;
  const outcome = await world.run(world.at(0), "token-1");
  t.equal(lost, 1);
  t.match(outcome, { ok: true, holding: { holder: world.at(2).peer, epoch: 1 } });
  t.equal(world.holders(containerIdOf(KEY, "token-1")).length, 1);
  world.stop();
});

t.test("the holder dies after the award: 'unknown' after 4 s, the next only once it is held unreachable; it yields when it returns", async (t) => {
  const world = new World(3);
  const [asked, doomed] = [world.at(0), world.at(2)];
  for (const host of [world.at(0), world.at(1)]) host.own.loadPerCore = 3;
  world.onMessage = (_from, to, kind) => {
    if (kind === "gossip") return "drop";
    if (kind === "awardContainer" && to === doomed) world.time.after(6, () => doomed.die());
    return kind === "awardContainer:reply" ? 20 : 1;
  };
  const first = await world.run(asked, "token-1");
  t.match(first, { ok: false, code: "OUTCOME_UNKNOWN", message: /same token/ });
  t.ok(world.time.nowMs >= 4_000 && world.time.nowMs < 5_100);
  t.match(await world.run(asked, "token-1"), { ok: false, code: "OUTCOME_UNKNOWN" }, "still not held unreachable: nobody else is awarded");
  for (const host of [world.at(0), world.at(1)]) host.unreachable.add(doomed.peer);
  const second = await world.run(asked, "token-1");
  t.match(second, { ok: true, holding: { epoch: 2 } });
  t.not(placedAt(second), doomed.peer);

  const id = containerIdOf(KEY, "token-1");
  world.onMessage = () => 1;
  doomed.restart();
  for (const host of world.hosts) host.unreachable.clear();
  t.ok(doomed.placement.holder.mayStart(id).ok, "it knows of nothing better yet");
  doomed.replica.store([...(asked.replica.byContainer.get(id)?.values() ?? [])].map((record) => record.frame));
  await world.time.pass(50);
  t.notOk(doomed.placement.holder.mayStart(id).ok);
  t.strictSame(doomed.gaveWay, [id]);
  t.equal(world.holders(id).length, 1);
  t.equal(doomed.placement.holder.used.containers, 0, "what gave way holds no room");
  world.stop();
});

t.test("another peer takes over a token whose first peer does not know how its award ended", async (t) => {
  const world = new World(4);
  const [next, first, doomed] = [world.at(0), world.at(1), world.at(3)];
  for (const host of world.hosts) if (host !== doomed) host.own.loadPerCore = 3;
  world.onMessage = (_from, to, kind) => {
    if (kind === "awardContainer" && to === doomed) doomed.die();
    return 1;
  };
  t.match(await world.run(first, "token-1"), { ok: false, code: "OUTCOME_UNKNOWN" });
  t.match(await world.run(next, "token-1", {}, [first]), { ok: false, code: "OUTCOME_UNKNOWN" }, "it learns of the award from the first");
  for (const host of world.hosts) host.unreachable.add(doomed.peer);
  t.match(await world.run(next, "token-1", {}, [first]), { ok: true, holding: { epoch: 2 } });
  world.stop();
});

t.test("half-reachable: the award goes through a peer that reaches the host", async (t) => {
  const world = new World(3);
  const [asked, between, far] = [world.at(0), world.at(1), world.at(2)];
  for (const host of [asked, between]) host.own.loadPerCore = 3;
  let relayed = 0;
  world.onMessage = (from, to, kind) => {
    if (kind === "gossip") return "drop";
    // The path between the two breaks with the award.
    if (kind === "awardContainer" && from === asked && to === far) world.cut.add(`${asked.name}>${far.name}`).add(`${far.name}>${asked.name}`);
    if (kind === "awardContainer" && from === between && to === far) relayed += 1;
    return 1;
  };
  const outcome = await world.run(asked, "token-1");
  t.match(outcome, { ok: true, holding: { holder: far.peer, epoch: 1 }, copies: 2 });
  t.equal(relayed, 1);
  t.equal(world.holders(containerIdOf(KEY, "token-1")).length, 1);
  world.stop();
});

t.test("a declined award goes to the next, an epoch above", async (t) => {
  const world = new World(3);
  for (const host of [world.at(0), world.at(1)]) host.own.loadPerCore = 3;
  // Two at once for the last room of the cheapest host.
  world.at(2).own.loadPerCore = 0;
  const outcomes = await world.time.settle(Promise.all([0, 1].map((at) => world.place(world.at(at), `token-${at}`, { memoryBytes: 600 * MIB }))));
  const epochs = outcomes.map((outcome) => (outcome.ok ? outcome.holding.epoch : 0)).sort();
  t.strictSame(epochs, [1, 2]);
  t.not(placedAt(outcomes[0] as PlacementOutcome), placedAt(outcomes[1] as PlacementOutcome));
  world.stop();
});

t.test("an award that comes after the bid has lapsed is declined, and its host asked anew", async (t) => {
  const world = new World(2);
  world.at(0).own.loadPerCore = 3;
  world.onMessage = (_from, _to, kind) => (kind === "awardContainer" && world.time.nowMs < 1_900 ? Math.max(1, 2_100 - world.time.nowMs) : 1);
  const outcome = await world.run(world.at(0), "token-1");
  t.match(outcome, { ok: true, holding: { holder: world.at(1).peer, epoch: 2 } });
  t.equal(world.holders(containerIdOf(KEY, "token-1")).length, 1);
  world.stop();
});

t.test("a peer that passes an award on cannot decline it for its host", async (t) => {
  const world = new World(3);
  const [asked, liar, far] = [world.at(0), world.at(1), world.at(2)];
  for (const host of [asked, liar]) host.own.loadPerCore = 3;
  const lie = makeDecline({ id: containerIdOf(KEY, "token-1"), epoch: 1, holder: far.peer, declinedAtMs: 0 }, { sign: liar.sign });
  liar.handlers.set("awardContainer", () => Promise.resolve({ taken: false, code: "NO_ROOM", reason: "no", ...lie }));
  world.onMessage = (from, to, kind) => {
    if (kind === "gossip") return "drop";
    if (kind === "awardContainer:reply" && from === far && to === asked) world.cut.add(`${asked.name}>${far.name}`).add(`${far.name}>${asked.name}`);
    return kind === "awardContainer:reply" && from === far ? "drop" : 1;
  };
  t.match(await world.run(asked, "token-1"), { ok: false, code: "OUTCOME_UNKNOWN" });
  t.strictSame(world.holders(containerIdOf(KEY, "token-1")), [far]);
  world.stop();
});

t.test("the same token with another spec is refused: at the same peer, at another, after a restart", async (t) => {
  const world = new World(3);
  t.ok((await world.run(world.at(0), "token-1", { command: "a" })).ok);
  t.match(await world.run(world.at(0), "token-1", { command: "b" }), { ok: false, code: "TOKEN_REUSED" });
  t.match(await world.run(world.at(1), "token-1", { command: "b" }), { ok: false, code: "TOKEN_REUSED" });
  world.at(0).restart();
  t.match(await world.run(world.at(0), "token-1", { command: "b" }), { ok: false, code: "TOKEN_REUSED" });
  t.match(await world.run(world.at(0), "token-1", { command: "a" }), { ok: true });
  world.stop();
});

t.test("a holder that restarts gives the same answer to the same award", async (t) => {
  const world = new World(2);
  const [asked, holder] = [world.at(0), world.at(1)];
  asked.own.loadPerCore = 3;
  let lost = 0;
  world.onMessage = (_from, _to, kind) => {
    if (kind === "gossip") return "drop";
    if (kind !== "awardContainer:reply" || lost > 0) return 1;
    lost += 1;
    holder.restart();
    return "drop";
  };
  t.match(await world.run(asked, "token-1"), { ok: true, holding: { holder: holder.peer, epoch: 1 } });
  world.stop();
});

t.test("a user who cuts the call before an award leaves nothing behind", async (t) => {
  const world = new World(3);
  world.onMessage = () => 30;
  const cut = new AbortController();
  const placing = world.place(world.at(0), "token-1", {}, [], cut.signal);
  await world.time.pass(5);
  cut.abort(new DOMException("the user left", "AbortError"));
  await t.rejects(world.time.settle(placing), { code: "CANCELLED" });
  await world.time.pass(5_000);
  t.equal(world.holders(containerIdOf(KEY, "token-1")).length, 0);
  world.stop();
});

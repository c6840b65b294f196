import { create, toBinary } from "@bufbuild/protobuf";
import t from "tap";
import { type AwardReply, BidRequestSchema } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { type Award, PhaseSchema, type SignedRequest, StampedRequestSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { makeAward } from "../../../src/placement/award.ts";
import { containerIdOf } from "../../../src/placement/index.ts";
import { buildRecord, hostKey, type StoredRecord, userKey } from "../../../src/state/index.ts";
import { KEY, MIB, type SimHost, World } from "./world.ts";

const TOKEN = "token-1";
const ID = containerIdOf(KEY, TOKEN);

const stampOf = (by: SimHost, request: SignedRequest, atMs = by.clock.nowMs()): StoredRecord =>
  buildRecord(
    {
      key: userKey(by.zone, "container", ID),
      version: { major: atMs, minor: 0 },
      final: false,
      content: toBinary(StampedRequestSchema, create(StampedRequestSchema, { request })),
    },
    by.peer,
    { sign: by.sign },
  );
const awardOf = (stamp: StoredRecord, by: SimHost, to: SimHost, epoch = 1, id = ID): Award =>
  makeAward({ id, epoch, holder: to.peer, awardedAtMs: by.clock.nowMs() }, stamp, { sign: by.sign });

/** One call as it comes over the network. */
const call = (world: World, from: SimHost, to: SimHost, name: string, request: unknown): Promise<AwardReply> =>
  world.time.settle(to.handlers.get(name)?.(request, from.peer, new AbortController().signal) as Promise<AwardReply>);
const bid = (world: World, from: SimHost, to: SimHost, request: SignedRequest): Promise<unknown> =>
  call(world, from, to, "askBid", create(BidRequestSchema, { requestId: `${ID}.x`, container: ID, requester: from.peer, request }));

t.test("the same award again gets the same answer: taken, or declined though there is room by now", async (t) => {
  const world = new World(2);
  const [from, to] = [world.at(0), world.at(1)];
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);
  const award = awardOf(stampOf(from, request), from, to);
  const first = await call(world, from, to, "awardContainer", { award });
  t.ok(first.taken);
  t.equal(first.frames.length, 3, "request, claim and phase");
  const again = await call(world, from, to, "awardContainer", { award });
  t.same(again.frames, first.frames);
  to.restart();
  t.same((await call(world, from, to, "awardContainer", { award })).frames, first.frames, "after a restart too");
  t.equal(to.placement.holder.used.containers, 1);
  world.stop();

  const full = new World(2);
  const [asker, busy] = [full.at(0), full.at(1)];
  const big = full.request(asker, TOKEN, { memoryBytes: 1024 * MIB });
  await bid(full, asker, busy, big);
  busy.own.draining = true;
  const refused = awardOf(stampOf(asker, big), asker, busy);
  const declined = await call(full, asker, busy, "awardContainer", { award: refused });
  t.match(declined, { taken: false, code: "NO_ROOM" });
  busy.own.draining = false;
  t.same(await call(full, asker, busy, "awardContainer", { award: refused }), declined);
  full.stop();
});

t.test("a repeated answer waits for the disk: its phase may be newer", async (t) => {
  const world = new World(2);
  const [from, to] = [world.at(0), world.at(1)];
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);
  const award = awardOf(stampOf(from, request), from, to);
  await call(world, from, to, "awardContainer", { award });
  to.replica.writeMs = 700;
  const askedMs = world.time.nowMs;
  const again = await call(world, from, to, "awardContainer", { award });
  t.equal(again.frames.length, 3);
  t.ok(world.time.nowMs - askedMs >= 700);
  world.stop();
});

t.test("two copies of one award at once are one claim", async (t) => {
  const world = new World(2);
  const [from, to] = [world.at(0), world.at(1)];
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);
  const award = awardOf(stampOf(from, request), from, to);
  const both = await world.time.settle(
    Promise.all([1, 2].map(() => to.handlers.get("awardContainer")?.({ award }, from.peer, new AbortController().signal) as Promise<AwardReply>)),
  );
  t.ok(both[0]?.taken && both[1]?.taken);
  t.same(both[0]?.frames, both[1]?.frames);
  t.equal(to.placement.holder.used.containers, 1);
  world.stop();
});

t.test("what gave way while its award was still being written takes no room", async (t) => {
  const world = new World(2);
  const [from, to] = [world.at(0), world.at(1)];
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);
  const write = to.replica.write.bind(to.replica);
  // The claim is readable, its second copy is not there yet, and a better claim has come meanwhile.
  to.replica.write = async (drafts, options) => {
    const written = await write(drafts, options);
    const phase = toBinary(PhaseSchema, create(PhaseSchema, { container: ID, phase: "yielded" }));
    if (drafts.length > 1) await write([{ key: hostKey(to.peer, to.zone, "phase", ID), content: phase }]);
    return written;
  };
  t.ok((await call(world, from, to, "awardContainer", { award: awardOf(stampOf(from, request), from, to) })).taken);
  await world.time.pass(6_000);
  t.same(to.placement.holder.used, { memoryBytes: 0, diskBytes: 0, cpuShares: 0, containers: 0 });
  world.stop();
});

t.test("an award is taken only for what the user asked of the peer that awards", async (t) => {
  const world = new World(3);
  const [from, to, other] = [world.at(0), world.at(1), world.at(2)];
  const answer = async (award: Award): Promise<unknown> => call(world, from, to, "awardContainer", { award });
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);

  const forged = { ...request, signature: "forged" };
  t.match(await answer(awardOf(stampOf(from, forged), from, to)), { taken: false, code: "UNAUTHENTICATED" }, "the user did not sign it");
  const late = stampOf(from, world.request(from, TOKEN), from.clock.nowMs() + 301_000);
  t.match(await answer(awardOf(late, from, to, 2)), { taken: false, code: "CLOCK_SKEW" });
  await t.rejects(answer(awardOf(stampOf(from, request), other, to)), { code: "UNAUTHENTICATED" }, "another peer's award of it");
  await t.rejects(answer(awardOf(stampOf(from, request), from, to, 1, containerIdOf(KEY, "token-2"))), { code: "BAD_REQUEST" }, "another container's award");
  const elses = world.request(from, "token-2");
  t.match(await answer(awardOf(stampOf(from, elses), from, to, 3)), { taken: false, code: "WRONG_PEER" }, "another token's request under this id");
  t.equal(to.placement.holder.used.containers, 0);
  t.equal(to.replica.records.size, 0);
  world.stop();
});

t.test("what runs elsewhere cannot be awarded away, whatever the epoch", async (t) => {
  const world = new World(3);
  const [from, to, thief] = [world.at(0), world.at(1), world.at(2)];
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);
  const stamp = stampOf(from, request);
  const taken = await call(world, from, to, "awardContainer", { award: awardOf(stamp, from, to) });
  thief.replica.store(taken.frames);
  t.match(await bid(world, from, thief, request), { answer: { kind: "have-it" }, holder: to.peer, epoch: 1 });
  t.match(await call(world, from, thief, "awardContainer", { award: awardOf(stamp, from, thief, 64) }), { taken: false, code: "CONFLICT" });
  world.stop();
});

t.test("a bid request is answered only where its user addressed the peer that asks", async (t) => {
  const world = new World(3);
  const [from, to, other] = [world.at(0), world.at(1), world.at(2)];
  const request = world.request(from, TOKEN, { name: "web" });
  t.match(await bid(world, other, to, request), { answer: { kind: "refused", reason: /^WRONG_PEER/ } });
  t.match(await bid(world, from, to, { ...request, signature: "forged" }), { answer: { kind: "refused", reason: /^UNAUTHENTICATED/ } });
  const others = world.request(other, "token-2", { name: "web" });
  const id = containerIdOf(KEY, "token-2");
  const asked = create(BidRequestSchema, { requestId: `${id}.x`, container: id, requester: other.peer, request: others });
  t.match(await call(world, other, to, "askBid", asked), { answer: { kind: "bid" } }, "and nothing was held for the two before");
  await t.rejects(call(world, from, to, "askBid", asked), { code: "WRONG_PEER" }, "asked directly by another than the requester");
  world.stop();
});

t.test("an award is passed on for its own peer alone", async (t) => {
  const world = new World(3);
  const [from, between, to] = [world.at(0), world.at(1), world.at(2)];
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);
  const award = awardOf(stampOf(from, request), from, to);
  await t.rejects(call(world, to, between, "awardContainer", { award }), { code: "WRONG_PEER" });
  t.ok((await call(world, from, between, "awardContainer", { award })).taken);
  t.equal(to.placement.holder.used.containers, 1);
  world.stop();
});

t.test("a name that went live after the bid is not taken a second time", async (t) => {
  const world = new World(3);
  const [from, to, other] = [world.at(0), world.at(1), world.at(2)];
  const request = world.request(from, TOKEN, { name: "web" });
  await bid(world, from, to, request);
  world.onMessage = (sender, receiver) => (sender === from || receiver === from ? "drop" : 1);
  // The other create goes through meanwhile: its peers cannot hear this one's.
  to.restart();
  t.ok((await world.run(other, "token-2", { name: "web" })).ok);
  await bid(world, from, to, request).catch(() => undefined);
  t.match(await call(world, from, to, "awardContainer", { award: awardOf(stampOf(from, request), from, to) }), { taken: false, code: "NAME_TAKEN" });
  world.stop();
});

t.test("a removed container's token makes no second one", async (t) => {
  const world = new World(2);
  const [from, to] = [world.at(0), world.at(1)];
  const request = world.request(from, TOKEN);
  await bid(world, from, to, request);
  to.view.container = () => ({ request: undefined, best: undefined, highestEpoch: 1, removed: true });
  t.match(await bid(world, from, to, request), { answer: { kind: "refused", reason: /^CONFLICT: .*removed/ } });
  t.match(await call(world, from, to, "awardContainer", { award: awardOf(stampOf(from, request), from, to) }), { taken: false, code: "CONFLICT" });
  t.notOk(to.placement.holder.mayStart(ID).ok);
  world.stop();
});

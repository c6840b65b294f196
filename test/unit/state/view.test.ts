import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { ClaimSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { Zone } from "../../../src/base/index.ts";
import { type StoredRecord, userKey } from "../../../src/state/index.ts";
import { stampedBy } from "./fixtures.ts";
import { asks, certificate, changes, claims, creates, Desk, facts, grants, idOf, keyId, MEMBERS, NOW, own, peerId, removes, restamps, revokes, runFields, says, ZONE } from "./view-fixtures.ts";

const WEB = idOf("web");
const web = creates("web");
const desk = (...records: readonly StoredRecord[]): Desk => new Desk().take(...MEMBERS, ...records);
const held = (...records: readonly StoredRecord[]) => desk(web, claims("peer 2", web), ...records).view.container(WEB);

t.test("members, their names and keys", async (t) => {
  const { view } = desk(facts("peer 2", "attic-2"));
  t.same(view.members().map(({ peer }) => peer), ["peer 1", "peer 2", "peer 3", "liar"].map(peerId).sort());
  t.match(view.member(peerId("peer 2")), { name: "attic-2", zone: ZONE, addresses: ["/dns4/attic-2/tcp/4001"] });
  t.match(view.member(peerId("peer 1")), { name: "peer-1", facts: undefined });
  t.same(view.keys().map(({ keyId: id }) => id).sort(), [keyId("root"), keyId("ann"), keyId("vic"), keyId("adam")].sort());
  t.ok(view.memberIds().has(peerId("liar")));
});

t.test("a container: its create, the award, the holder's word", async (t) => {
  const { view } = desk(web, claims("peer 2", web), says("peer 2", WEB, "running"));
  t.match(view.container(WEB), { id: WEB, name: "web", zone: ZONE, createdAtMs: NOW, best: { holder: peerId("peer 2"), epoch: 1 }, phase: { phase: "running" }, wanted: undefined, gone: false, highestEpoch: 1 });
  t.same(view.byName("web"), [WEB]);
  t.same(view.claimsOf(peerId("peer 2")).map(({ id }) => id), [WEB]);
  t.match(view.usedBy(peerId("peer 2")), { memoryBytes: 1_000, diskBytes: 10, containersMax: 1 });
  t.equal(view.recordsOf([WEB]).length, 3);
  t.equal(desk(web).view.container(WEB), undefined, "a create counts only together with its first claim");
  t.match(desk(claims("peer 2", web)).view.container(WEB), { name: "web" }, "which carries the create");
});

t.test("what changed is seen, what did not is the same object", async (t) => {
  const other = creates("db");
  const d = desk(web, claims("peer 2", web), other, claims("peer 3", other));
  t.equal(d.view.containers(), d.view.containers());
  const before = d.view.container(idOf("db"));
  d.take(says("peer 2", WEB, "running"));
  t.equal(d.view.container(WEB)?.phase?.phase, "running");
  t.equal(d.view.container(idOf("db")), before);
  d.take(facts("peer 3", "cellar"));
  t.equal(d.view.member(peerId("peer 3"))?.name, "cellar");
  d.view.close();
  t.equal(d.listeners.size, 0);
});

t.test("which of several claims counts", async (t) => {
  const [low, high] = ["peer 2", "peer 3"].sort((a, b) => (peerId(a) < peerId(b) ? -1 : 1)) as [string, string];
  const best = (...records: readonly StoredRecord[]) => desk(web, ...records).view.container(WEB)?.best?.holder;
  t.equal(best(claims(low, web), claims(high, web)), peerId(low), "of equals the lower peer id");
  t.equal(best(claims(low, web), claims(high, web, { epoch: 2 })), peerId(high), "the highest epoch");
  t.equal(best(claims(low, web), claims(high, web), says(high, WEB, "ended"), says(low, WEB, "running")), peerId(high), "of equals one that ended");
  t.equal(best(claims(low, web), says(low, WEB, "ended"), claims(high, web, { epoch: 2 })), peerId(high), "an ended one of a lower epoch is beaten");
  t.equal(best(claims(low, web), says(low, WEB, "failed"), claims(high, web), says(high, WEB, "running")), peerId(low), "failed is not ended");
  t.equal(best(claims(low, web), says(low, WEB, "yielded"), claims(high, web)), peerId(high), "who gave way never counts");
  t.equal(best(claims(low, web), says(low, WEB, "yielded"), claims(high, web), says(high, WEB, "yielded")), undefined);
  t.equal(best(claims(low, web), says(low, WEB, "yielded", { epoch: 2 }), claims(high, web)), peerId(low), "a phase of another epoch says nothing of this one");
});

t.test("both-yield: of two equal claims one goes on", async (t) => {
  const d = desk(web, claims("peer 2", web), claims("peer 3", web), says("peer 2", WEB, "running"), says("peer 3", WEB, "running"));
  const holders = [peerId("peer 2"), peerId("peer 3")].sort();
  const yields = holders.filter((holder) => d.view.betterClaimThan({ id: WEB, holder, epoch: 1 }) !== undefined);
  t.same(yields, [holders[1]]);
  const loser = holders[1] === peerId("peer 2") ? "peer 2" : "peer 3";
  d.take(says(loser, WEB, "yielded", { version: { major: 1, minor: 21 } }));
  t.equal(d.view.betterClaimThan({ id: WEB, holder: holders[0] as never, epoch: 1 }), undefined, "the winner does not give way to it");
  t.equal(d.view.container(WEB)?.best?.holder, holders[0]);
});

t.test("liar: each clause of a claim's warrant", async (t) => {
  const notCounted = (name: string, ...records: readonly StoredRecord[]): void => {
    const { view } = desk(web, claims("peer 2", web), says("peer 2", WEB, "running"), ...records);
    t.match(view.container(WEB), { best: { holder: peerId("peer 2"), epoch: 1 }, phase: { phase: "running" } }, name);
    t.equal(view.betterClaimThan({ id: WEB, holder: peerId("peer 2"), epoch: 1 }), undefined, `${name}: stops nobody`);
  };
  const handed = creates("web", { at: "liar" });
  notCounted("epoch 2^32 - 1", claims("liar", handed, { epoch: 2 ** 32 - 1 }));
  notCounted("epoch 65", claims("liar", handed, { epoch: 65 }));
  notCounted("epoch 0", claims("liar", handed, { epoch: 0 }));
  notCounted("a claim above its award", claims("liar", web, { epoch: 1, claimEpoch: 2 }));
  notCounted("an award to another", claims("liar", web, { epoch: 2, holder: "peer 3" }));
  notCounted("an award signed by itself for a request that another stamped", claims("liar", web, { epoch: 2, signer: "liar" }));
  notCounted("an award over another request", claims("liar", creates("other"), { epoch: 2, id: WEB }));
  notCounted("no warrant", own("liar", "claim", WEB, toBinary(ClaimSchema, create(ClaimSchema, { container: WEB, epoch: 9 }))));
  notCounted("rubbish", own("liar", "claim", WEB, Buffer.from("rubbish")));
  notCounted("a claim in another zone", claims("liar", web, { epoch: 2, zone: "cellar" as Zone }));
  const unsigned = stampedBy("liar", userKey(ZONE, "container", WEB), { ...asks("Run", runFields("web"), { at: "liar" }), signature: Buffer.alloc(64).toString("base64") }, NOW);
  notCounted("a request that no user signed", claims("liar", unsigned, { epoch: 2 }));
  const foreign = stampedBy("liar", userKey(ZONE, "container", WEB), asks("Run", runFields("web", "another token"), { at: "liar" }), NOW);
  notCounted("a request with another token, under this id", claims("liar", foreign, { epoch: 2 }));
  const viewers = stampedBy("liar", userKey(ZONE, "container", WEB), asks("Run", runFields("web"), { at: "liar", by: "vic" }), NOW);
  notCounted("a viewer's request", claims("liar", viewers, { epoch: 2 }));
  const late = stampedBy("liar", userKey(ZONE, "container", WEB), asks("Run", runFields("web"), { at: "liar" }), NOW + 301_000);
  notCounted("a request stamped more than 5 minutes after it was signed", claims("liar", late, { epoch: 2 }));
  const stopped = stampedBy("liar", userKey(ZONE, "container", WEB), asks("Stop", runFields("web"), { at: "liar" }), NOW);
  notCounted("another call than Run", claims("liar", stopped, { epoch: 2 }));
  notCounted("'ended' for what another holds", says("liar", WEB, "ended"), says("liar", WEB, "gone", { version: { major: 2, minor: 1 } }));
  notCounted("a claim of a host that is no member", claims("peer 9", web, { epoch: 2 }));
  const elsewhere = creates("web", { at: "peer 9" });
  notCounted("an award by a peer that is no member", claims("liar", elsewhere, { epoch: 2 }));
  // What it was handed itself it may award, to itself too, up to 64: that much a stolen host can do.
  t.equal(desk(web, claims("peer 2", web), claims("liar", handed, { epoch: 64 })).view.container(WEB)?.best?.holder, peerId("liar"));
});

t.test("liar: deletions, wanted states and admin keys", async (t) => {
  const fine = (name: string, ...records: readonly StoredRecord[]): void => {
    t.match(held(says("peer 2", WEB, "running"), ...records), { gone: false, wanted: undefined, best: { holder: peerId("peer 2") } }, name);
  };
  const at = "liar";
  fine("a removal that no user signed", restamps({ ...asks("Remove", { containers: [WEB] }, { at }), signature: Buffer.alloc(64).toString("base64") }, "Remove", WEB, at, 0));
  fine("a removal signed by a key that nobody knows", changes("Remove", [WEB], { at, by: "eve" }));
  fine("a viewer's removal", changes("Remove", [WEB], { at, by: "vic" }));
  fine("the removal of another container, filed under this one", changes("Remove", [idOf("db")], { at, about: WEB }));
  fine("a stop that is called final", changes("Stop", [WEB], { at, final: true }));
  fine("a removal that is not called final", changes("Remove", [WEB], { at, final: false }));
  fine("a run filed as a wish", restamps(asks("Run", { containers: [WEB], ...runFields("web") }, { at }), "Run", WEB, at, 0));
  fine("a removal stamped an hour after it was signed", changes("Remove", [WEB], { at, stampMs: 3_600_000 }));
  fine("a final create", stampedBy(at, userKey(ZONE, "container", WEB), asks("Run", runFields("web"), { at }), NOW + 60_000, 0, true));
  const forged = grants("eve", "admin", "eve", at);
  const { view } = desk(forged);
  t.notOk(view.authority().keys.has(keyId("eve")), "an admin key of its own making");
  t.ok(view.isVoid(forged));
});

t.test("isVoid tells what counts for nobody, and leaves alone what it does not know", async (t) => {
  const d = desk(web, claims("peer 2", web));
  const { view } = d;
  const stop = changes("Stop", [WEB]);
  for (const record of [web, claims("peer 2", web), says("peer 2", WEB, "running"), stop, certificate("peer 2"), own("peer 2", "hologram", "x", Buffer.from("?"))]) t.notOk(view.isVoid(record), record.key);
  t.ok(view.isVoid(claims("liar", web, { epoch: 65 })));
  t.ok(view.isVoid(says("peer 9", WEB, "running")), "a host that is no member");
  t.ok(view.isVoid(changes("Stop", [WEB], { by: "vic" })));
  t.ok(view.isVoid(changes("Stop", [idOf("db")], { about: WEB })));
  t.ok(view.isVoid(stampedBy("peer 1", userKey(ZONE, "container", WEB), asks("Run", runFields("web", "x")), NOW)));
  t.notOk(view.isVoid(changes("Stop", [WEB], { by: "eve" })), "an unknown key may come to be known");
});

t.test("wanted: the last request that counts; a removal is final", async (t) => {
  const wanted = (...records: readonly StoredRecord[]) => held(...records)?.wanted;
  t.match(wanted(changes("Stop", [WEB, idOf("db")])), { kind: "stopped", call: "Stop", version: { major: NOW } });
  t.match(wanted(changes("Stop", [WEB]), changes("Start", [WEB], { ms: 5_000, at: "peer 3" })), { kind: "running", runToken: "Start 5000" });
  t.match(wanted(changes("Stop", [WEB], { ms: 9_000, at: "peer 2" }), changes("Restart", [WEB], { ms: 5_000 })), { kind: "stopped" });
  t.match(wanted(changes("Remove", [WEB], { ms: 1_000 }), changes("Start", [WEB], { ms: 5_000, at: "peer 3" })), { kind: "removed" });
  t.match(held(changes("Remove", [WEB])), { removed: true, gone: true });
  const d = desk(web, claims("peer 2", web), changes("Remove", [WEB]));
  t.same(d.view.byName("web"), [], "its name is free");
  t.ok(desk(changes("Remove", [WEB])).view.isGone(WEB), "also where its claim is not known");
  t.notOk(desk(web, claims("peer 2", web)).view.isGone(WEB));
});

t.test("restamp: of two stamps of one request the lower counts", async (t) => {
  const stop = asks("Stop", { token: "stop it", containers: [WEB] }, { at: "liar" });
  const first = restamps(stop, "Stop", WEB, "liar", 0);
  const again = restamps(stop, "Stop", WEB, "liar", 120_000);
  const start = changes("Start", [WEB], { ms: 60_000 });
  for (const order of [[first, start, again], [again, start, first], [start, again, first], [first, again, start]]) {
    t.match(held(...order)?.wanted, { kind: "running" }, order.map(({ version }) => version.major - NOW).join());
  }
  t.match(held(first, again)?.wanted, { kind: "stopped", version: { major: NOW } });
  const copy = stampedBy("liar", userKey("cellar" as Zone, "wanted", WEB), stop, NOW + 100_000);
  t.match(held(first, start, copy)?.wanted, { kind: "running" }, "nor does it help to file it under another zone");
});

t.test("revoked-owner: what was stamped before stays, what was stamped after does not count", async (t) => {
  const revoked = revokes("ann", {}, "root", 30_000);
  const before = held(changes("Stop", [WEB], { ms: 10_000 }), revoked);
  t.match(before, { best: { holder: peerId("peer 2") }, wanted: { kind: "stopped" }, gone: false });
  t.match(held(changes("Stop", [WEB], { ms: 10_000 }), changes("Start", [WEB], { ms: 40_000, at: "liar" }), revoked)?.wanted, { kind: "stopped" });
  const later = creates("later", { ms: 40_000 });
  t.equal(desk(later, claims("peer 2", later), revoked).view.container(idOf("later")), undefined);
});

t.test("back-door: a key that a revoked admin signed is void, and so is what it asks for, in any order of arrival", async (t) => {
  const door = grants("door", "admin", "adam", "peer 1", 60_000);
  const removal = changes("Remove", [WEB], { by: "door", ms: 90_000 });
  const revoked = revokes("adam", { keepAll: false, keep: [] }, "root", 30_000);
  const d = desk(web, claims("peer 2", web), door, removal);
  t.equal(d.view.container(WEB)?.gone, true, "as long as nobody knows better");
  d.take(revoked);
  t.match(d.view.container(WEB), { gone: false, removed: false });
  t.match(held(revoked, removal, door), { gone: false });
});

t.test("dead-writer: a removed host's claim is void, the user's removal stays when it returns", async (t) => {
  const running = [web, claims("peer 2", web), says("peer 2", WEB, "running")];
  const lost = desk(...running, removes("peer 2"));
  t.match(lost.view.container(WEB), { best: undefined, highestEpoch: 1, gone: false }, "lost, and its epoch stays");
  t.same(lost.view.byName("web"), [WEB]);
  t.notOk(lost.view.memberIds().has(peerId("peer 2")));
  lost.take(claims("peer 3", web, { epoch: 2 }));
  t.match(lost.view.container(WEB), { best: { holder: peerId("peer 3"), epoch: 2 } });
  const ended = desk(web, claims("peer 2", web), says("peer 2", WEB, "ended"), removes("peer 2"));
  t.match(ended.view.container(WEB), { best: { holder: peerId("peer 2") }, phase: { phase: "ended" } }, "what ended stays ended");
  const after = desk(web, claims("peer 2", web), says("peer 2", WEB, "ended", { version: { major: 1, minor: 2_000 } }), removes("peer 2"));
  t.match(after.view.container(WEB), { best: undefined }, "but not beyond the last version that counts");
  const late = desk(claims("peer 2", web, { epoch: 7, version: { major: 9, minor: 1 } }), claims("peer 3", web), removes("peer 2"));
  t.match(late.view.container(WEB), { best: { holder: peerId("peer 3") }, highestEpoch: 1 });
  const removed = desk(...running, changes("Remove", [WEB]));
  t.match(removed.view.container(WEB), { gone: true });
  removed.take(says("peer 2", WEB, "running", { version: { major: 5, minor: 1 } }), claims("peer 2", web, { version: { major: 5, minor: 2 } }));
  t.match(removed.view.container(WEB), { gone: true }, "K returns and knows nothing of it");
});

t.test("removed-sponsor: what a removed host had stamped and awarded stays, what it stamps afterwards does not", async (t) => {
  const byRemoved = creates("api", { at: "peer 3" });
  const d = desk(byRemoved, claims("peer 2", byRemoved), changes("Stop", [idOf("api")], { at: "peer 3", ms: 1_000 }), web, claims("peer 2", web), changes("Remove", [WEB], { at: "peer 3", ms: 60_000 }), removes("peer 3", {}, "adam", 30_000));
  t.match(d.view.container(WEB), { gone: false, wanted: undefined });
  t.match(d.view.container(idOf("api")), { best: { holder: peerId("peer 2") }, wanted: { kind: "stopped" }, gone: false });
});

t.test("second-life: a holder's `gone` counts where the spec allows, and nothing revives it", async (t) => {
  const gone = (spec: object, phase: Parameters<typeof says>[3], ...more: readonly StoredRecord[]) => {
    const made = creates("job", { spec });
    return desk(made, claims("peer 2", made), says("peer 2", idOf("job"), "gone", phase), ...more).view.container(idOf("job"))?.gone;
  };
  const day = 86_400_000;
  t.equal(gone({ removeWhenEnded: true }, {}), true, "--rm");
  t.equal(gone({}, { endedAtMs: NOW - day, changedAtMs: NOW }), true, "ended a day ago");
  t.equal(gone({}, { endedAtMs: NOW - day / 2, changedAtMs: NOW }), false, "too early");
  t.equal(gone({ keepEndedMs: 1_000 }, { endedAtMs: NOW - 2_000, changedAtMs: NOW }), true, "as long as its spec says");
  t.equal(gone({}, {}), false, "it never ended");
  t.equal(gone({}, { endedAtMs: NOW - day, changedAtMs: NOW }, changes("Stop", [idOf("job")])), false, "stopped by its user: kept until it is removed");
  const made = creates("job", { spec: { removeWhenEnded: true } });
  const d = desk(made, claims("peer 2", made), says("peer 2", idOf("job"), "gone"));
  d.take(says("peer 2", idOf("job"), "running", { version: { major: 7, minor: 1 } }));
  t.equal(d.view.container(idOf("job"))?.gone, true, "the frame is final");
  const notFinal = desk(made, claims("peer 2", made), says("peer 2", idOf("job"), "gone", { final: false }));
  t.equal(notFinal.view.container(idOf("job"))?.gone, false);
});

t.test("two-creates in a cut: both live, the bare name means neither, the older first", async (t) => {
  const ben = grants("ben", "operator");
  const [first, second] = [creates("web", { ms: 0 }), creates("web", { by: "ben", ms: 1_000, at: "peer 3" })];
  const d = desk(ben, second, claims("peer 3", second), first, claims("peer 2", first));
  t.same(d.view.byName("web"), [WEB, idOf("web", "ben")]);
  d.take(changes("Remove", [WEB]));
  t.same(d.view.byName("web"), [idOf("web", "ben")]);
});

t.test("any order of the same records gives the same view", async () => {
  const api = creates("api", { at: "peer 3" });
  const stop = asks("Stop", { token: "s", containers: [WEB] }, { at: "liar" });
  const records = [
    ...MEMBERS,
    web,
    claims("peer 2", web),
    claims("peer 3", web),
    says("peer 3", WEB, "ended"),
    says("peer 2", WEB, "running"),
    says("peer 2", WEB, "yielded", { version: { major: 1, minor: 30 } }),
    restamps(stop, "Stop", WEB, "liar", 0),
    restamps(stop, "Stop", WEB, "liar", 100_000),
    changes("Start", [WEB], { ms: 50_000 }),
    api,
    claims("peer 2", api),
    claims("liar", api, { epoch: 65 }),
    changes("Remove", [idOf("api")], { by: "vic" }),
    removes("liar", {}, "adam", 70_000),
    grants("door", "admin", "adam", "peer 1", 90_000),
    revokes("adam", { keepAll: true }, "root", 80_000),
    facts("peer 2", "two"),
  ];
  const told = (d: Desk): string =>
    JSON.stringify([
      d.view.containers().map(({ id, best, wanted, gone, highestEpoch, phase, claims: all }) => [id, best, wanted?.kind, wanted?.version, gone, highestEpoch, phase?.phase, all.map(({ holder }) => holder)]),
      d.view.members().map(({ peer, name }) => [peer, name]),
      d.view.keys().map(({ keyId: id, state }) => [id, state]).sort(),
      d.view.byName("web"),
    ]);
  const expected = told(new Desk().take(...records));
  fc.assert(
    fc.property(fc.shuffledSubarray(records, { minLength: records.length }), fc.integer({ min: 1, max: 5 }), (shuffled, batch) => {
      const d = new Desk();
      for (let at = 0; at < shuffled.length; at += batch) {
        d.take(...shuffled.slice(at, at + batch));
        // Asked in between, so that what was derived too early has to be put right.
        if (at % 3 === 0) told(d);
      }
      return told(d) === expected && told(Object.assign(d, { view: d.look() })) === expected;
    }),
    { numRuns: 60 },
  );
});

t.test("fuzz: whatever a host writes into its own records, reading them never throws", async () => {
  const d = desk(web, claims("peer 2", web));
  let minor = 100;
  fc.assert(
    fc.property(fc.constantFrom("claim", "phase", "facts", "certificate"), fc.uint8Array({ maxLength: 120 }), fc.boolean(), (kind, content, final) => {
      minor += 1;
      d.take(own("liar", kind, kind === "claim" || kind === "phase" ? WEB : "self", content, { major: 1, minor }, final && kind !== "certificate"));
      return d.view.container(WEB)?.best?.holder === peerId("peer 2") && d.view.members().length >= 3;
    }),
    { numRuns: 150 },
  );
});

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { ClaimSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { Zone } from "../../../src/base/index.ts";
import { type StoredRecord, userKey } from "../../../src/state/index.ts";
import { stampedBy } from "./fixtures.ts";
import {
  asks,
  certificate,
  changes,
  claims,
  creates,
  Desk,
  grants,
  idOf,
  keyId,
  MEMBERS,
  NOW,
  own,
  peerId,
  removes,
  restamps,
  revokes,
  runFields,
  says,
  ZONE,
} from "./view-fixtures.ts";

const WEB = idOf("web");
const web = creates("web");
const desk = (...records: readonly StoredRecord[]): Desk => new Desk().take(...MEMBERS, ...records);
const held = (...records: readonly StoredRecord[]) => desk(web, claims("peer 2", web), ...records).view.container(WEB);

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
  const twice = [creates("web"), creates("web")] as const;
  const swapped = claims("liar", twice[0], { epoch: 2 });
  const award = fromBinary(ClaimSchema, swapped.content);
  if (award.warrant?.kind.case === "award") award.warrant.kind.value.request = twice[1].frame;
  notCounted("an award with another stamp of the request than it was signed for", own("liar", "claim", WEB, toBinary(ClaimSchema, award)));
  notCounted("no warrant", own("liar", "claim", WEB, toBinary(ClaimSchema, create(ClaimSchema, { container: WEB, epoch: 9 }))));
  notCounted("rubbish", own("liar", "claim", WEB, Buffer.from("rubbish")));
  notCounted("a claim in another zone", claims("liar", web, { epoch: 2, zone: "cellar" as Zone }));
  const unsigned = stampedBy(
    "liar",
    userKey(ZONE, "container", WEB),
    { ...asks("Run", runFields("web"), { at: "liar" }), signature: Buffer.alloc(64).toString("base64") },
    NOW,
  );
  notCounted("a request that no user signed", claims("liar", unsigned, { epoch: 2 }));
  const foreign = stampedBy("liar", userKey(ZONE, "container", WEB), asks("Run", runFields("web", "another token"), { at: "liar" }), NOW);
  notCounted("a request with another token, under this id", claims("liar", foreign, { epoch: 2 }));
  const viewers = stampedBy("liar", userKey(ZONE, "container", WEB), asks("Run", runFields("web"), { at: "liar", by: "vic" }), NOW);
  notCounted("a viewer's request", claims("liar", viewers, { epoch: 2 }));
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
  fine(
    "a removal that no user signed",
    restamps({ ...asks("Remove", { containers: [WEB] }, { at }), signature: Buffer.alloc(64).toString("base64") }, "Remove", WEB, at, 0),
  );
  fine("a removal signed by a key that nobody knows", changes("Remove", [WEB], { at, by: "eve" }));
  fine("a viewer's removal", changes("Remove", [WEB], { at, by: "vic" }));
  fine("the removal of another container, filed under this one", changes("Remove", [idOf("db")], { at, about: WEB }));
  fine("a stop that is called final", changes("Stop", [WEB], { at, final: true }));
  fine("a removal that is not called final", changes("Remove", [WEB], { at, final: false }));
  fine("a run filed as a wish", restamps(asks("Run", { containers: [WEB], ...runFields("web") }, { at }), "Run", WEB, at, 0));
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
  for (const record of [
    web,
    claims("peer 2", web),
    says("peer 2", WEB, "running"),
    stop,
    certificate("peer 2"),
    own("peer 2", "hologram", "x", Buffer.from("?")),
  ])
    t.notOk(view.isVoid(record), record.key);
  t.ok(view.isVoid(claims("liar", web, { epoch: 65 })));
  t.ok(view.isVoid(says("peer 9", WEB, "running")), "a host that is no member");
  t.ok(view.isVoid(changes("Stop", [WEB], { by: "vic" })));
  t.ok(view.isVoid(changes("Stop", [idOf("db")], { about: WEB })));
  t.ok(view.isVoid(stampedBy("peer 1", userKey(ZONE, "container", WEB), asks("Run", runFields("web", "x")), NOW)));
  t.notOk(view.isVoid(changes("Stop", [WEB], { by: "eve" })), "an unknown key may come to be known");
});

t.test("restamp: of two stamps of one request the lower counts", async (t) => {
  const stop = asks("Stop", { token: "stop it", containers: [WEB] }, { at: "liar" });
  const first = restamps(stop, "Stop", WEB, "liar", 0);
  const again = restamps(stop, "Stop", WEB, "liar", 120_000);
  const start = changes("Start", [WEB], { ms: 60_000 });
  for (const order of [
    [first, start, again],
    [again, start, first],
    [start, again, first],
    [first, again, start],
  ]) {
    t.match(held(...order)?.wanted, { kind: "running" }, order.map(({ version }) => version.major - NOW).join());
  }
  t.match(held(first, again)?.wanted, { kind: "stopped", version: { major: NOW } });
  const both = [WEB, idOf("db")].map((about, at) =>
    restamps(asks("Stop", { token: "two", containers: [WEB, idOf("db")] }, { nonce: "one-for-two-1234" }), "Stop", about, "peer 1", at),
  );
  const two = desk(...both);
  t.same(
    both.map((record) => two.stamps.stampOf(record).major - NOW),
    [0, 1],
    "one request for two containers is two records, each with its own stamp",
  );
  const copy = stampedBy("liar", userKey("cellar" as Zone, "wanted", WEB), stop, NOW + 100_000);
  t.match(held(first, start, copy)?.wanted, { kind: "running" }, "nor does it help to file it under another zone");
});

t.test("revoked-owner: what was stamped before stays, what was stamped after does not count", async (t) => {
  const revoked = revokes("ann", {}, "root", 30_000);
  const before = held(changes("Stop", [WEB], { ms: 10_000 }), revoked);
  t.match(before, { best: { holder: peerId("peer 2") }, wanted: { kind: "stopped" }, gone: false });
  t.match(held(changes("Stop", [WEB], { ms: 10_000 }), changes("Start", [WEB], { ms: 40_000, at: "liar" }), revoked)?.wanted, { kind: "stopped" });
  const later = creates("later", { ms: 40_000 });
  const unlisted = desk(later, claims("peer 2", later), revoked);
  t.equal(unlisted.view.container(idOf("later")), undefined);
  t.same(unlisted.view.claimsOf(peerId("peer 2")), []);
  unlisted.take(changes("Remove", [idOf("later")], { by: "adam", ms: 50_000 }));
  t.match(
    unlisted.view.container(idOf("later")),
    { gone: true, removed: true, best: { holder: peerId("peer 2") } },
    "once it is removed its holder has to end it",
  );
  t.match(unlisted.view.claimsOf(peerId("peer 2")), [{ id: idOf("later") }]);
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

t.test("removed-sponsor: what a removed host had stamped and awarded stays, whatever the clock was that stamped the removal", async (t) => {
  const byRemoved = creates("api", { at: "peer 3" });
  const d = desk(
    byRemoved,
    claims("peer 2", byRemoved),
    changes("Stop", [idOf("api")], { at: "peer 3", ms: 1_000 }),
    web,
    claims("peer 2", web),
    changes("Remove", [WEB], { at: "peer 3", ms: 60_000 }),
    removes("peer 3", {}, "adam", -200_000),
  );
  t.match(d.view.container(WEB), { gone: true }, "users signed it");
  t.match(d.view.container(idOf("api")), { best: { holder: peerId("peer 2") }, wanted: { kind: "stopped" }, gone: false });
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

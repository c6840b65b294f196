import fc from "fast-check";
import t from "tap";
import type { StoredRecord } from "../../../src/state/index.ts";
import {
  asks,
  changes,
  claims,
  creates,
  Desk,
  facts,
  grants,
  idOf,
  keyId,
  MEMBERS,
  NOW,
  peerId,
  removes,
  restamps,
  revokes,
  says,
  ZONE,
} from "./view-fixtures.ts";

const WEB = idOf("web");
const web = creates("web");
const desk = (...records: readonly StoredRecord[]): Desk => new Desk().take(...MEMBERS, ...records);
const held = (...records: readonly StoredRecord[]) => desk(web, claims("peer 2", web), ...records).view.container(WEB);

t.test("members, their names and keys", async (t) => {
  const { view } = desk(facts("peer 2", "attic-2"));
  t.same(
    view.members().map(({ peer }) => peer),
    ["peer 1", "peer 2", "peer 3", "liar"].map(peerId).sort(),
  );
  t.match(view.member(peerId("peer 2")), { name: "attic-2", zone: ZONE, addresses: ["/dns4/attic-2/tcp/4001"] });
  t.match(view.member(peerId("peer 1")), { name: "peer-1", facts: undefined });
  t.same(
    view
      .keys()
      .map(({ keyId: id }) => id)
      .sort(),
    [keyId("root"), keyId("ann"), keyId("vic"), keyId("adam")].sort(),
  );
  t.ok(view.memberIds().has(peerId("liar")));
});

t.test("a container: its create, the award, the holder's word", async (t) => {
  const { view } = desk(web, claims("peer 2", web), says("peer 2", WEB, "running"));
  t.match(view.container(WEB), {
    id: WEB,
    name: "web",
    zone: ZONE,
    createdAtMs: NOW,
    best: { holder: peerId("peer 2"), epoch: 1 },
    phase: { phase: "running" },
    wanted: undefined,
    gone: false,
    highestEpoch: 1,
  });
  t.same(view.byName("web"), [WEB]);
  t.same(
    view.claimsOf(peerId("peer 2")).map(({ id }) => id),
    [WEB],
  );
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

t.test("a host's claims, by container, as they come and as they stop counting", async (t) => {
  const other = creates("db");
  const d = desk(web, claims("peer 2", web), other, claims("peer 2", other), claims("peer 3", other, { epoch: 2 }));
  const claimed = (host: string) => d.view.claimsOf(peerId(host)).map(({ id, epoch }) => [id, epoch]);
  t.same(
    claimed("peer 2"),
    [WEB, idOf("db")].sort().map((id) => [id, 1]),
  );
  t.same(claimed("peer 3"), [[idOf("db"), 2]]);
  d.take(removes("peer 2", { countsToMajor: 0, countsToMinor: 1 }));
  t.same(claimed("peer 2"), [], "a removed host's claims that nobody confirmed count no more");
  t.same(claimed("peer 3"), [[idOf("db"), 2]]);
  t.same(claimed("peer 1"), []);
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
      d.view
        .containers()
        .map(({ id, best, wanted, gone, highestEpoch, phase, claims: all }) => [
          id,
          best,
          wanted?.kind,
          wanted?.version,
          gone,
          highestEpoch,
          phase?.phase,
          all.map(({ holder }) => holder),
        ]),
      d.view.members().map(({ peer, name }) => [peer, name]),
      d.view
        .keys()
        .map(({ keyId: id, state }) => [id, state])
        .sort(),
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

import t from "tap";
import type { ContainerId, KeyId, PeerId } from "../../../src/base/index.ts";
import { type AwardState, afterSilence, UNKNOWN_AFTER_MS } from "../../../src/placement/after-award.ts";
import type { Answer } from "../../../src/placement/answers.ts";
import { nextStep, SILENCE_MS, startRound, WINDOW_MS, withAnswer, withAsked, withoutAnswer, withRival } from "../../../src/placement/awaited.ts";
import { type BiddingHost, priceBid } from "../../../src/placement/bid.ts";
import { BoundedMemory } from "../../../src/placement/bounded-memory.ts";
import { CapacityLedger } from "../../../src/placement/capacity.ts";
import { chooseAward } from "../../../src/placement/choose-award.ts";
import { containerIdOf } from "../../../src/placement/index.ts";
import { NAME_HOLD_MS, NameHolds } from "../../../src/placement/name-holds.ts";
import type { Requirements } from "../../../src/placement/requirements.ts";
import { TokenMemory } from "../../../src/placement/token-memory.ts";
import { KEY, keysOf, MIB } from "./fake-requests.ts";
import { seeded } from "./virtual-time.ts";

const peers = ["p", "q", "r"].map((seed) => keysOf(seed).peer).sort();
const [a, b, c] = peers as [PeerId, PeerId, PeerId];
const idOf = (token: string): ContainerId => containerIdOf(KEY, token);
const bid = (price: number): Answer => ({ kind: "bid", price, terms: {}, validForMs: 2_000 });
const refused: Answer = { kind: "refused", code: "NO_ROOM", reason: "full" };
const round = (options: { named?: boolean; rivals?: PeerId[]; askedBefore?: PeerId[]; self?: PeerId } = {}) =>
  startRound(
    {
      self: options.self ?? b,
      named: options.named ?? false,
      hosts: [c, a, b].map((peer) => ({ peer, name: "", zone: "a", eligible: true })),
      rivals: options.rivals ?? [],
      askedBefore: options.askedBefore ?? [],
    },
    1_000,
  );

t.test("awaited: the window closes when all have answered, else after 50 ms", async (t) => {
  let now = withAnswer(withAnswer(round(), a, bid(3), 1_001), b, bid(2), 1_002);
  t.strictSame(nextStep(now, 1_010, false), { do: "wait", untilMs: 1_000 + WINDOW_MS });
  t.match(nextStep(now, 1_050, false), { do: "award", bids: [{ host: a }, { host: b }] });
  now = withAnswer(now, c, refused, 1_005);
  t.match(nextStep(now, 1_005, false), { do: "award" });
});

t.test("awaited: without a bid the silent are asked directly, silence ends after a second, then it is refused", async (t) => {
  let now = withAnswer(round(), a, refused, 1_001);
  t.strictSame(nextStep(now, 1_050, false), { do: "ask", peers: [b, c].sort() });
  now = withAsked(now, [b, c], 1_050);
  t.strictSame(nextStep(now, 1_051, false), { do: "wait", untilMs: 1_050 + WINDOW_MS });
  t.strictSame(nextStep(now, 1_100, false), { do: "wait", untilMs: 1_050 + SILENCE_MS });
  t.match(nextStep(withAnswer(now, c, bid(9), 1_300), 1_300, false), { do: "award", bids: [{ host: c }] });
  t.strictSame(nextStep(now, 2_050, false), { do: "refuse", code: "NO_ROOM" });
});

t.test("awaited: all refusing for one reason keeps that reason's code", async (t) => {
  let now = round();
  for (const peer of peers) now = withAnswer(now, peer, { kind: "refused", code: "KEY_REVOKED", reason: "revoked" }, 1_001);
  t.strictSame(nextStep(now, 1_002, false), { do: "refuse", code: "KEY_REVOKED" });
});

t.test("awaited: a bid near its end is not awarded, its host is asked again", async (t) => {
  let now = round();
  for (const peer of peers) now = withAnswer(now, peer, peer === a ? bid(1) : refused, 1_001);
  t.match(nextStep(now, 2_400, false), { do: "award" });
  t.strictSame(nextStep(now, 2_600, false), { do: "ask", peers: [a] });
  t.strictSame(nextStep(withoutAnswer(withAsked(now, [a], 1_100), a), 1_200, false), { do: "ask", peers: [a] });
});

t.test("awaited: 'have it' and 'name taken' end the round, whoever is missing", async (t) => {
  const holding = { holder: c, epoch: 3 };
  t.strictSame(nextStep(withAnswer(round(), a, { kind: "have-it", holding }, 1_001), 1_002, false), { do: "found", holding });
  t.strictSame(nextStep(withAnswer(round(), c, { kind: "name-taken", otherId: idOf("x") }, 1_001), 1_002, false), {
    do: "refuse",
    code: "NAME_TAKEN",
    otherId: idOf("x"),
  });
});

t.test("awaited: 'name held' counts only from the lowest peer that answered", async (t) => {
  const held: Answer = { kind: "name-held", otherId: idOf("x") };
  const all = (first: Answer, second: Answer) =>
    withAnswer(withAnswer(withAnswer(round({ named: true }), a, first, 1_001), b, second, 1_001), c, bid(1), 1_001);
  t.strictSame(nextStep(all(held, bid(1)), 1_002, false), { do: "refuse", code: "NAME_HELD", otherId: idOf("x") });
  t.match(nextStep(all(bid(1), held), 1_002, false), { do: "award" });
  const silentLowest = withAnswer(withAnswer(round({ named: true }), b, held, 1_001), c, bid(1), 1_001);
  t.strictSame(nextStep(silentLowest, 1_050, false), { do: "ask", peers: [a] }, "the lowest is asked directly before the next one's word counts");
  const asked = withAsked(silentLowest, [a], 1_050);
  t.strictSame(nextStep(asked, 1_200, false), { do: "wait", untilMs: 1_050 + SILENCE_MS });
  t.match(nextStep(withAnswer(asked, a, bid(5), 1_200), 1_200, false), { do: "award" });
  t.match(nextStep(asked, 2_050, false), { do: "refuse", code: "NAME_HELD" });
});

t.test("awaited: of two requesters the lower goes on, unless an award is out", async (t) => {
  t.strictSame(nextStep(withRival(round(), a), 1_001, false), { do: "wait-for", peer: a });
  t.match(nextStep(withRival(round(), a), 1_001, true), { do: "wait" });
  t.match(nextStep(withRival(round(), c), 1_001, false), { do: "wait" });
  const atWork = withAnswer(round(), c, { kind: "at-work" }, 1_001);
  t.match(nextStep(atWork, 1_002, false), { do: "wait" }, "unproven, nobody waits for it");
  t.strictSame(nextStep(withRival(atWork, c), 1_002, false), { do: "wait-for", peer: c });
  t.strictSame(nextStep(withAnswer(round({ askedBefore: [c] }), c, { kind: "at-work" }, 1_001), 1_002, false), { do: "wait-for", peer: c });
});

t.test("awaited: answers of hosts that were not asked are not kept", async (t) => {
  const stranger = keysOf("stranger").peer;
  t.equal(withAnswer(round(), stranger, bid(0), 1_001).answers.size, 0);
});

t.test("after an award: next only when lapsed and unreachable; through others; unknown after 4 s", async (t) => {
  const state: AwardState = { sinceMs: 0, bidAtMs: 0, bidValidMs: 2_000, standing: "alive", through: [], triedAtMs: 0, triedDirectly: true };
  const step = (change: Partial<AwardState>, nowMs: number) => afterSilence({ ...state, ...change }, nowMs);
  t.strictSame(step({}, 100), { do: "wait", untilMs: 250 });
  t.strictSame(step({}, 250), { do: "again" });
  t.strictSame(step({ through: [c] }, 100), { do: "again", through: c });
  t.match(step({ through: [c], triedDirectly: false }, 100), { do: "wait" }, "then directly again");
  t.match(step({ standing: "unreachable" }, 1_999), { do: "wait" }, "it could still take it");
  t.strictSame(step({ standing: "unreachable" }, 2_000), { do: "next" });
  t.match(step({}, 3_999), { do: "again" }, "reachable: lapsed alone frees nothing");
  t.strictSame(step({}, UNKNOWN_AFTER_MS), { do: "unknown" });
  t.strictSame(step({ standing: "unreachable" }, UNKNOWN_AFTER_MS), { do: "next" });
});

t.test("the room is checked and taken in one step, and is free again only when the container is gone", async (t) => {
  const ledger = new CapacityLedger({ memoryBytes: 100, diskBytes: 100, cpuShares: 1024, containersMax: 3 });
  const needs = { memoryBytes: 40, diskBytes: 10, cpuShares: 1024 };
  t.ok(ledger.take(idOf("1"), needs).ok);
  t.ok(ledger.take(idOf("1"), needs).ok, "the same again");
  t.ok(ledger.take(idOf("2"), needs).ok, "CPU shares are weights: their sum may exceed the host");
  t.match(ledger.take(idOf("3"), needs), { ok: false, code: "NO_ROOM", message: /40 B of memory asked, 20 B free of 100 B/ });
  t.match(ledger.take(idOf("3"), { ...needs, memoryBytes: 1, diskBytes: 90 }), { ok: false, message: /of disk asked/ });
  t.match(ledger.take(idOf("3"), { memoryBytes: 1, diskBytes: 1, cpuShares: 1025 }), { ok: false, message: /1025 CPU shares asked, it has 1024/ });
  t.ok(ledger.take(idOf("3"), { memoryBytes: 1, diskBytes: 1, cpuShares: 1 }).ok);
  t.match(ledger.take(idOf("4"), { memoryBytes: 1, diskBytes: 1, cpuShares: 1 }), { ok: false, message: /all its 3 places/ });
  ledger.count(idOf("1"), { ...needs, memoryBytes: 50 });
  t.strictSame(ledger.used, { memoryBytes: 91, diskBytes: 21, cpuShares: 2049, containers: 3 });
  for (const token of ["1", "2", "3", "3"]) ledger.drop(idOf(token));
  t.strictSame(ledger.used, { memoryBytes: 0, diskBytes: 0, cpuShares: 0, containers: 0 });
});

t.test("a price is the sum of its named terms; what cannot be is refused with its reason", async (t) => {
  const host: BiddingHost = {
    peer: a,
    name: "k1",
    zone: "a",
    labels: { disk: "ssd", arch: "arm" },
    draining: false,
    declared: { memoryBytes: 1000 * MIB, diskBytes: 1000 * MIB, cpuShares: 2048, containersMax: 10 },
    used: { memoryBytes: 100 * MIB, diskBytes: 0, cpuShares: 0, containers: 1 },
    hasImage: false,
    loadPerCore: 9,
    volumes: { bytes: 0, foreign: 0 },
    isAddressForeign: false,
    requesterZone: "b",
  };
  const asked: Requirements = {
    name: "",
    image: "alpine",
    memoryBytes: 100 * MIB,
    diskBytes: 100 * MIB,
    cpuShares: 1024,
    labels: { disk: "ssd", arch: "amd", other: "x" },
    volumes: [],
    vpc: undefined,
    publish: [],
    publishEverywhere: false,
    host: "",
    zone: "",
  };
  t.strictSame(priceBid(asked, host), {
    ok: true,
    value: { price: 180, terms: { memory: 20, disk: 5, cpu: 50, image: 60, labels: 0, zone: 5, load: 40, volumes: 0, addresses: 0 } },
  });
  t.match(priceBid({ ...asked, host: "k2" }, host), { ok: false, message: /host k2 only/ });
  t.match(priceBid({ ...asked, zone: "b" }, host), { ok: false, message: /zone b/ });
  t.match(priceBid(asked, { ...host, draining: true }), { ok: false, message: /drained/ });
  t.match(priceBid({ ...asked, memoryBytes: 901 * MIB }, host), { ok: false, code: "NO_ROOM" });
});

t.test("the cheapest bid wins; equal ones by chance, whatever their order", async (t) => {
  const bids = [a, b, c].map((host) => ({ host, price: host === c ? 2 : 1 }));
  const winners = new Set<PeerId | undefined>();
  for (let seed = 1; seed < 40; seed += 1) {
    const winner = chooseAward(bids, seeded(seed))?.host;
    t.equal(chooseAward([...bids].reverse(), seeded(seed))?.host, winner);
    winners.add(winner);
  }
  t.strictSame([...winners].sort(), [a, b].sort());
  t.equal(chooseAward([], seeded(1)), undefined);
});

t.test("one key and token is one id; the token stands for one spec", async (t) => {
  t.match(idOf("t"), /^c[a-z2-7]{20}$/);
  t.equal(idOf("t"), containerIdOf(KEY, "t"));
  t.not(idOf("t"), idOf("u"));
  t.not(idOf("t"), containerIdOf(`k${"b".repeat(20)}` as KeyId, "t"));
  const memory = new TokenMemory();
  t.ok(memory.use(idOf("t"), "spec", 0).ok);
  t.ok(memory.use(idOf("t"), "spec", 1).ok);
  t.match(memory.use(idOf("t"), "other", 2), { ok: false, code: "TOKEN_REUSED" });
});

t.test("a name is held for whoever came first, ten seconds long", async (t) => {
  const names = new NameHolds();
  t.equal(names.hold("web", idOf("1"), a, 0), undefined);
  t.equal(names.hold("web", idOf("2"), b, 1), idOf("1"));
  t.equal(names.hold("web", idOf("1"), a, 5_000), undefined, "the same again prolongs");
  t.equal(names.hold("web", idOf("2"), b, 14_999), idOf("1"));
  t.equal(names.hold("web", idOf("2"), b, 5_000 + NAME_HOLD_MS), undefined);
  t.equal(names.hold("web", idOf("3"), b, 15_001), undefined, "the same requester's newer create");
  names.release("web", idOf("2"), 15_002);
  t.equal(names.hold("web", idOf("4"), c, 15_003), idOf("3"), "another's release changes nothing");
  names.release("web", idOf("3"), 15_004);
  t.equal(names.hold("web", idOf("4"), c, 15_005), undefined);
});

t.test("memories forget by number and by time", async (t) => {
  const memory = new BoundedMemory<number, number>({ entriesMax: 3, keepMs: 100 });
  for (let at = 0; at < 1_000; at += 1) memory.set(at, at, at / 1_000);
  t.equal(memory.size, 3);
  t.equal(memory.get(996, 1), undefined);
  t.equal(memory.get(999, 1), 999);
  t.equal(memory.get(999, 101), undefined);
  memory.set(5, 5, 200);
  t.equal(memory.size, 1);
});

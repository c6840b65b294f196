import t from "tap";
import type { PeerId } from "../../../src/base/index.ts";
import { DOWN_MISSES, type Evidence, goodNeeded, NO_EVIDENCE, probeAnswered, probeMissed, restarted } from "../../../src/mesh/evidence.ts";
import { didStall } from "../../../src/mesh/stall.ts";
import { judge, type Knowledge, type Life, laterLife, observersOf, type Report, refutation } from "../../../src/mesh/verdict.ts";
import { peerId } from "./small-world.ts";

const [a, b, c, d, e] = [peerId(0), peerId(1), peerId(2), peerId(3), peerId(4)];
const alive: Evidence = probeAnswered(NO_EVIDENCE, 0);
const down: Evidence = { ...alive, down: true, missed: 5 };
const life: Life = { startNumber: 3, incarnation: 1 };
const accuses = (...peers: PeerId[]): Report => ({ withholds: false, accused: new Map(peers.map((peer) => [peer, life])), atMs: 0 });
const silent: Report = { withholds: true, accused: new Map(), atMs: 0 };

const known = (evidence: [PeerId, Evidence][], reports: [PeerId, Report][], more: Partial<Knowledge> = {}): Knowledge => ({
  self: a,
  withholds: false,
  members: evidence.map(([peer]) => peer),
  evidence: new Map(evidence),
  reports: new Map(reports),
  lives: new Map(evidence.map(([peer]) => [peer, life])),
  reportAgeMaxMs: 5_000,
  ...more,
});

t.test("everyone else observes a host, oneself too", async (t) => {
  t.same(observersOf(c, a, [b, c]), [a, b]);
  t.same(observersOf(c, a, [a, b, c]), [a, b]);
});

t.test("more than half, own word included", async (t) => {
  const mine: [PeerId, Evidence][] = [
    [b, alive],
    [c, alive],
    [d, alive],
    [e, down],
  ];
  const standing = (reports: [PeerId, Report][], evidence = mine) => judge(e, "alive", known(evidence, reports), 100).standing;
  t.equal(
    standing([
      [b, accuses()],
      [c, accuses()],
      [d, accuses()],
    ]),
    "suspect",
  );
  t.equal(
    standing([
      [b, accuses(e)],
      [c, accuses()],
      [d, accuses()],
    ]),
    "suspect",
    "half is not more than half",
  );
  t.equal(
    standing([
      [b, accuses(e)],
      [c, accuses(e)],
      [d, accuses()],
    ]),
    "unreachable",
  );
  const fine: [PeerId, Evidence][] = [
    [b, alive],
    [c, alive],
    [d, alive],
    [e, alive],
  ];
  t.equal(
    standing(
      [
        [b, accuses(e)],
        [c, accuses(e)],
        [d, accuses(e)],
      ],
      fine,
    ),
    "unreachable",
    "against one's own eyes",
  );
  t.equal(
    standing(
      [
        [b, accuses(e)],
        [c, accuses()],
        [d, accuses()],
      ],
      fine,
    ),
    "suspect",
  );
});

t.test("words of observers that are unreachable themselves, silent too long, or withheld do not count", async (t) => {
  const evidence: [PeerId, Evidence][] = [
    [b, alive],
    [c, down],
    [d, alive],
    [e, down],
  ];
  const reports: [PeerId, Report][] = [
    [b, silent],
    [c, accuses()],
    [d, { ...accuses(), atMs: -10_000 }],
  ];
  t.same(judge(e, "alive", known(evidence, reports), 100), { standing: "unreachable", seenBy: [] });
  t.same(
    judge(
      e,
      "alive",
      known(evidence, [
        [b, accuses()],
        [c, accuses()],
      ]),
      100,
    ),
    { standing: "suspect", seenBy: [b] },
  );
});

t.test("a word about an earlier life is void, one about this life or a later one is not", async (t) => {
  const about = (its: Life): string => {
    const report: Report = { withholds: false, accused: new Map([[c, its]]), atMs: 0 };
    return judge(
      c,
      "alive",
      known(
        [
          [b, alive],
          [c, alive],
          [d, alive],
        ],
        [
          [b, report],
          [d, report],
        ],
      ),
      100,
    ).standing;
  };
  t.equal(about({ startNumber: 2, incarnation: 9 }), "alive");
  t.equal(about({ startNumber: 3, incarnation: 0 }), "alive");
  t.equal(about(life), "unreachable");
  t.equal(about({ startNumber: 4, incarnation: 0 }), "unreachable");
  t.same(laterLife(life, { startNumber: 3, incarnation: 2 }), { startNumber: 3, incarnation: 2 });
  t.same(laterLife(life, { startNumber: 2, incarnation: 7 }), life);
});

t.test("who withholds keeps what it held, and learns from others only a suspicion", async (t) => {
  const alone = known([[b, down]], [], { withholds: true });
  t.equal(judge(b, "alive", alone, 100).standing, "alive");
  t.equal(judge(b, "unreachable", alone, 100).standing, "unreachable");
  const told = known(
    [
      [b, alive],
      [c, down],
    ],
    [[b, accuses(c)]],
    { withholds: true },
  );
  t.equal(judge(c, "alive", told, 100).standing, "suspect");
  t.equal(judge(c, "unreachable", told, 100).standing, "unreachable");
});

t.test("nobody has seen it yet: neither alive nor missing", async (t) => {
  t.same(judge(b, "suspect", known([[b, NO_EVIDENCE]], []), 100), { standing: "suspect", seenBy: [] });
});

t.test("the accused answers words about this life only", async (t) => {
  t.equal(refutation(life, undefined), undefined);
  t.equal(refutation(life, { startNumber: 3, incarnation: 0 }), undefined);
  t.equal(refutation(life, life), 2);
  t.equal(refutation(life, { startNumber: 3, incarnation: 7 }), 8);
  t.equal(refutation(life, { startNumber: 9, incarnation: 0 }), undefined);
  t.ok(Number.isSafeInteger(refutation(life, { startNumber: 3, incarnation: Number.MAX_SAFE_INTEGER })));
});

t.test("three misses, and two seconds since the first, make a word, not one without the other", async (t) => {
  let quick = alive;
  for (let n = 0; n < 10; n += 1) quick = probeMissed(quick, n * 100, false);
  t.equal(quick.down, false, "ten misses in a second");
  t.equal(probeMissed(probeMissed(alive, 9_000, false), 9_100, false).down, false, "two misses");
  let lost = alive;
  for (let n = 1; n <= DOWN_MISSES; n += 1) lost = probeMissed(lost, n * 1_400, false);
  t.equal(lost.down, true);
  let own = alive;
  for (let n = 1; n <= 10; n += 1) own = probeMissed(own, n * 1_000, true);
  t.equal(own.down, false, "misses of a host that stalled are its own");
});

t.test("a new life wipes the word, and only a run of good probes the old one", async (t) => {
  let flapping = alive;
  for (let nowMs = 0; nowMs < 40_000; nowMs += 10_000) {
    flapping = { ...flapping, missed: DOWN_MISSES, down: false, missingSinceMs: nowMs - 5_000 };
    flapping = probeMissed(flapping, nowMs, false);
  }
  t.equal(goodNeeded(flapping, 40_000), 8);
  const once = probeAnswered(flapping, 40_000);
  t.equal(once.down, true);
  let often = once;
  for (let n = 0; n < 7; n += 1) often = probeAnswered(often, 40_000);
  t.equal(often.down, false);
  t.equal(restarted(flapping).down, false);
  t.equal(goodNeeded(flapping, 140_000), 1, "forgotten after a minute");
});

t.test("a late timer or a jump of the wall clock is a stall", async (t) => {
  const before = { wallMs: 1_000_000, monotonicMs: 500 };
  t.equal(didStall(before, { wallMs: 1_000_210, monotonicMs: 710 }, 700), false);
  t.equal(didStall(before, { wallMs: 1_001_300, monotonicMs: 1_800 }, 700), true);
  t.equal(didStall(before, { wallMs: 1_600_200, monotonicMs: 700 }, 700), true, "suspended: monotonic time stood still");
  t.equal(didStall(before, { wallMs: 400_000, monotonicMs: 700 }, 700), false, "a clock set back is no sleep");
});

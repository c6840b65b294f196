import fc from "fast-check";
import t from "tap";
import type { RecordKey } from "../../../src/base/index.ts";
import { compareVersions, entryIdOf, merge, type StoredRecord } from "../../../src/state/index.ts";
import { RecordBook } from "../../../src/state/record-book.ts";
import { HybridClock, isAhead } from "../../../src/state/version.ts";
import { fact, peerId, request, stampedBy, wish } from "./fixtures.ts";

const versions = [
  fact("peer 1", "phase", "c1", 1, 1, "a"),
  fact("peer 1", "phase", "c1", 1, 1, "b"),
  fact("peer 1", "phase", "c1", 1, 2, "c"),
  fact("peer 1", "phase", "c1", 2, 0, "d"),
  fact("peer 1", "phase", "c1", 1, 1, "gone", true),
  fact("peer 1", "phase", "c1", 1, 2, "gone again", true),
];
const any = fc.constantFrom(...versions);

t.test("merging is commutative, associative and idempotent", async () => {
  fc.assert(fc.property(any, any, (a, b) => merge(a, b) === merge(b, a) || merge(a, b).hash === merge(b, a).hash));
  fc.assert(fc.property(any, any, any, (a, b, c) => merge(merge(a, b), c) === merge(a, merge(b, c))));
  fc.assert(fc.property(any, (a) => merge(a, a) === a));
});

t.test("final first, then the version, then the hash", async (t) => {
  const [low, same, next, later, gone, goneLater] = versions as [StoredRecord, StoredRecord, StoredRecord, StoredRecord, StoredRecord, StoredRecord];
  t.equal(merge(gone, later), gone, "nothing revives what is final");
  t.equal(merge(gone, goneLater), goneLater);
  t.equal(merge(low, next), next);
  t.equal(merge(next, later), later, "the start number goes before the sequence");
  t.equal(merge(low, same), Buffer.compare(low.hash, same.hash) > 0 ? low : same);
});

t.test("a book is the same in whatever order its records came, twice or once", async () => {
  const pool = [
    ...versions,
    ...["x", "y", "z"].flatMap((id) => [wish("peer 1", id, 100), wish("peer 1", id, 200), wish("peer 2", id, 150)]),
    fact("peer 2", "phase", "c1", 9, 9),
  ];
  fc.assert(
    fc.property(fc.shuffledSubarray(pool), fc.infiniteStream(fc.nat()), (records, chance) => {
      const one = new RecordBook();
      const two = new RecordBook();
      for (const record of records) one.accept(record, 1_000);
      for (const record of [...records, ...records.slice(0, 3)].sort(() => ((chance.next().value ?? 0) % 3) - 1)) two.accept(record, 1_000);
      return Buffer.compare(one.index.digest(), two.index.digest()) === 0 && one.list("").map(entryIdOf).join() === two.list("").map(entryIdOf).join();
    }),
    { numRuns: 200 },
  );
});

t.test("what another host stamped under a key lies beside, not over it", async (t) => {
  const book = new RecordBook();
  const genuine = wish("peer 1", "x", 100);
  const rubbish = wish("eve", "x", 59_000);
  book.accept(genuine, 1_000);
  book.accept(rubbish, 1_000);
  t.same(book.list(genuine.key).length, 2);
  t.ok(book.list(genuine.key).includes(genuine));
  t.equal(book.get(genuine.key), rubbish, "which of them counts is a view's decision");
});

t.test("limits: of a host above its limit the lowest entries count, in any order", async (t) => {
  const limits = { host: { records: 3, bytes: 100_000 }, stamps: { records: 2, bytes: 100_000 } };
  const records = ["a", "b", "c", "d", "e"].map((id) => fact("peer 1", "phase", id, 1, 1));
  const stamps = ["a", "b", "c"].map((id) => wish("peer 1", id, 1));
  fc.assert(
    fc.property(fc.shuffledSubarray([...records, ...stamps], { minLength: 8 }), (all) => {
      const book = new RecordBook(limits);
      for (const record of all) book.accept(record, 1_000);
      return (
        book
          .list("host/")
          .map(({ key }) => key.at(-1))
          .join("") === "abc" &&
        book.list("user/").length === 2 &&
        book.list("user/").every(({ key }) => !key.endsWith("c"))
      );
    }),
    { numRuns: 50 },
  );
  const book = new RecordBook(limits);
  for (const record of records.slice(1, 4)) book.accept(record, 0);
  const [first, , , , last] = records as [StoredRecord, StoredRecord, StoredRecord, StoredRecord, StoredRecord];
  t.match(book.accept(last, 0), { stored: false, visible: false });
  t.same(book.accept(first, 0).dropped, [entryIdOf(records[3] as StoredRecord)]);
  t.ok(book.wouldExceed(first.writer, "host", 1, 10));
  t.notOk(book.wouldExceed(first.writer, "stamps", 1, 10));
});

t.test("future-clock: a stamp over 60 s ahead is held, and read when its time has come", async (t) => {
  const book = new RecordBook();
  const now = 1_800_000_000_000;
  const before = wish("peer 1", "x", now - 5);
  const ahead = wish("peer 1", "x", now + 86_400_000);
  const between = wish("peer 1", "x", now + 10);
  book.accept(before, now);
  t.match(book.accept(ahead, now), { stored: true, visible: false });
  t.equal(book.get(before.key), before);
  t.equal(book.index.get(entryIdOf(ahead)), ahead, "kept and passed on");
  t.match(book.accept(between, now), { stored: false, visible: true }, "what comes in its place meanwhile is read");
  t.equal(book.get(before.key), between);
  t.same(book.releaseDue(now + 1_000), []);
  t.same(book.releaseDue(now + 86_400_000 - 60_000), [ahead]);
  t.equal(book.get(before.key), ahead);
  t.match(book.accept(fact("peer 1", "phase", "c", 2 ** 53 - 1, 1), now), { stored: true, visible: true }, "start numbers are no times");
});

t.test("future-clock: a user's removal counts at once, or what is torn down would be back when the clock is right", async (t) => {
  const book = new RecordBook();
  const now = 1_800_000_000_000;
  const before = wish("peer 1", "x", now - 5);
  const removal = stampedBy("peer 1", before.key, request("Remove", { token: "t" }, { peer: peerId("peer 1") }), now + 120_000, 0, true);
  book.accept(before, now);
  t.match(book.accept(removal, now), { stored: true, visible: true });
  t.equal(book.get(before.key), removal);
  t.equal(book.aheadCount, 0);
  const again = new RecordBook();
  again.accept(wish("peer 1", "x", now + 86_400_000), now);
  t.match(again.accept(removal, now), { stored: true, visible: true }, "nor does one above a wish that waits");
  t.equal(again.get(before.key), removal);
  const revocation = stampedBy(
    "peer 1",
    "admin/-/revocation/k" as RecordKey,
    request("RevokeKey", { token: "t" }, { peer: peerId("peer 1") }),
    now + 120_000,
    0,
    true,
  );
  t.match(book.accept(revocation, now), { stored: true, visible: false }, "an admin's final word is about what was stamped before it, so its time counts");
});

t.test("the hybrid clock never goes back, follows what it saw, and no clock that is far ahead", async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ now: fc.integer({ min: 200_000, max: 230_000 }), seen: fc.option(fc.integer({ min: 150_000, max: 400_000 })) }), { maxLength: 30 }),
      (steps) => {
        const clock = new HybridClock();
        let last = { major: -1, minor: 0 };
        let highest = { major: -1, minor: 0 };
        for (const { now, seen } of steps) {
          if (seen !== null) clock.observe({ major: seen, minor: 3 }, now);
          if (seen !== null && !isAhead({ major: seen, minor: 3 }, now) && compareVersions({ major: seen, minor: 3 }, highest) > 0)
            highest = { major: seen, minor: 3 };
          const next = clock.next(now);
          if (compareVersions(next, last) <= 0 || compareVersions(next, highest) <= 0) return false;
          last = next;
        }
        return true;
      },
    ),
  );
  const clock = new HybridClock();
  clock.observe({ major: 86_400_000, minor: 0 }, 1_000);
  t.same(clock.next(1_000), { major: 1_000, minor: 0 });
  t.same(clock.next(86_400_000), { major: 86_400_000, minor: 0 });
  t.same(clock.next(2_000), { major: 2_000, minor: 0 }, "a clock that was a day ahead is put right");
});

import fc from "fast-check";
import t from "tap";
import type { StoredRecord } from "../../../src/state/index.ts";
import {
  answerReconciliation,
  checkReconciliation,
  isEmptyReconciliation,
  LIST_BELOW,
  MESSAGE_BYTES_MAX,
  openReconciliation,
  type Reconciliation,
} from "../../../src/state/reconcile.ts";
import { frameBytes, readFrame } from "../../../src/state/record.ts";
import { RecordBook } from "../../../src/state/record-book.ts";
import { fact } from "./fixtures.ts";

const POOL = Array.from({ length: 900 }, (_, at) => fact("peer 1", at % 3 === 0 ? "claim" : "phase", `c${at}`, 1, at));
const NEWER = POOL.slice(0, 200).map((record, at) => fact("peer 1", at % 3 === 0 ? "claim" : "phase", `c${at}`, 2, at, `newer ${record.version.minor}`));

const bookOf = (records: readonly StoredRecord[]): RecordBook => {
  const book = new RecordBook();
  for (const record of records) book.accept(record, 0);
  return book;
};

const takeInto = (book: RecordBook, message: Reconciliation): number => {
  let taken = 0;
  for (const frame of message.frames) {
    const read = readFrame(frame);
    if (read.ok && book.accept(read.record, 0).stored) taken += 1;
  }
  return taken;
};

const sizeOf = (message: Reconciliation): number => message.frames.reduce((sum, frame) => sum + frameBytes(frame), 0);

/** One session, as the service leads it; gives the number of messages each way, and the largest one's frames in bytes. */
function converse(a: RecordBook, b: RecordBook): { rounds: number; largest: number; frames: number } {
  let message = openReconciliation(a.index);
  let largest = 0;
  let frames = 0;
  for (let rounds = 1; rounds < 200; rounds += 1) {
    if (!checkReconciliation(message).ok) throw new Error("an honest message is refused");
    takeInto(b, message);
    const reply = answerReconciliation(b.index, message);
    if (!checkReconciliation(reply).ok) throw new Error("an honest reply is refused");
    takeInto(a, reply);
    message = answerReconciliation(a.index, reply);
    largest = Math.max(largest, sizeOf(message), sizeOf(reply));
    frames += message.frames.length + reply.frames.length;
    if (isEmptyReconciliation(message)) return { rounds, largest, frames };
  }
  throw new Error("a session without an end");
}

const equal = (a: RecordBook, b: RecordBook): boolean => Buffer.compare(a.index.digest(), b.index.digest()) === 0;

t.test("equal sets: one message, an empty answer", async (t) => {
  t.same(converse(bookOf(POOL), bookOf(POOL)), { rounds: 1, largest: 0, frames: 0 });
  t.same(converse(bookOf([]), bookOf([])), { rounds: 1, largest: 0, frames: 0 });
});

t.test("any two sets become their union in a few rounds", async () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(899), { maxLength: 300 }),
      fc.array(fc.nat(899), { maxLength: 300 }),
      fc.array(fc.nat(199), { maxLength: 20 }),
      fc.boolean(),
      (left, right, newer, common) => {
        const pick = (from: readonly StoredRecord[], at: readonly number[]): StoredRecord[] =>
          at.map((index) => from[index]).filter((record) => record !== undefined);
        const shared = common ? POOL.slice(100, 700) : [];
        const [mine, theirs] = [
          [...shared, ...pick(POOL, left)],
          [...shared, ...pick(POOL, right), ...pick(NEWER, newer)],
        ];
        const [a, b, union] = [bookOf(mine), bookOf(theirs), bookOf([...mine, ...theirs])];
        const { rounds } = converse(a, b);
        return equal(a, union) && equal(b, union) && rounds <= 6;
      },
    ),
    { numRuns: 150 },
  );
});

t.test("one record more among 900: found in a handful of messages, and only it travels", async (t) => {
  for (const missing of [0, 450, 899]) {
    const all = POOL.toSorted((a, b) => (a.key < b.key ? -1 : 1));
    const { rounds, frames } = converse(bookOf(all.filter((_, at) => at !== missing)), bookOf(all));
    t.ok(rounds <= 3, `${rounds} rounds`);
    t.equal(frames, 1);
  }
});

t.test("a refill into nothing is cut into bounded messages, from either side", async (t) => {
  const large = Array.from({ length: 60 }, (_, at) => fact("peer 1", "facts", `f${at}`, 1, at, "x".repeat(30_000)));
  for (const swap of [false, true]) {
    const [empty, full] = [bookOf([]), bookOf(large)];
    const { rounds, largest } = swap ? converse(full, empty) : converse(empty, full);
    t.ok(equal(empty, full));
    t.ok(largest <= MESSAGE_BYTES_MAX, `${largest} bytes`);
    t.ok(rounds >= 2 && rounds < 20, `${rounds} rounds`);
  }
});

t.test("what is not taken on the other side does not make a session endless", async (t) => {
  const deaf = bookOf([]);
  const full = bookOf(POOL);
  let message = openReconciliation(deaf.index);
  let rounds = 0;
  while (!isEmptyReconciliation(message) && rounds < 50) {
    message = answerReconciliation(deaf.index, answerReconciliation(full.index, message));
    rounds += 1;
  }
  t.ok(rounds < 10);
});

t.test("messages that would cost more than an honest one are refused", async (t) => {
  const range = (from: string, to: string) => ({ from, to, count: 1, digest: new Uint8Array(32), listed: false, items: [] });
  const message = (...ranges: ReturnType<typeof range>[]): Reconciliation => ({ ranges, frames: [], wanted: [] });
  t.ok(checkReconciliation(message(range("", "b"), range("b", "d"), range("e", ""))).ok);
  t.notOk(checkReconciliation(message(range("", ""), range("", ""))).ok, "everything twice");
  t.notOk(checkReconciliation(message(range("b", "a"))).ok, "an end before its beginning");
  t.notOk(checkReconciliation(message(range("a", "c"), range("b", "d"))).ok, "ranges that overlap");
  t.notOk(
    checkReconciliation(message(...Array.from({ length: 1_025 }, (_, at) => range(String(at).padStart(5, "0"), String(at + 1).padStart(5, "0"))))).ok,
    "too many ranges",
  );
  t.notOk(checkReconciliation({ ranges: [], frames: [], wanted: Array.from({ length: 3_000 }, String) }).ok, "too many wanted");
});

t.test("fuzz: any message gets a bounded answer", async () => {
  const book = bookOf(POOL.slice(0, 300));
  const key = fc.oneof(fc.string({ maxLength: 10 }), fc.constantFrom(...book.list("").map(({ key }) => key)));
  const range = fc.record({
    from: key,
    to: key,
    count: fc.nat(),
    digest: fc.uint8Array({ maxLength: 40 }),
    listed: fc.boolean(),
    items: fc.array(fc.record({ key, hash: fc.uint8Array({ maxLength: 40 }) }), { maxLength: LIST_BELOW }),
  });
  fc.assert(
    fc.property(fc.array(range, { maxLength: 40 }), fc.array(key, { maxLength: 40 }), (ranges, wanted) => {
      const message = { ranges, wanted, frames: [] };
      if (!checkReconciliation(message).ok) return true;
      const answer = answerReconciliation(book.index, message);
      return checkReconciliation(answer).ok && sizeOf(answer) <= MESSAGE_BYTES_MAX + 262_144;
    }),
    { numRuns: 300 },
  );
});

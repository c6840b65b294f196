import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../base/index.ts";
import type { Verifier } from "../identity/index.ts";
import { compareBytes, compareRanked } from "./merge.ts";
import type { AdmissionCheck } from "./ports.ts";
import { type DropReason, isSigned, readFrame } from "./record.ts";
import { RecordBook } from "./record-book.ts";
import { type EntryId, entryIdOf, isHostKey } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";
import { StampBook } from "./stamps.ts";
import { WaitingRoom } from "./waiting-room.ts";
import type { LimitTable } from "./writer-limits.ts";

/** What a batch of frames did to this host's records; what is to be fsynced stands in `stored` and `dropped`. */
export type Intaken = {
  readonly stored: readonly StoredRecord[];
  /** What readers see changed. */
  readonly visible: readonly StoredRecord[];
  readonly removed: readonly EntryId[];
  /** Frames that failed the rules or had no room. */
  readonly dropped: number;
  /** Own host records that came from outside and are newer than what this host remembers, each with what it remembered. */
  readonly own: readonly { readonly met: StoredRecord; readonly before: StoredRecord | undefined }[];
  /** Frames that are in the index, or older than what is there: the sender need not keep them for us. */
  readonly held: number;
  readonly restamped: boolean;
};

export type Drops = Readonly<Record<string, number>>;

type Batch = { -readonly [K in "stored" | "visible" | "removed" | "own"]: Intaken[K][number][] } & { dropped: number; held: number; restamped: boolean };

/** The edge: frames in, records of admitted writers into the book, those of unknown ones into the waiting room, the rest counted. */
export class Intake {
  readonly book: RecordBook;
  readonly stamps = new StampBook();
  readonly waiting = new WaitingRoom();
  readonly #self: PeerId;
  readonly #verifier: Verifier;
  readonly #admits: AdmissionCheck;
  readonly #admitted: Set<PeerId>;
  readonly #drops = new Map<string, number>();

  constructor(self: PeerId, verifier: Verifier, admits: AdmissionCheck, limits?: LimitTable) {
    this.#self = self;
    this.#verifier = verifier;
    this.#admits = admits;
    this.#admitted = new Set([self]);
    this.book = new RecordBook(limits);
  }

  /** Hosts whose certificate is known: members, and those that were. */
  get admitted(): ReadonlySet<PeerId> {
    return this.#admitted;
  }

  /** Frames dropped since start, by reason. */
  get drops(): Drops {
    return Object.fromEntries(this.#drops);
  }

  counts(): { readonly records: number; readonly waiting: number; readonly ahead: number; readonly drops: Drops } {
    return { records: this.book.index.size, waiting: this.waiting.size, ahead: this.book.aheadCount, drops: this.drops };
  }

  /** Records from this host's own store: checked when they were taken. */
  restore(record: StoredRecord, nowMs: number): void {
    this.#admitted.add(record.writer);
    this.stamps.note(record, nowMs);
    this.book.accept(record, nowMs);
  }

  /** Whoever stamped what lies in this host's own file beside its store was a member when it was put there. */
  trust(frames: readonly RecordFrame[]): void {
    for (const frame of frames) {
      const read = readFrame(frame);
      if (read.ok) this.#admitted.add(read.record.writer);
    }
  }

  /** Records that this host has just signed. */
  put(records: readonly StoredRecord[], nowMs: number): Intaken {
    const batch = emptyBatch();
    for (const record of records) this.#accept(record, nowMs, batch);
    return { ...batch, own: [] };
  }

  take(frames: readonly RecordFrame[], from: PeerId, nowMs: number): Intaken {
    const batch = emptyBatch();
    let mayAdmit = false;
    for (const frame of frames) {
      const read = readFrame(frame);
      if (!read.ok) this.#drop(read.reason, batch);
      else mayAdmit = this.#judge(read.record, from, nowMs, batch) || mayAdmit;
    }
    if (mayAdmit) this.#admitWaiting(nowMs, batch);
    return batch;
  }

  /** True when the record is a certificate that waits. */
  #judge(record: StoredRecord, from: PeerId, nowMs: number, batch: Batch): boolean {
    const before = this.book.index.get(entryIdOf(record));
    const isKnown = before !== undefined && compareBytes(before.hash, record.hash) === 0;
    const isOlder = before !== undefined && compareRanked(before, record) > 0;
    // What changes nothing is not worth its signature's check, unless it shows that a request was stamped before.
    if (isKnown || (isOlder && !this.book.isAhead(record) && !this.stamps.isLower(record))) {
      batch.held += 1;
      return false;
    }
    if (this.waiting.has(record)) return false;
    if (!isSigned(record.frame, record.writer, this.#verifier)) {
      this.#drop("bad-signature", batch);
      return false;
    }
    if (this.#admitted.has(record.writer)) {
      this.#accept(record, nowMs, batch, before);
      return false;
    }
    if (!this.waiting.put(record, from)) {
      this.#drop("no-room", batch);
      return false;
    }
    return this.#admits(record) && this.#admitted.add(record.writer).has(record.writer);
  }

  #admitWaiting(nowMs: number, batch: Batch): void {
    for (const { record } of this.waiting.release((waiting) => this.#admitted.has(waiting.writer))) this.#accept(record, nowMs, batch);
  }

  #accept(record: StoredRecord, nowMs: number, batch: Batch, before?: StoredRecord): void {
    if (this.stamps.note(record, nowMs)) {
      batch.restamped = true;
      batch.visible.push(record);
    }
    const { stored, visible, dropped } = this.book.accept(record, nowMs);
    batch.removed.push(...dropped);
    if (dropped.includes(entryIdOf(record))) {
      this.#drop("over-limit", batch);
      return;
    }
    batch.held += 1;
    if (stored) batch.stored.push(record);
    if (visible && !batch.visible.includes(record)) batch.visible.push(record);
    if (stored && record.writer === this.#self && isHostKey(record.key)) batch.own.push({ met: record, before });
  }

  #drop(reason: DropReason | "no-room" | "over-limit", batch: Batch): void {
    batch.dropped += 1;
    this.#drops.set(reason, (this.#drops.get(reason) ?? 0) + 1);
  }
}

function emptyBatch(): Batch {
  return { stored: [], visible: [], removed: [], own: [], dropped: 0, held: 0, restamped: false };
}

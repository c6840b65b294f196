import type { RecordKey } from "../base/index.ts";
import { compareRanked, merge } from "./merge.ts";
import { frameBytes } from "./record.ts";
import { RecordIndex } from "./record-index.ts";
import { type EntryId, entryIdOf, isHostKey } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";
import { isAhead } from "./version.ts";
import { type LimitTable, WriterTallies } from "./writer-limits.ts";

/**
 * What taking a record did. `stored`: it is the newest of its entry now; `visible`: readers see a change; `dropped`: entries
 * above a writer's limit, maybe the record itself.
 */
export type Acceptance = { readonly stored: boolean; readonly visible: boolean; readonly dropped: readonly EntryId[] };

/**
 * All records as this host holds them. The index is the pure merge of what came, equal on all hosts. Stamps that are ahead
 * of time lie in it too (kept and passed on), but readers see what was before, until their time has come. A user's removal
 * does not wait: it is above every version, now as then, and what is torn down must not be back once the clock is right.
 */
export class RecordBook {
  readonly index = new RecordIndex();
  readonly #tallies: WriterTallies;
  /** Entries whose newest record is ahead of time, with what readers see instead. */
  readonly #ahead = new Map<EntryId, StoredRecord | undefined>();

  constructor(limits?: LimitTable) {
    this.#tallies = new WriterTallies(limits);
  }

  accept(record: StoredRecord, nowMs: number): Acceptance {
    const id = entryIdOf(record);
    const before = this.index.get(id);
    const early = mustWait(record, nowMs);
    if (before !== undefined && compareRanked(before, record) >= 0) return { stored: false, visible: !early && this.#showInstead(id, record), dropped: [] };
    if (early) this.#ahead.set(id, this.#ahead.has(id) ? this.#ahead.get(id) : before);
    else this.#ahead.delete(id);
    this.index.set(record);
    const dropped = this.#tallies.add(record, before, (other) => this.#bytesOf(other));
    for (const other of dropped) this.#drop(other);
    const kept = !dropped.includes(id);
    return { stored: kept, visible: kept && !early, dropped };
  }

  /** Records whose time has come: visible from now on. */
  releaseDue(nowMs: number): readonly StoredRecord[] {
    const due: StoredRecord[] = [];
    for (const id of this.#ahead.keys()) {
      const record = this.index.get(id);
      if (record !== undefined && mustWait(record, nowMs)) continue;
      this.#ahead.delete(id);
      if (record !== undefined) due.push(record);
    }
    return due;
  }

  /** Whether what is stored in this record's place is ahead of time: then an older one may be shown meanwhile. */
  isAhead(record: StoredRecord): boolean {
    return this.#ahead.has(entryIdOf(record));
  }

  get aheadCount(): number {
    return this.#ahead.size;
  }

  wouldExceed(...of: Parameters<WriterTallies["wouldExceed"]>): boolean {
    return this.#tallies.wouldExceed(...of);
  }

  /** Of several stamps of one key the one that merging would leave; which of them counts is a view's decision. */
  get(key: RecordKey): StoredRecord | undefined {
    if (isHostKey(key)) return this.index.get(key as string as EntryId);
    return this.list(`${key}!`).reduce<StoredRecord | undefined>((best, record) => (best === undefined ? record : merge(best, record)), undefined);
  }

  list(prefix: string): readonly StoredRecord[] {
    const records = this.index.list(prefix);
    if (this.#ahead.size === 0) return records;
    return records.map((record) => (this.#ahead.has(entryIdOf(record)) ? this.#ahead.get(entryIdOf(record)) : record)).filter((record) => record !== undefined);
  }

  /** The highest version that is stored of a host's own records: for its next start number. */
  highestMajorOf(prefix: string): number {
    return this.index.list(prefix).reduce((highest, { version }) => Math.max(highest, version.major), 0);
  }

  #showInstead(id: EntryId, record: StoredRecord): boolean {
    if (!this.#ahead.has(id)) return false;
    const shown = this.#ahead.get(id);
    if (shown !== undefined && compareRanked(shown, record) >= 0) return false;
    this.#ahead.set(id, record);
    return true;
  }

  #bytesOf(id: EntryId): number {
    const record = this.index.get(id);
    return record === undefined ? 0 : frameBytes(record.frame);
  }

  #drop(id: EntryId): void {
    this.#ahead.delete(id);
    this.index.delete(id);
  }
}

function mustWait(record: StoredRecord, nowMs: number): boolean {
  const isRemoval = record.final && record.key.startsWith("user/");
  return !isHostKey(record.key) && !isRemoval && isAhead(record.version, nowMs);
}

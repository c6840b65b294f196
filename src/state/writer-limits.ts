import type { PeerId } from "../base/index.ts";
import { frameBytes } from "./record.ts";
import { lowerBound } from "./record-index.ts";
import { type EntryId, entryIdOf, isHostKey } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";

/**
 * What one host may make everybody keep. Its own facts: two records for each of some thousand containers that it ever held,
 * at usual sizes; a stolen host costs the others this much and no more. Its stamps: users' requests, whose number is the
 * API's business; the limit only has to be above what honest users reach and below what fills a small host's memory.
 */
const HOST_RECORDS_MAX = 20_000;
const HOST_BYTES_MAX = 64 * 1024 * 1024;
const STAMPS_MAX = 50_000;
const STAMPS_BYTES_MAX = 128 * 1024 * 1024;

export type WriterLimits = { readonly records: number; readonly bytes: number };
export type LimitTable = { readonly host: WriterLimits; readonly stamps: WriterLimits };
const WRITER_LIMITS: LimitTable = {
  host: { records: HOST_RECORDS_MAX, bytes: HOST_BYTES_MAX },
  stamps: { records: STAMPS_MAX, bytes: STAMPS_BYTES_MAX },
};

type Tally = { readonly ids: EntryId[]; bytes: number };

/** Of a writer above its limit the lowest entries count: the same ones everywhere, in whatever order they came. */
export class WriterTallies {
  readonly #limits: LimitTable;
  readonly #tallies = new Map<string, Tally>();

  constructor(limits: LimitTable = WRITER_LIMITS) {
    this.#limits = limits;
  }

  /** Counts a record that took its entry's place; gives the entries that are above the limit now, which the caller drops. */
  add(record: StoredRecord, replaced: StoredRecord | undefined, bytesOf: (id: EntryId) => number): readonly EntryId[] {
    const tally = this.#tallyOf(record);
    if (replaced === undefined)
      tally.ids.splice(
        lowerBound(tally.ids, (id) => id < entryIdOf(record)),
        0,
        entryIdOf(record),
      );
    else tally.bytes -= frameBytes(replaced.frame);
    tally.bytes += frameBytes(record.frame);
    const limits = isHostKey(record.key) ? this.#limits.host : this.#limits.stamps;
    const dropped: EntryId[] = [];
    while (tally.ids.length > limits.records || tally.bytes > limits.bytes) {
      const id = tally.ids.pop();
      if (id === undefined) break;
      tally.bytes -= bytesOf(id);
      dropped.push(id);
    }
    return dropped;
  }

  remove(record: StoredRecord): void {
    const tally = this.#tallyOf(record);
    const at = lowerBound(tally.ids, (id) => id < entryIdOf(record));
    if (tally.ids[at] !== entryIdOf(record)) return;
    tally.ids.splice(at, 1);
    tally.bytes -= frameBytes(record.frame);
  }

  /** Whether so many new records of so many bytes in all would be above this host's own limit. */
  wouldExceed(writer: PeerId, family: "host" | "stamps", records: number, bytes: number): boolean {
    const tally = this.#tallies.get(`${family} ${writer}`);
    return (tally?.ids.length ?? 0) + records > this.#limits[family].records || (tally?.bytes ?? 0) + bytes > this.#limits[family].bytes;
  }

  #tallyOf(record: StoredRecord): Tally {
    const name = `${isHostKey(record.key) ? "host" : "stamps"} ${record.writer}`;
    const known = this.#tallies.get(name);
    if (known !== undefined) return known;
    const made: Tally = { ids: [], bytes: 0 };
    this.#tallies.set(name, made);
    return made;
  }
}

import type { PeerId } from "../base/index.ts";
import { compareRanked } from "./merge.ts";
import { frameBytes } from "./record.ts";
import { type EntryId, entryIdOf } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";

/** Per sender: one neighbour that lies must not push out what the others told. Enough for a host's records until its certificate comes. */
const WAITING_RECORDS_MAX = 2_000;
const WAITING_BYTES_MAX = 8 * 1024 * 1024;

type Waiting = { readonly record: StoredRecord; readonly from: PeerId };
type Tally = { records: number; bytes: number };

/** Records whose writer is not admitted yet: kept in memory, passed on, not counted. Repair brings again what had no room. */
export class WaitingRoom {
  readonly #waiting = new Map<EntryId, Waiting>();
  readonly #tallies = new Map<PeerId, Tally>();

  get size(): number {
    return this.#waiting.size;
  }

  /** False when there was no room, or something better waits already. */
  put(record: StoredRecord, from: PeerId): boolean {
    const id = entryIdOf(record);
    const before = this.#waiting.get(id);
    if (before !== undefined && compareRanked(before.record, record) >= 0) return false;
    const tally = this.#tallies.get(from) ?? { records: 0, bytes: 0 };
    if (tally.records >= WAITING_RECORDS_MAX || tally.bytes + frameBytes(record.frame) > WAITING_BYTES_MAX) return false;
    if (before !== undefined) this.#remove(id, before);
    tally.records += 1;
    tally.bytes += frameBytes(record.frame);
    this.#tallies.set(from, tally);
    this.#waiting.set(id, { record, from });
    return true;
  }

  has(record: StoredRecord): boolean {
    const before = this.#waiting.get(entryIdOf(record));
    return before !== undefined && compareRanked(before.record, record) >= 0;
  }

  /** All that wait, in order of arrival. */
  records(): readonly StoredRecord[] {
    return [...this.#waiting.values()].map(({ record }) => record);
  }

  /** Takes out what `isDue` says, with who sent it. */
  release(isDue: (record: StoredRecord) => boolean): readonly Waiting[] {
    const due = [...this.#waiting].filter(([, waiting]) => isDue(waiting.record));
    for (const [id, waiting] of due) this.#remove(id, waiting);
    return due.map(([, waiting]) => waiting);
  }

  #remove(id: EntryId, waiting: Waiting): void {
    this.#waiting.delete(id);
    const tally = this.#tallies.get(waiting.from);
    if (tally === undefined) return;
    tally.records -= 1;
    tally.bytes -= frameBytes(waiting.record.frame);
    if (tally.records === 0) this.#tallies.delete(waiting.from);
  }
}

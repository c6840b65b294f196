import type { KeyRange } from "../api/gen/cc/v1/mesh_pb.ts";
import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import { ok, type Result, refuse } from "../base/index.ts";
import { compareBytes } from "./merge.ts";
import { frameBytes } from "./record.ts";
import type { RecordIndex } from "./record-index.ts";
import type { EntryId } from "./record-key.ts";

/*
 * Range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", 2022): both sides compare hashes of ranges of
 * the sorted entries and split only where they differ. Stateless: a message answers a message, either side may be
 * restarted in between, and no counter can hide a record. What does not fit into one message is named as a range again.
 */

/** A differing range is cut into so many. */
const SPLIT = 16;
/** A range with fewer entries of ours is listed whole. */
export const LIST_BELOW = 32;
export const MESSAGE_BYTES_MAX = 512 * 1024;
/** Ranges and listed entries of one message: about 300 KiB at the longest usual keys. */
const RANGES_MAX = 1_024;
const ITEMS_MAX = 2_048;
const WANTED_MAX = 2_048;
/** Room for the answer to one more range: its pieces, or its list. */
const RANGES_ROOM = SPLIT + 1;

type Item = Pick<KeyRange["items"][number], "key" | "hash">;
export type Range = Pick<KeyRange, "from" | "to" | "count" | "digest" | "listed"> & { readonly items: readonly Item[] };
/** The fields of a ReconcileMessage; `wanted` and the bounds of ranges are entry ids. */
export type Reconciliation = { readonly ranges: readonly Range[]; readonly frames: readonly RecordFrame[]; readonly wanted: readonly string[] };

/** The first message: everything as one range. Where nothing differs it is the last one too. */
export function openReconciliation(index: RecordIndex): Reconciliation {
  return { ranges: [summary(index, "", "")], frames: [], wanted: [] };
}

export function isEmptyReconciliation(message: Reconciliation): boolean {
  return message.ranges.length === 0 && message.frames.length === 0 && message.wanted.length === 0;
}

/** Refused: what would cost more to answer than an honest message does. */
export function checkReconciliation(message: Reconciliation): Result<Reconciliation> {
  const { ranges, wanted } = message;
  if (ranges.length > RANGES_MAX || wanted.length > WANTED_MAX) return refuse("TOO_LARGE", "too many ranges or wanted entries in one message");
  let items = 0;
  let end = "";
  for (const [at, range] of ranges.entries()) {
    // Sorted and apart, so that answering costs one pass over the index at most.
    const follows = at === 0 || (end !== "" && range.from >= end);
    if (!follows || (range.to !== "" && range.to <= range.from)) return refuse("BAD_REQUEST", "the ranges are not sorted and apart");
    end = range.to;
    items += range.items.length;
  }
  return items > ITEMS_MAX ? refuse("TOO_LARGE", "too many listed entries in one message") : ok(message);
}

/** What to say to `message`, whose frames were taken already. Empty: nothing is left to say. */
export function answerReconciliation(index: RecordIndex, message: Reconciliation): Reconciliation {
  const answer = new Answer(index);
  for (const id of message.wanted) answer.give(id);
  const differing = message.ranges.filter((range) => !isEqual(index, range));
  for (const range of differing) {
    if (!answer.hasRoom) {
      const last = differing.at(-1);
      if (last !== undefined) answer.ranges.push(summary(index, range.from, last.to));
      return answer;
    }
    if (range.listed || range.count === 0) answer.compare(range);
    else answer.narrow(range);
  }
  return answer;
}

class Answer implements Reconciliation {
  readonly ranges: Range[] = [];
  readonly frames: RecordFrame[] = [];
  readonly wanted: string[] = [];
  readonly #index: RecordIndex;
  #bytes = 0;
  #items = 0;

  constructor(index: RecordIndex) {
    this.#index = index;
  }

  get hasRoom(): boolean {
    return this.#bytes < MESSAGE_BYTES_MAX && this.ranges.length + RANGES_ROOM <= RANGES_MAX && this.#items + LIST_BELOW <= ITEMS_MAX;
  }

  /** Adds the entry's frame; false when it does not fit any more. An entry that is not here is skipped. */
  give(id: string): boolean {
    const record = this.#index.shared(id as EntryId);
    if (record === undefined) return true;
    const bytes = frameBytes(record.frame);
    if (this.#bytes > 0 && this.#bytes + bytes > MESSAGE_BYTES_MAX) {
      this.#bytes = MESSAGE_BYTES_MAX;
      return false;
    }
    this.#bytes += bytes;
    this.frames.push(record.frame);
    return true;
  }

  /** The other side told all that it has in this range. */
  compare(range: Range): void {
    const theirs = new Map(range.items.map((item) => [item.key, item.hash]));
    const { start, end } = this.#index.span(range.from, range.to);
    for (let position = start; position < end; position += 1) {
      const { id, record } = this.#index.at(position);
      const hash = theirs.get(id);
      theirs.delete(id);
      if (hash !== undefined && compareBytes(hash, record.hash) === 0) continue;
      if (!this.give(id)) {
        this.ranges.push(summary(this.#index, id, range.to));
        return;
      }
      // Which of two is newer is not known from a hash: both go over, and the merge decides.
      if (hash !== undefined) this.#want(id);
    }
    for (const id of theirs.keys()) this.#want(id);
  }

  /** The other side told a hash: we list the range if it is small here, else cut it. */
  narrow(range: Range): void {
    const { start, end } = this.#index.span(range.from, range.to);
    const count = end - start;
    if (count < LIST_BELOW) {
      const items = Array.from({ length: count }, (_, offset) => this.#index.at(start + offset)).map(({ id, record }) => ({ key: id, hash: record.hash }));
      this.#items += count;
      this.ranges.push({ from: range.from, to: range.to, count, digest: new Uint8Array(), listed: true, items });
      return;
    }
    const cuts = Array.from({ length: SPLIT - 1 }, (_, piece) => this.#index.at(start + Math.floor(((piece + 1) * count) / SPLIT)).id);
    const bounds = [range.from, ...cuts, range.to];
    for (let piece = 0; piece < SPLIT; piece += 1) this.ranges.push(summary(this.#index, bounds[piece] ?? "", bounds[piece + 1] ?? ""));
  }

  #want(id: string): void {
    if (this.wanted.length < WANTED_MAX) this.wanted.push(id);
  }
}

function summary(index: RecordIndex, from: string, to: string): Range {
  const { start, end } = index.span(from, to);
  return { from, to, count: end - start, digest: index.spanDigest(start, end), listed: false, items: [] };
}

function isEqual(index: RecordIndex, range: Range): boolean {
  if (range.listed) return false;
  const { start, end } = index.span(range.from, range.to);
  return end - start === range.count && compareBytes(index.spanDigest(start, end), range.digest) === 0;
}

import { sha256 } from "../identity/index.ts";
import { compareBytes } from "./merge.ts";
import { type EntryId, entryIdOf } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";

const HASH_BYTES = 32;
const BUCKETS = 256;
const OF_NOTHING = sha256(new Uint8Array());

type Bucket = { readonly hashes: Uint8Array[]; readonly digest: Uint8Array; isStale: boolean };

/**
 * All records in the order of their entries, with digests that cost what changed: a change touches two of 256 buckets.
 * The digest of everything goes by the hashes alone (bucket = first byte), those of ranges by the order of entries.
 */
export class RecordIndex {
  readonly #ids: EntryId[] = [];
  readonly #records = new Map<EntryId, StoredRecord>();
  readonly #heldBack = new Set<EntryId>();
  /** The buckets' digests side by side: what the digest of everything is made of. */
  readonly #digests = new Uint8Array(BUCKETS * HASH_BYTES);
  readonly #buckets: readonly Bucket[] = Array.from({ length: BUCKETS }, (_, at) => ({
    hashes: [],
    digest: this.#digests.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
    isStale: true,
  }));
  #digest: Uint8Array | undefined;

  get size(): number {
    return this.#ids.length;
  }

  get(id: EntryId): StoredRecord | undefined {
    return this.#records.get(id);
  }

  /** What others may have: not what is held back. */
  shared(id: EntryId): StoredRecord | undefined {
    return this.#heldBack.has(id) ? undefined : this.#records.get(id);
  }

  /** No other host gets these until they are on this one's disk. Gives what ends it. */
  holdBack(records: readonly StoredRecord[]): () => void {
    const ids = records.map(entryIdOf);
    for (const id of ids) this.#heldBack.add(id);
    return () => {
      for (const id of ids) this.#heldBack.delete(id);
    };
  }

  /** Puts the record in its entry's place, whatever lay there. */
  set(record: StoredRecord): void {
    const id = entryIdOf(record);
    const before = this.#records.get(id);
    if (before === undefined) this.#ids.splice(this.position(id), 0, id);
    else this.#unhash(before.hash);
    this.#records.set(id, record);
    const bucket = this.#bucketOf(record.hash);
    bucket.hashes.splice(
      lowerBound(bucket.hashes, (hash) => compareBytes(hash, record.hash) < 0),
      0,
      record.hash,
    );
    bucket.isStale = true;
    this.#digest = undefined;
  }

  delete(id: EntryId): void {
    const before = this.#records.get(id);
    if (before === undefined) return;
    this.#records.delete(id);
    this.#ids.splice(this.position(id), 1);
    this.#unhash(before.hash);
  }

  /** How many entries sort before `id`. */
  position(id: string): number {
    return lowerBound(this.#ids, (other) => other < id);
  }

  /** Positions of the entries in [from, to); `to` "" is the end. */
  span(from: string, to: string): { readonly start: number; readonly end: number } {
    const start = this.position(from);
    return { start, end: to === "" ? this.#ids.length : Math.max(start, this.position(to)) };
  }

  /** The entry at a position; throws RangeError outside. */
  at(position: number): { readonly id: EntryId; readonly record: StoredRecord } {
    const id = this.#ids[position];
    const record = id === undefined ? undefined : this.#records.get(id);
    if (id === undefined || record === undefined) throw new RangeError(`no entry at ${position}`);
    return { id, record };
  }

  /** Records whose key begins with `prefix`, in order. */
  list(prefix: string): StoredRecord[] {
    const found: StoredRecord[] = [];
    for (let at = this.position(prefix); at < this.#ids.length; at += 1) {
      const { id, record } = this.at(at);
      if (!id.startsWith(prefix)) break;
      found.push(record);
    }
    return found;
  }

  /** SHA-256 over the hashes of the entries at these positions, in order. */
  spanDigest(start: number, end: number): Uint8Array {
    const hashes = new Uint8Array((end - start) * HASH_BYTES);
    for (let at = start; at < end; at += 1) hashes.set(this.at(at).record.hash, (at - start) * HASH_BYTES);
    return sha256(hashes);
  }

  /** Equal for equal contents, whatever the order in which they came. */
  digest(): Uint8Array {
    if (this.#digest !== undefined) return this.#digest;
    for (const bucket of this.#buckets) {
      if (!bucket.isStale) continue;
      bucket.digest.set(bucket.hashes.length === 0 ? OF_NOTHING : sha256(Buffer.concat(bucket.hashes)));
      bucket.isStale = false;
    }
    this.#digest = sha256(this.#digests);
    return this.#digest;
  }

  #unhash(hash: Uint8Array): void {
    const bucket = this.#bucketOf(hash);
    bucket.hashes.splice(
      lowerBound(bucket.hashes, (other) => compareBytes(other, hash) < 0),
      1,
    );
    bucket.isStale = true;
    this.#digest = undefined;
  }

  #bucketOf(hash: Uint8Array): Bucket {
    const bucket = this.#buckets[hash[0] ?? 0];
    if (bucket === undefined) throw new RangeError("a hash without a bucket");
    return bucket;
  }
}

/** The first position whose item is not before; `items` are sorted. */
export function lowerBound<T>(items: readonly T[], isBefore: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && isBefore(item)) low = middle + 1;
    else high = middle;
  }
  return low;
}

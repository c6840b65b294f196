import type { StoredRecord, Version } from "./replica.ts";
import { compareVersions } from "./version.ts";

export type Ranked = { readonly final: boolean; readonly version: Version; readonly hash: Uint8Array };

export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/**
 * The one order of two records with the same key, for all kinds: the final tombstone, then the version, then the hash. Total,
 * so that merging is commutative, associative and idempotent. Positive when `a` stays.
 */
export function compareRanked(a: Ranked, b: Ranked): number {
  if (a.final !== b.final) return a.final ? 1 : -1;
  return compareVersions(a.version, b.version) || compareBytes(a.hash, b.hash);
}

/** The record that stays. */
export function merge(a: StoredRecord, b: StoredRecord): StoredRecord {
  return compareRanked(a, b) >= 0 ? a : b;
}

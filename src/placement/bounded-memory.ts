/**
 * Remembers the newest `entriesMax` entries, each for `keepMs` since it was last set. Every memory of placement is one of
 * these: peers and users decide how much they send, never how much is kept. Time is an argument.
 */
export class BoundedMemory<K, V> {
  readonly #entriesMax: number;
  readonly #keepMs: number;
  // A map keeps insertion order, and `set` moves to the end: the first is always the oldest.
  readonly #entries = new Map<K, { readonly value: V; readonly sinceMs: number }>();

  constructor(limits: { readonly entriesMax: number; readonly keepMs: number }) {
    this.#entriesMax = limits.entriesMax;
    this.#keepMs = limits.keepMs;
  }

  get(key: K, nowMs: number): V | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined || nowMs - entry.sinceMs >= this.#keepMs ? undefined : entry.value;
  }

  set(key: K, value: V, nowMs: number): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, sinceMs: nowMs });
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= this.#entriesMax && nowMs - entry.sinceMs < this.#keepMs) break;
      this.#entries.delete(oldest);
    }
  }

  delete(key: K): void {
    this.#entries.delete(key);
  }

  get size(): number {
    return this.#entries.size;
  }
}

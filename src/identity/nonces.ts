/** One act of a host: a request's nonce, what it acts on, and the step (hold, commit, ask, mark, award; "user" for the user's own call). */
export type Act = { readonly keyId: string; readonly nonce: string; readonly id: string; readonly step: string; readonly createdS: number };

export type NonceVerdict = "fresh" | "seen" | "full" | "forgotten";

/** Twice the window in which a signed time is taken: no clock within it can bring a request back. */
const KEPT_AFTER_SIGNED_MS = 10 * 60_000;
/** About 100 MB at worst; 220 requests a second kept up for 15 minutes. */
const ACTS_MAX = 200_000;
/** One key alone cannot shut the others out. */
const ACTS_PER_KEY_MAX = 100_000;
const BUCKET_S = 60;

/**
 * What this host has acted on. Full means refused, never forgotten early: forgetting is what a replay waits for. Of a time
 * once forgotten nothing is fresh again, also when the clock goes back.
 */
export class NonceMemory {
  readonly #actsMax: number;
  readonly #actsPerKeyMax: number;
  /** The key of each act, by the minute of the signed time, so that forgetting is a few whole buckets. */
  readonly #buckets = new Map<number, Map<string, string>>();
  readonly #perKey = new Map<string, number>();
  #size = 0;
  #forgottenBelow = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly actsMax?: number; readonly actsPerKeyMax?: number } = {}) {
    this.#actsMax = options.actsMax ?? ACTS_MAX;
    this.#actsPerKeyMax = options.actsPerKeyMax ?? ACTS_PER_KEY_MAX;
  }

  get size(): number {
    return this.#size;
  }

  /** All that was signed before this, in seconds, is forgotten. */
  get forgottenBelowS(): number {
    return this.#forgottenBelow * BUCKET_S;
  }

  /** Remembers an act. Anything but "fresh" means: do not act. */
  take(act: Act, nowMs: number): NonceVerdict {
    this.#forget(nowMs);
    const number = Math.floor(act.createdS / BUCKET_S);
    if (number < this.#forgottenBelow) return "forgotten";
    const bucket = this.#buckets.get(number) ?? new Map<string, string>();
    const name = nameOf(act);
    if (bucket.has(name)) return "seen";
    const ofKey = this.#perKey.get(act.keyId) ?? 0;
    if (this.#size >= this.#actsMax || ofKey >= this.#actsPerKeyMax) return "full";
    bucket.set(name, act.keyId);
    this.#buckets.set(number, bucket);
    this.#perKey.set(act.keyId, ofKey + 1);
    this.#size += 1;
    return "fresh";
  }

  #forget(nowMs: number): void {
    // A bucket goes when its last second is old enough.
    const below = Math.floor((nowMs - KEPT_AFTER_SIGNED_MS) / 1000 / BUCKET_S);
    for (const [number, bucket] of this.#buckets) {
      if (number >= below) continue;
      this.#buckets.delete(number);
      // Only up to what was really forgotten: a clock that was a day ahead for a moment must not shut everybody out.
      this.#forgottenBelow = Math.max(this.#forgottenBelow, number + 1);
      this.#size -= bucket.size;
      for (const keyId of bucket.values()) {
        const left = (this.#perKey.get(keyId) ?? 0) - 1;
        if (left > 0) this.#perKey.set(keyId, left);
        else this.#perKey.delete(keyId);
      }
    }
  }
}

function nameOf(act: Act): string {
  return `${act.keyId} ${act.nonce} ${act.step} ${act.id}`;
}

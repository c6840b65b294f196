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
  /** By the minute of the signed time, so that forgetting is a few whole buckets. */
  readonly #buckets = new Map<number, Map<string, { readonly keyId: string; readonly answer: Promise<unknown> | undefined }>>();
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

  /** Remembers an act. Anything but "fresh" means: do not act. */
  take(act: Act, nowMs: number): NonceVerdict {
    return this.#remember(act, nowMs, undefined);
  }

  /**
   * Acts once and gives every further asker the same answer, also while the first is still at work and also if it failed.
   * Throws what `refused` makes of "full" and "forgotten".
   */
  once<T>(act: Act, nowMs: number, perform: () => Promise<T>, refused: (verdict: "full" | "forgotten") => Error): Promise<T> {
    const known = this.#entry(act);
    // An answer belongs to the step that made it: the same act always has the same type.
    if (known?.answer !== undefined) return known.answer as Promise<T>;
    let start: () => void = () => undefined;
    const answer = new Promise<void>((resolve) => {
      start = resolve;
    }).then(perform);
    const verdict = this.#remember(act, nowMs, answer);
    if (verdict === "full" || verdict === "forgotten") return Promise.reject(refused(verdict));
    if (verdict === "seen") return Promise.reject(new TypeError(`the step "${act.step}" is both taken and answered`));
    start();
    return answer;
  }

  #entry(act: Act): { readonly answer: Promise<unknown> | undefined } | undefined {
    return this.#buckets.get(bucketOf(act))?.get(nameOf(act));
  }

  #remember(act: Act, nowMs: number, answer: Promise<unknown> | undefined): NonceVerdict {
    this.#forget(nowMs);
    const number = bucketOf(act);
    if (number < this.#forgottenBelow) return "forgotten";
    const bucket = this.#buckets.get(number) ?? new Map<string, { readonly keyId: string; readonly answer: Promise<unknown> | undefined }>();
    const name = nameOf(act);
    if (bucket.has(name)) return "seen";
    const ofKey = this.#perKey.get(act.keyId) ?? 0;
    if (this.#size >= this.#actsMax || ofKey >= this.#actsPerKeyMax) return "full";
    bucket.set(name, { keyId: act.keyId, answer });
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
      for (const { keyId } of bucket.values()) {
        const left = (this.#perKey.get(keyId) ?? 0) - 1;
        if (left > 0) this.#perKey.set(keyId, left);
        else this.#perKey.delete(keyId);
      }
    }
  }
}

function bucketOf(act: Act): number {
  return Math.floor(act.createdS / BUCKET_S);
}

function nameOf(act: Act): string {
  return `${act.keyId} ${act.nonce} ${act.step} ${act.id}`;
}

export type QueryRate = { readonly perSecond: number; readonly burst: number };

/** A bucket of tokens: `take` is true as long as one is left. */
export class TokenBucket {
  readonly #rate: QueryRate;
  #tokens: number;
  #atMs: number;

  constructor(rate: QueryRate, nowMs: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#atMs = nowMs;
  }

  take(nowMs: number): boolean {
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + (Math.max(0, nowMs - this.#atMs) / 1_000) * this.#rate.perSecond);
    this.#atMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

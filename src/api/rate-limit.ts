import type { Clock } from "../base/index.ts";

export interface RateLimiter {
  /** True when one more call from `who` is within its limit; it is counted then. */
  take(who: string): boolean;
}

export type RateLimit = { readonly burst: number; readonly perSecond: number; readonly callersMax: number };

/** A token bucket per caller; the caller seen longest ago is forgotten when there are too many. */
export function createRateLimiter(clock: Clock, limit: RateLimit): RateLimiter {
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  return {
    take(who) {
      const nowMs = clock.monotonicMs();
      const known = buckets.get(who) ?? { tokens: limit.burst, atMs: nowMs };
      const tokens = Math.min(limit.burst, known.tokens + ((nowMs - known.atMs) / 1_000) * limit.perSecond);
      buckets.delete(who);
      buckets.set(who, { tokens: tokens >= 1 ? tokens - 1 : tokens, atMs: nowMs });
      if (buckets.size > limit.callersMax)
        for (const oldest of buckets.keys()) {
          buckets.delete(oldest);
          break;
        }
      return tokens >= 1;
    },
  };
}

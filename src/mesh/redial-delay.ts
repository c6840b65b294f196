import type { Random } from "../base/index.ts";

/** First wait after a failed dial; doubles up to the ceiling. */
const REDIAL_FIRST_MS = 250;
/** A partition that healed is found within this (the budget for convergence is 10 s). */
const REDIAL_CEILING_MS = 5_000;
/** At most so many dials a second over all absent peers: 4/s cost well under 1 % of a core. */
const DIALS_PER_SECOND_MAX = 4;

/**
 * How long to wait before the next dial of a peer that was dialled `attempts` times in vain, while `absent` peers in all
 * are not connected. Full jitter over the upper half, so that two sides that lost each other don't dial in step.
 */
export function redialDelayMs(attempts: number, absent: number, random: Random): number {
  const ceilingMs = Math.max(REDIAL_CEILING_MS, (absent * 1_000) / DIALS_PER_SECOND_MAX);
  const fullMs = Math.min(ceilingMs, REDIAL_FIRST_MS * 2 ** Math.min(attempts, 16));
  return Math.round(fullMs / 2) + random.below(Math.max(1, Math.round(fullMs / 2)));
}

/**
 * Before its first dial the peer with the higher id gives the other the time to dial: two simultaneous connections
 * would work, but cost twice.
 */
export function firstDialDelayMs(self: string, peer: string, random: Random): number {
  return self < peer ? 0 : 200 + random.below(200);
}

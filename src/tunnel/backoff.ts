/** Waits between attempts to reach the container again: the first at once, then from 250 ms up to 5 s, each up to a quarter shorter. */
const FIRST_MS = 250;
const LONGEST_MS = 5_000;

/** `failures` in a row so far; `chance` in [0, 1): laptops that lost the same peer do not come back in step. */
export function retryDelayMs(failures: number, chance: number): number {
  if (failures === 0) return 0;
  return Math.round(Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1)) * (1 - chance / 4));
}

/** The value below which `part` (0 to 1) of the values lie: the nearest rank, so that it is one that was measured. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)];
  if (value === undefined) throw new RangeError("nothing was measured");
  return value;
}

/** Of an even count the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  if (low === undefined || high === undefined) throw new RangeError("nothing was measured");
  return (low + high) / 2;
}

/** Turns of all contestants one after another, each turn beginning with the next one: none always follows the same. */
export function turnOrder(count: number, turn: number): number[] {
  return Array.from({ length: count }, (_, index) => (index + turn) % count);
}

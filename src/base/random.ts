/** Chance as a port: the real one is node:crypto, the simulator's is seeded. */
export interface Random {
  bytes(length: number): Uint8Array;
  /** A whole number in [0, below). */
  below(below: number): number;
}

/** Picks `count` different items, in random order (partial Fisher-Yates shuffle). */
export function sample<T>(random: Random, items: readonly T[], count: number): T[] {
  const pool = [...items];
  const picked: T[] = [];
  while (picked.length < count && pool.length > 0) picked.push(...pool.splice(random.below(pool.length), 1));
  return picked;
}

import { createHash, randomBytes } from "node:crypto";

const BLOCK_BYTES = 1024 * 1024;
const block = createHash("sha512").update("a block that compresses badly").digest();
const whole = Buffer.alloc(BLOCK_BYTES, block);

/** Bytes that are the same everywhere, and nowhere the same within: each block begins with its number. */
export function* patternOf(bytes: number): Generator<Buffer> {
  for (let at = 0, number = 0; at < bytes; at += BLOCK_BYTES, number += 1) {
    const next = Buffer.from(whole.subarray(0, Math.min(BLOCK_BYTES, bytes - at)));
    if (next.length >= 8) next.writeBigUInt64BE(BigInt(number));
    yield next;
  }
}

export function sumOf(bytes: number): string {
  const hash = createHash("sha256");
  for (const next of patternOf(bytes)) hash.update(next);
  return hash.digest("hex");
}

/** Some content of a connection's own. */
export const anything = (): string => randomBytes(600).toString("hex");

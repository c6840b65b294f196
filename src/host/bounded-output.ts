/** Collects bytes up to a limit and drops the rest: a talkative program cannot fill the peer's memory. */
export class BoundedOutput {
  readonly #bytesMax: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  push(chunk: Buffer): void {
    const kept = chunk.subarray(0, Math.max(0, this.#bytesMax - this.#bytes));
    if (kept.length === 0) return;
    this.#chunks.push(kept);
    this.#bytes += kept.length;
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }
}

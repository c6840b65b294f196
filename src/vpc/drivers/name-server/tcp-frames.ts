/** DNS messages out of a TCP stream: each has its length, two bytes, before it. Holds what came of the next ones. */
export class TcpFrames {
  readonly #bytesMax: number;
  #held: Buffer = Buffer.alloc(0);

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  push(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
  }

  /** The next whole message; undefined: more has to come. */
  next(): Buffer | "too large" | undefined {
    if (this.#held.length < 2) return undefined;
    const length = this.#held.readUInt16BE(0);
    if (length > this.#bytesMax) return "too large";
    if (this.#held.length < 2 + length) return undefined;
    const message = this.#held.subarray(2, 2 + length);
    this.#held = this.#held.subarray(2 + length);
    return message;
  }
}

export function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(2 + message.length);
  frame.writeUInt16BE(message.length, 0);
  message.copy(frame, 2);
  return frame;
}

import type { FrameChannel } from "../../../src/api/index.ts";

/** One end of a stream: what comes from its user is pushed, what goes to it is kept; it takes only when told to. */
export class End implements FrameChannel {
  readonly got: string[] = [];
  ended = false;
  aborted: unknown;
  room = Number.POSITIVE_INFINITY;
  readonly #frames: (string | Uint8Array | undefined)[] = [];
  #wake: (() => void) | undefined;

  push(...frames: (string | Uint8Array | undefined)[]): void {
    this.#frames.push(...frames);
    this.#wake?.();
  }

  async send(frame: Uint8Array): Promise<void> {
    while (this.got.length >= this.room) await new Promise<void>((resolve) => setImmediate(resolve));
    this.got.push(Buffer.from(frame).toString("utf8"));
  }

  async *frames(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.aborted !== undefined) throw this.aborted;
      if (this.#frames.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      const frame = this.#frames.shift();
      if (frame === undefined) return;
      yield typeof frame === "string" ? Buffer.from(frame) : frame;
    }
  }

  async end(): Promise<void> {
    this.ended = true;
  }

  abort(reason: unknown): void {
    this.aborted ??= reason;
    this.#wake?.();
  }
}

export const turns = async (count = 20): Promise<void> => {
  for (let at = 0; at < count; at += 1) await new Promise((resolve) => setImmediate(resolve));
};

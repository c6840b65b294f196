import type { FrameChannel } from "../api/index.ts";
import type { FrameSender } from "./multiplexer.ts";

/** What the stream has no room for yet: above the high mark data stops, below the low one it goes on. */
const HIGH_BYTES = 512 * 1024;
const LOW_BYTES = 128 * 1024;

/**
 * A frame channel, whose `send` waits, as a sender that never does. What waits is bounded by who listens to what `send`
 * gives: beyond the high mark come only frames without data, a few bytes for each connection.
 */
export class FramePump implements FrameSender {
  readonly #channel: Pick<FrameChannel, "send">;
  readonly #drained: () => void;
  readonly #failed: (error: unknown) => void;
  #waitingBytes = 0;
  #full = false;
  #broken = false;

  constructor(channel: Pick<FrameChannel, "send">, drained: () => void, failed: (error: unknown) => void) {
    this.#channel = channel;
    this.#drained = drained;
    this.#failed = failed;
  }

  send(...parts: readonly Uint8Array[]): boolean {
    if (this.#broken) return false;
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    this.#waitingBytes += bytes;
    if (this.#waitingBytes > HIGH_BYTES) this.#full = true;
    this.#channel.send(...parts).then(
      () => this.#sent(bytes),
      (error: unknown) => this.#fail(error),
    );
    return !this.#full;
  }

  #sent(bytes: number): void {
    this.#waitingBytes -= bytes;
    if (!this.#full || this.#waitingBytes > LOW_BYTES) return;
    this.#full = false;
    this.#drained();
  }

  #fail(error: unknown): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#failed(error);
  }
}

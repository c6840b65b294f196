import type { FrameChannel } from "../api/index.ts";
import type { FrameSender } from "./multiplexer.ts";

/** Frames that wait for the stream: above the high mark data stops, below the low one it goes on. */
const HIGH_BYTES = 512 * 1024;
const LOW_BYTES = 128 * 1024;

/**
 * A frame channel, whose `send` waits, as a sender that never does. What waits here is bounded by who listens to what `send`
 * gives: beyond the high mark come only frames without data, a few bytes for each connection.
 */
export class FramePump implements FrameSender {
  readonly #channel: Pick<FrameChannel, "send">;
  readonly #drained: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #full = false;
  #running = false;
  #broken = false;

  constructor(channel: Pick<FrameChannel, "send">, drained: () => void, failed: (error: unknown) => void) {
    this.#channel = channel;
    this.#drained = drained;
    this.#failed = failed;
  }

  send(frame: Uint8Array): boolean {
    if (this.#broken) return false;
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
    if (this.#waitingBytes > HIGH_BYTES) this.#full = true;
    if (!this.#running) void this.#run();
    return !this.#full;
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      for (let frame = this.#waiting.shift(); frame !== undefined; frame = this.#waiting.shift()) {
        await this.#channel.send(frame);
        this.#waitingBytes -= frame.length;
        if (!this.#full || this.#waitingBytes > LOW_BYTES) continue;
        this.#full = false;
        this.#drained();
      }
    } catch (error) {
      this.#broken = true;
      this.#waiting.length = 0;
      this.#failed(error);
    } finally {
      this.#running = false;
    }
  }
}

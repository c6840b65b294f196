import type { Clock } from "../base/index.ts";

/** Wakes one waiting loop. A ring before the wait is not lost. */
export class Bell {
  readonly #clock: Clock;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** What rang so far is known: the next wait is for what rings after this. */
  hush(): void {
    this.#rung = false;
  }

  /** Resolves at the next ring, at `untilMs` of the monotonic clock, or when the signal aborts. */
  async wait(untilMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#rung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          cancel();
          signal.removeEventListener("abort", done);
          this.#wake = undefined;
          resolve();
        };
        const cancel = this.#clock.after(Math.max(0, untilMs - this.#clock.monotonicMs()), done);
        signal.addEventListener("abort", done, { once: true });
        this.#wake = done;
      });
    }
    this.#rung = false;
  }
}

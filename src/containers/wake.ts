import type { Clock } from "../base/index.ts";

/** A bell that somebody may ring before or while somebody waits; one waiter. */
export class Wake {
  readonly #clock: Clock;
  #ring: () => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves with the first ring after this call. */
  arm(): Promise<void> {
    return new Promise((resolve) => {
      this.#ring = resolve;
    });
  }

  ring(): void {
    this.#ring();
  }

  /** Until the next ring, `ms`, or the signal. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    return this.until(this.arm(), ms, signal);
  }

  /** Until `bell` has rung, `ms` have passed, or the signal; leaves no timer behind. */
  until(bell: Promise<void>, ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const cancel = this.#clock.after(Math.max(0, ms), done);
      signal.addEventListener("abort", done, { once: true });
      if (signal.aborted) done();
      bell.then(done, done);
    });
  }
}

import type { Clock } from "../base/index.ts";

/** Node fires timers above 2^31 - 1 ms at once; longer waits go in steps of this. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The machine's clock. `monotonicMs` does not count the time that the machine was suspended. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, fire) {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const stepMs = Math.min(Math.max(0, leftMs), TIMER_MS_MAX);
      timer = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : fire()), stepMs);
    };
    arm(delayMs);
    return () => clearTimeout(timer);
  },
};

import type { Clock } from "../base/index.ts";

/** Node fires timers above 2^31 - 1 ms at once; longer waits go in steps of this. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** `performance.now()` begins with the process; readings of two lives of a peer are to be comparable. */
const PROCESS_BEGAN_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** The machine's clock. `monotonicMs` counts from the machine's boot, without the time that it was suspended. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => PROCESS_BEGAN_MS + performance.now(),
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

import { randomBytes } from "node:crypto";
import type { Clock, Random } from "../../src/base/index.ts";

/** The machine's clock and chance; src/host has the peer's, which the command line does not carry. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};

export const systemRandom: Pick<Random, "bytes"> = { bytes: (length) => randomBytes(length) };

import { randomBytes, randomInt } from "node:crypto";
import type { Random } from "../base/index.ts";

/** The kernel's random numbers, fit for keys and nonces. `below` takes 1 to 2^48 - 1. */
export const systemRandom: Random = {
  bytes: (length) => new Uint8Array(randomBytes(length)),
  below: (below) => randomInt(below),
};

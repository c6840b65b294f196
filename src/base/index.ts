/**
 * What everything stands on: ids, errors, results, sizes, durations, and the ports through which the rest meets the
 * machine (clock, random, commands, files, log). Nothing here has an effect.
 *
 * Rejected: a dependency-injection container (one typed object per part says what it needs), exceptions for expected
 * refusals (a refusal is a value that the caller must look at), Result for faults (a fault has no sensible local answer).
 */
export * from "./assert-never.ts";
export * from "./clock.ts";
export * from "./command-runner.ts";
export * from "./durations.ts";
export * from "./errors.ts";
export * from "./free-buffer.ts";
export * from "./ids.ts";
export * from "./ip.ts";
export * from "./logger.ts";
export * from "./random.ts";
export * from "./result.ts";
export * from "./sizes.ts";

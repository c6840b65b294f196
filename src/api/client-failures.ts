import { CcError } from "../base/index.ts";

/** Signed times are in whole seconds: so long at most until one is later than a peer's start. */
const NOT_BEFORE_MS_MAX = 1_100;

/** The peer's time in a refusal of a signed time, and how long to wait until it takes one; undefined for every other error. */
export function skewIn(error: unknown): { readonly timeMs: number; readonly waitMs: number } | undefined {
  if (!(error instanceof CcError) || error.code !== "CLOCK_SKEW") return undefined;
  const timeMs = Number(error.details["timeMs"] ?? Number.NaN);
  const notBeforeMs = Number(error.details["notBeforeS"] ?? 0) * 1_000;
  if (!Number.isFinite(timeMs) || !Number.isFinite(notBeforeMs)) return undefined;
  return { timeMs, waitMs: Math.min(NOT_BEFORE_MS_MAX, Math.max(0, notBeforeMs - timeMs)) };
}

/** What to say when no endpoint could be used. */
export function unreachable(failures: readonly { endpoint: string; error: CcError }[]): CcError {
  const first = failures[0];
  if (first === undefined) return new CcError("PEER_UNREACHABLE", "no peer answered; check CC_ENDPOINT_URL");
  if (failures.length === 1) return first.error;
  // A wrong mesh among dead peers is the more telling answer.
  const telling = failures.find(({ error }) => error.code !== "PEER_UNREACHABLE" && error.code !== "TIMEOUT") ?? first;
  return new CcError(telling.error.code, `none of ${failures.length} endpoints could be used: ${failures.map(({ error }) => error.message).join("; ")}`);
}

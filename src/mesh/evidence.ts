/** When missed probes become doubt, and doubt a word against a host. */
export const SUSPECT_MISSES = 2;
export const DOWN_MISSES = 3;
/** And so long after the first of them: a peer that is restarted within this is not taken for lost. */
const DOWN_MISSING_MS = 2_000;
/** Good probes in a row that end a word against a host: doubled with each time it came back within `FLAP_WINDOW_MS`. */
const GOOD_MAX = 8;
const FLAP_WINDOW_MS = 60_000;
const FLAPS_MAX = 8;

/** What this host's own probes say of another. Times are monotonic. */
export type Evidence = {
  /** Probes missed in a row, probes answered in a row. */
  readonly missed: number;
  readonly good: number;
  /** This host's own word: it holds the other unreachable. */
  readonly down: boolean;
  /** Last answer to a probe of ours; undefined: never. Then there is no word for it either. */
  readonly answeredAtMs: number | undefined;
  /** When the first of the probes missed in a row was given up. */
  readonly missingSinceMs: number | undefined;
  /** When it went down within the last minute, oldest first. */
  readonly wentDownAtMs: readonly number[];
};

export const NO_EVIDENCE: Evidence = { missed: 0, good: 0, down: false, answeredAtMs: undefined, missingSinceMs: undefined, wentDownAtMs: [] };

/** Good probes in a row that this host must show before it is believed again. */
export function goodNeeded(evidence: Evidence, nowMs: number): number {
  const flaps = evidence.wentDownAtMs.filter((atMs) => nowMs - atMs <= FLAP_WINDOW_MS).length;
  return Math.min(GOOD_MAX, 2 ** Math.max(0, flaps - 1));
}

/** A probe of ours was answered: a full round trip, so both directions work. */
export function probeAnswered(evidence: Evidence, nowMs: number): Evidence {
  const good = evidence.good + 1;
  const down = evidence.down && good < goodNeeded(evidence, nowMs);
  return { ...evidence, missed: 0, missingSinceMs: undefined, good, down, answeredAtMs: nowMs };
}

/**
 * A probe of ours was not answered. While this host withholds its judgement (its own loop stalled, it was suspended) the
 * miss is its own fault and counts for nothing.
 */
export function probeMissed(evidence: Evidence, nowMs: number, withholds: boolean): Evidence {
  if (withholds) return { ...evidence, missed: 0, missingSinceMs: undefined, good: 0 };
  const missed = evidence.missed + 1;
  const missingSinceMs = evidence.missingSinceMs ?? nowMs;
  if (evidence.down || missed < DOWN_MISSES || nowMs - missingSinceMs < DOWN_MISSING_MS) return { ...evidence, missed, missingSinceMs, good: 0 };
  const wentDownAtMs = [...evidence.wentDownAtMs.filter((atMs) => nowMs - atMs <= FLAP_WINDOW_MS), nowMs].slice(-FLAPS_MAX);
  return { ...evidence, missed, missingSinceMs, good: 0, down: true, wentDownAtMs };
}

/** It is a new process (a higher start number): what was held against the old one is void. */
export function restarted(evidence: Evidence): Evidence {
  return { ...evidence, missed: 0, missingSinceMs: undefined, down: false };
}

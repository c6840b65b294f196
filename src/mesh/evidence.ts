/** When missed probes become doubt, and doubt a word against a host. */
export const SUSPECT_MISSES = 2;
export const DOWN_MISSES = 3;
/** And nothing at all was heard for so long: a peer that is restarted within this is not taken for lost. */
export const DOWN_SILENCE_MS = 3_000;
/** Good probes in a row that end a word against a host: doubled with each time it came back within `FLAP_WINDOW_MS`. */
const GOOD_MAX = 8;
export const FLAP_WINDOW_MS = 60_000;
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
  /** Since when silence counts: the last answer, or the start of watching. */
  readonly silentSinceMs: number;
  /** When it went down within the last minute, oldest first. */
  readonly wentDownAtMs: readonly number[];
};

export function freshEvidence(nowMs: number): Evidence {
  return { missed: 0, good: 0, down: false, answeredAtMs: undefined, silentSinceMs: nowMs, wentDownAtMs: [] };
}

/** Good probes in a row that this host must show before it is believed again. */
export function goodNeeded(evidence: Evidence, nowMs: number): number {
  const flaps = evidence.wentDownAtMs.filter((atMs) => nowMs - atMs <= FLAP_WINDOW_MS).length;
  return Math.min(GOOD_MAX, 2 ** Math.max(0, flaps - 1));
}

/** A probe of ours was answered: a full round trip, so both directions work. */
export function probeAnswered(evidence: Evidence, nowMs: number): Evidence {
  const good = evidence.good + 1;
  const down = evidence.down && good < goodNeeded(evidence, nowMs);
  return { ...evidence, missed: 0, good, down, answeredAtMs: nowMs, silentSinceMs: nowMs };
}

/**
 * A probe of ours was not answered. While this host withholds its judgement (its own loop stalled, it was suspended) the
 * miss is its own fault and counts for nothing.
 */
export function probeMissed(evidence: Evidence, nowMs: number, withholds: boolean): Evidence {
  if (withholds) return { ...evidence, missed: 0, good: 0 };
  const missed = evidence.missed + 1;
  const silentMs = nowMs - evidence.silentSinceMs;
  if (evidence.down || missed < DOWN_MISSES || silentMs < DOWN_SILENCE_MS) return { ...evidence, missed, good: 0 };
  const wentDownAtMs = [...evidence.wentDownAtMs.filter((atMs) => nowMs - atMs <= FLAP_WINDOW_MS), nowMs].slice(-FLAPS_MAX);
  return { ...evidence, missed, good: 0, down: true, wentDownAtMs };
}

/** It is a new process (a higher start number): what was held against the old one is void. */
export function restarted(evidence: Evidence, nowMs: number): Evidence {
  return { ...evidence, missed: 0, down: false, silentSinceMs: nowMs };
}

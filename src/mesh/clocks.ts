/**
 * Clocks of the mesh: offsets from round trips (Cristian's algorithm, with NTP's filter of the shortest round trip) and
 * the lower median of them. Nothing here trusts a clock to be right; only that most are.
 */

/** One round trip: `offsetMs` is what to add to this host's clock to get the other's, wrong by at most half of `roundTripMs`. */
export type ClockSample = { readonly offsetMs: number; readonly roundTripMs: number; readonly atMs: number };

/** Samples kept per peer. With a probe every 2 s: the last 16 s. */
const SAMPLES_MAX = 8;
/** Older samples say nothing: crystals drift 0.1 ms in this time, but a clock may have been set. */
const SAMPLE_AGE_MAX_MS = 60_000;
/** A sample this far from the best one, and beyond what its round trip explains, means that a clock was set. */
const STEP_MS = 500;

/**
 * From one round trip. `sentAtMs` and `roundTripMs` are of this host, monotonic time for the latter; `theirTimeMs` is the
 * other's wall clock when it answered; `receivedAtMs` this host's wall clock when the answer came.
 */
export function clockSample(theirTimeMs: number, receivedAtMs: number, roundTripMs: number, atMs: number): ClockSample {
  return { offsetMs: theirTimeMs - (receivedAtMs - roundTripMs / 2), roundTripMs, atMs };
}

/** Adds a sample, drops old and surplus ones. A step of either clock makes all earlier samples void. `atMs` is monotonic. */
export function addSample(samples: readonly ClockSample[], next: ClockSample): readonly ClockSample[] {
  const fresh = samples.filter((sample) => next.atMs - sample.atMs <= SAMPLE_AGE_MAX_MS);
  const best = bestOffsetMs(fresh);
  const stepped = best !== undefined && Math.abs(next.offsetMs - best) > STEP_MS + next.roundTripMs / 2;
  return stepped ? [next] : [...fresh, next].slice(-SAMPLES_MAX);
}

/** The offset of the sample with the shortest round trip: the least was lost in queues. */
export function bestOffsetMs(samples: readonly ClockSample[]): number | undefined {
  let best: ClockSample | undefined;
  for (const sample of samples) if (best === undefined || sample.roundTripMs < best.roundTripMs) best = sample;
  return best?.offsetMs;
}

/** The lower median: of an even number the lower of the two middle ones, so that of two hosts both choose the same clock. */
export function lowerMedian(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

/** What to add to this host's clock, given the offsets of the other reachable hosts. Own offset, 0, takes part. */
export function medianOffsetMs(offsetsMs: readonly number[]): number {
  return lowerMedian([0, ...offsetsMs]);
}

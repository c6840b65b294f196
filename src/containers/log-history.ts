/**
 * The kept history of one container's output, as plan. The raw log is one long line of bytes, its position counted from
 * the first byte ever written; it lies in segments (files named by the position of their first byte), of which the
 * front is cut away. Positions never change, whatever is rotated or restarted.
 */
export type Segment = { readonly base: number; readonly sizeBytes: number };
export type HistoryLimits = { readonly logFileBytes: number; readonly logFiles: number };

/**
 * conmon throws its log away when that has reached its size limit, so each log is also linked under its own name and
 * its front cut away by us. The limit is what stops a container while the peer is away: at most this much, and the user's own
 * limit, is added to what was there. Below 32 MiB conmon (measured: 100 MB/s) could fill two logs between two looks.
 */
const SEGMENT_BYTES_MIN = 32 * 1024 ** 2;

export function segmentBytesMax(limits: HistoryLimits): number {
  return Math.max(SEGMENT_BYTES_MIN, limits.logFileBytes * limits.logFiles);
}

export function endOf(segments: readonly Segment[]): number {
  const last = segments.at(-1);
  return last === undefined ? 0 : last.base + last.sizeBytes;
}

/**
 * Where the history begins after the oldest part has gone, or `oldest` itself while all of it fits. Parts are
 * `logFileBytes` long, so that cutting is rare and a burst of lines does not cut at each of them.
 */
export function planOldest(end: number, oldest: number, limits: HistoryLimits): number {
  const { logFileBytes, logFiles } = limits;
  if (end - oldest <= logFileBytes * logFiles) return oldest;
  return Math.max(oldest, (Math.floor(end / logFileBytes) - (logFiles - 1)) * logFileBytes);
}

/** A segment's file name: sorts as its position does. */
export function segmentName(base: number): string {
  return base.toString().padStart(16, "0");
}

export function segmentBase(name: string): number | undefined {
  return /^\d{16}$/.test(name) ? Number(name) : undefined;
}

/** A new run goes on in the last segment while that is less than half full: a crash loop would leave a file a run. */
export function continuesSegment(last: Segment | undefined, limits: HistoryLimits): boolean {
  return last !== undefined && last.sizeBytes < segmentBytesMax(limits) / 2;
}

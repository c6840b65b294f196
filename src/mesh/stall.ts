/** A timer this late means that this process did not run: its event loop stalled. A probe's time limit is twice that. */
const STALL_MS = 500;
/** Wall time that went on this much further than monotonic time: the machine was suspended (or its clock was set). */
const SUSPENDED_MS = 2_000;

/** Two looks at both clocks. */
export type ClockReading = { readonly wallMs: number; readonly monotonicMs: number };

/**
 * Whether this process did not run for a while: `dueAtMs` is when (monotonic) it should have looked again. On Linux the
 * monotonic clock stands still while the machine is suspended, so the wall clock is asked too; that a clock which was
 * set looks the same costs a few seconds of withheld judgement.
 */
export function didStall(before: ClockReading, now: ClockReading, dueAtMs: number): boolean {
  const lateMs = now.monotonicMs - dueAtMs;
  const sleptMs = now.wallMs - before.wallMs - (now.monotonicMs - before.monotonicMs);
  return lateMs > STALL_MS || sleptMs > SUSPENDED_MS;
}

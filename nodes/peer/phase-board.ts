import type { ContainerId, ErrorCode } from "../../src/base/index.ts";

/** What this host's own container is doing, at once, before any record says so. Times are wall clock, 0: not yet. */
export type PhaseNow = {
  readonly phase: string;
  readonly exitCode: number | undefined;
  readonly reason: string;
  readonly failure: ErrorCode | undefined;
  readonly startedAtMs: number;
  /** What the wait is for (`pulling 3 of 10 MiB`), for people; empty where there is nothing to say. */
  readonly progress: string;
};

export interface PhaseBoard {
  of(id: ContainerId): PhaseNow | undefined;
  /** A container that is gone keeps how it ended, for whoever was attached to it; the oldest of these are forgotten. */
  set(id: ContainerId, now: PhaseNow): void;
  /** Resolves with the first state that fits, now or later. Throws the signal's reason. */
  until(id: ContainerId, fits: (now: PhaseNow) => boolean, signal: AbortSignal): Promise<PhaseNow>;
}

const GONE_MAX = 1_024;

/** In memory only: made anew from the runtime and the records when the peer returns. */
export function createPhaseBoard(): PhaseBoard {
  const states = new Map<ContainerId, PhaseNow>();
  const waiting = new Map<ContainerId, Set<(now: PhaseNow) => void>>();
  const gone = new Set<ContainerId>();
  return {
    of: (id) => states.get(id),
    set(id, now) {
      const before = states.get(id);
      const kept = now.phase === "gone" && before !== undefined ? { ...before, phase: "gone" } : now;
      states.set(id, kept);
      if (now.phase === "gone") gone.add(id);
      if (gone.size > GONE_MAX)
        for (const oldest of gone) {
          gone.delete(oldest);
          states.delete(oldest);
          break;
        }
      for (const listener of [...(waiting.get(id) ?? [])]) listener(kept);
    },
    until: (id, fits, signal) =>
      new Promise((resolve, reject) => {
        const known = states.get(id);
        if (known !== undefined && fits(known)) return resolve(known);
        if (signal.aborted) return reject(signal.reason);
        const listeners = waiting.get(id) ?? new Set();
        waiting.set(id, listeners);
        const done = (finish: () => void): void => {
          listeners.delete(listener);
          if (listeners.size === 0) waiting.delete(id);
          signal.removeEventListener("abort", onAbort);
          finish();
        };
        const listener = (now: PhaseNow): void => {
          if (fits(now)) done(() => resolve(now));
        };
        const onAbort = (): void => done(() => reject(signal.reason));
        listeners.add(listener);
        signal.addEventListener("abort", onAbort, { once: true });
      }),
  };
}

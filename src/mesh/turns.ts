import { CcError } from "../base/index.ts";

export type Turns = {
  /** Resolves with the function that gives the turn back. Throws RATE_LIMITED when too many wait, or the signal's reason. */
  take(signal: AbortSignal): Promise<() => void>;
};

/** At most `atOnceMax` turns given out, at most `waitingMax` waiting, first come first served. */
export function createTurns(atOnceMax: number, waitingMax: number): Turns {
  let taken = 0;
  const waiting = new Set<() => void>();

  const give = (): (() => void) => {
    let given = true;
    return () => {
      if (!given) return;
      given = false;
      const [next] = waiting;
      if (next === undefined) taken -= 1;
      else next(); // the turn passes on: `taken` stays
    };
  };

  return {
    take(signal) {
      if (signal.aborted) return Promise.reject(signal.reason);
      if (taken < atOnceMax) {
        taken += 1;
        return Promise.resolve(give());
      }
      if (waiting.size >= waitingMax) return Promise.reject(new CcError("RATE_LIMITED", `${waiting.size} calls to this peer wait already`));
      return new Promise((resolve, reject) => {
        const onAbort = (): void => {
          waiting.delete(onTurn);
          reject(signal.reason);
        };
        const onTurn = (): void => {
          waiting.delete(onTurn);
          signal.removeEventListener("abort", onAbort);
          resolve(give());
        };
        waiting.add(onTurn);
        signal.addEventListener("abort", onAbort, { once: true });
      });
    },
  };
}

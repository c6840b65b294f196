/** Time as a port: the real one reads the machine, the simulator's is stepped by its event queue. */
export interface Clock {
  /** Wall-clock time, milliseconds since the epoch. May jump. */
  nowMs(): number;
  /** Never goes back; counts from an arbitrary start. For measuring how long something took. */
  monotonicMs(): number;
  /** Calls `fire` once after `delayMs`. Gives a function that cancels it. */
  after(delayMs: number, fire: () => void): () => void;
}

/** Resolves after `delayMs`; rejects with the signal's reason when it is aborted first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** A signal that aborts after `delayMs` with a TimeoutError, or with `parent`; `dispose` frees the timer. */
export function deadline(clock: Clock, delayMs: number, parent?: AbortSignal): { signal: AbortSignal; dispose: () => void } {
  const controller = new AbortController();
  const onParent = (): void => controller.abort(parent?.reason);
  if (parent?.aborted === true) controller.abort(parent.reason);
  else parent?.addEventListener("abort", onParent, { once: true });
  const cancel = clock.after(delayMs, () => controller.abort(new DOMException(`no answer within ${delayMs} ms`, "TimeoutError")));
  return {
    signal: controller.signal,
    dispose: () => {
      cancel();
      parent?.removeEventListener("abort", onParent);
    },
  };
}

/** One piece of work that several callers wait for. */
type Shared<T, P> = {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  readonly listeners: Set<(progress: P) => void>;
  waiters: number;
};

/**
 * Work by key, done once however many ask at the same time. A caller that aborts leaves (its promise rejects with its
 * signal's reason); with the last one the work's own signal aborts, and that caller waits until it has cleaned up.
 * Who comes while aborted work still cleans up waits for that and begins anew. Nothing is kept once the work is done.
 */
export class SharedWork<T, P> {
  readonly #running = new Map<string, Shared<T, P>>();

  async join(
    key: string,
    options: { readonly signal: AbortSignal; readonly onProgress?: ((progress: P) => void) | undefined },
    work: (signal: AbortSignal, report: (progress: P) => void) => Promise<T>,
  ): Promise<T> {
    const { signal, onProgress } = options;
    for (let ending = this.#running.get(key); ending?.controller.signal.aborted === true; ending = this.#running.get(key)) {
      await ending.promise.catch(() => undefined);
    }
    signal.throwIfAborted();
    const shared = this.#running.get(key) ?? this.#begin(key, work);
    shared.waiters += 1;
    if (onProgress !== undefined) shared.listeners.add(onProgress);
    try {
      return await this.#wait(shared, signal);
    } finally {
      if (onProgress !== undefined) shared.listeners.delete(onProgress);
    }
  }

  #begin(key: string, work: (signal: AbortSignal, report: (progress: P) => void) => Promise<T>): Shared<T, P> {
    const controller = new AbortController();
    const listeners = new Set<(progress: P) => void>();
    const report = (progress: P): void => {
      for (const listener of listeners) listener(progress);
    };
    // Not before the caller listens: the first progress would be lost.
    const promise = Promise.resolve()
      .then(() => work(controller.signal, report))
      .finally(() => this.#running.delete(key));
    // Callers see the failure through their own wait; when all have left, nobody is there to be told.
    promise.catch(() => undefined);
    const shared: Shared<T, P> = { promise, controller, listeners, waiters: 0 };
    this.#running.set(key, shared);
    return shared;
  }

  #wait(shared: Shared<T, P>, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        shared.waiters -= 1;
        if (shared.waiters > 0) return reject(signal.reason);
        shared.controller.abort(signal.reason);
        const leave = (): void => reject(signal.reason);
        shared.promise.then(leave, leave);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      const settle = (): void => signal.removeEventListener("abort", onAbort);
      shared.promise.then(
        (value) => {
          settle();
          resolve(value);
        },
        (error: unknown) => {
          settle();
          reject(error);
        },
      );
    });
  }
}

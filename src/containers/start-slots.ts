/** How many containers may be in the middle of a start at once; the others wait in order. */
export class StartSlots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Resolves with the function that gives the slot back. Rejects with the signal's reason. */
  take(signal: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const enter = (): void => {
        signal.removeEventListener("abort", onAbort);
        this.#free -= 1;
        let given = false;
        resolve(() => {
          if (given) return;
          given = true;
          this.#free += 1;
          this.#waiting.shift()?.();
        });
      };
      const onAbort = (): void => {
        const at = this.#waiting.indexOf(enter);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal.reason);
      };
      if (this.#free > 0) return enter();
      this.#waiting.push(enter);
      signal.addEventListener("abort", onAbort, { once: true });
      return undefined;
    });
  }
}

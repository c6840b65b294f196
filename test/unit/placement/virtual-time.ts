import type { Clock, Random } from "../../../src/base/index.ts";

export function seeded(seed: number): Random {
  let state = seed >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
  return { bytes: (length) => Uint8Array.from({ length }, () => next() & 255), below: (below) => next() % below };
}

export class VirtualTime {
  nowMs = 0;
  #timers: { atMs: number; order: number; fire: () => void }[] = [];
  #order = 0;

  clock(wallOffsetMs = 0): Clock {
    return { nowMs: () => 1_700_000_000_000 + this.nowMs + wallOffsetMs, monotonicMs: () => this.nowMs, after: (delayMs, fire) => this.after(delayMs, fire) };
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Lets time pass until `promise` is settled. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    const watched = promise.finally(() => {
      done = true;
    });
    watched.catch(() => undefined);
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (done) return watched;
      let next = this.#timers[0];
      for (const timer of this.#timers)
        if (next === undefined || timer.atMs < next.atMs || (timer.atMs === next.atMs && timer.order < next.order)) next = timer;
      if (next === undefined) throw new Error("stuck: nothing is waiting for time");
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.fire();
    }
  }

  pass(ms: number): Promise<void> {
    return this.settle(this.sleep(ms));
  }
}

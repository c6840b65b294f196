import type { Clock } from "../../src/base/index.ts";

/** The world's start in virtual time: an arbitrary fixed instant, so that histories print alike. */
export const WORLD_START_MS = Date.UTC(2030, 0, 1);

type Event = { readonly atMs: number; readonly order: number; fire: (() => void) | undefined };

/**
 * Virtual time: a queue of events ordered by time, then by when they were made. One event runs to its end, with every
 * promise that it resolves, before the next: so a seed gives one history.
 */
export class Timeline {
  nowMs = 0;
  fired = 0;
  readonly #heap: Event[] = [];
  #order = 0;

  after(delayMs: number, fire: () => void): () => void {
    const event: Event = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order, fire };
    this.#order += 1;
    this.#push(event);
    return () => {
      event.fire = undefined;
    };
  }

  /** Runs events until `untilMs` (virtual, from the world's start) or until none is left. */
  async runUntil(untilMs: number): Promise<void> {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) break;
      this.#pop();
      if (next.fire === undefined) continue;
      this.nowMs = next.atMs;
      this.fired += 1;
      next.fire();
      await settled();
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    heap.push(event);
    let at = heap.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(heap[at], heap[parent])) break;
      swap(heap, at, parent);
      at = parent;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (heap.length === 0 || last === undefined) return;
    heap[0] = last;
    let at = 0;
    for (;;) {
      const left = at * 2 + 1;
      const right = left + 1;
      let least = at;
      if (left < heap.length && before(heap[left], heap[least])) least = left;
      if (right < heap.length && before(heap[right], heap[least])) least = right;
      if (least === at) return;
      swap(heap, at, least);
      at = least;
    }
  }
}

function before(a: Event | undefined, b: Event | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function swap(heap: Event[], i: number, j: number): void {
  const a = heap[i];
  const b = heap[j];
  if (a === undefined || b === undefined) return;
  heap[i] = b;
  heap[j] = a;
}

/** Resolves when all promises that are resolved by now have run their reactions: real time stands still for the world. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * One life of one host's clock: a skewed wall clock, and timers that end with the life. A suspended or slow host's
 * timers fire late, all together.
 */
export class HostClock implements Clock {
  skewMs = 0;
  /** Virtual time until which this host's event loop stands still. */
  stalledUntilMs = 0;
  readonly #timeline: Timeline;
  #alive = true;

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  nowMs(): number {
    return WORLD_START_MS + this.#timeline.nowMs + this.skewMs;
  }

  monotonicMs(): number {
    return this.#timeline.nowMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    let cancel = this.#timeline.after(delayMs, () => run());
    const run = (): void => {
      if (!this.#alive) return;
      const lateMs = this.stalledUntilMs - this.#timeline.nowMs;
      if (lateMs > 0) cancel = this.#timeline.after(lateMs, run);
      else fire();
    };
    return () => cancel();
  }

  /** Ends this life: nothing that it planned happens any more. */
  die(): void {
    this.#alive = false;
  }

  get alive(): boolean {
    return this.#alive;
  }
}

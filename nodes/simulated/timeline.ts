import type { Clock } from "../../src/base/index.ts";

/** The world's start in virtual time: an arbitrary fixed instant, so that histories print alike. */
const WORLD_START_MS = Date.UTC(2030, 0, 1);

/** Events that fire in one round of the process's own event loop. */
const TURNS_PER_ROUND = 64;

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

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Lets time pass until `isDone`. Gives false when nothing is left that could happen, or `untilMs` is reached before. */
  run(isDone: () => boolean, untilMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const turn = (): void => {
        if (isOver) return;
        try {
          const ended = this.#turn(isDone, untilMs);
          if (ended === undefined) return;
          isOver = true;
          resolve(ended);
        } catch (error) {
          isOver = true;
          reject(error);
        }
      };
      // Between two immediates all promises that are resolved by then run their reactions; real time stands still for the
      // world. Many at once: a round of the process's event loop costs more than a turn does.
      const plan = (): void => {
        if (isOver) return;
        for (let turns = 0; turns < TURNS_PER_ROUND; turns += 1) setImmediate(turn);
        setImmediate(plan);
      };
      plan();
    });
  }

  /** Fires the next event. Undefined: there may be more to come; otherwise what `run` gives. */
  #turn(isDone: () => boolean, untilMs: number): boolean | undefined {
    if (isDone()) return true;
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= untilMs; next = this.#heap[0]) {
      this.#pop();
      if (next.fire === undefined) continue;
      this.nowMs = next.atMs;
      this.fired += 1;
      next.fire();
      return undefined;
    }
    return false;
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

/** What a machine's clocks are like, whoever runs on it. */
export class MachineTime {
  /** Somebody has set this clock back. */
  wentBack = false;
  readonly #timeline: Timeline;
  #skewMs = 0;
  /** Monotonic clocks of two machines have nothing to do with each other. */
  readonly #monotonicBaseMs: number;
  #stalledUntilMs = 0;
  /** The monotonic clock stood still for so long, the last time not counted. */
  #sleptMs = 0;
  #asleepSinceMs = 0;
  #asleepUntilMs = 0;
  /** What is to happen when it goes on. */
  readonly #waiting = new Set<() => void>();

  constructor(timeline: Timeline, monotonicBaseMs: number) {
    this.#timeline = timeline;
    this.#monotonicBaseMs = monotonicBaseMs;
  }

  /** Wall clock minus the world's. */
  get skewMs(): number {
    return this.#skewMs;
  }

  set skewMs(ms: number) {
    if (ms < this.#skewMs) this.wentBack = true;
    this.#skewMs = ms;
  }

  get wallMs(): number {
    return WORLD_START_MS + this.#timeline.nowMs + this.skewMs;
  }

  get monotonicMs(): number {
    return this.#monotonicBaseMs + this.#timeline.nowMs - this.#sleptMs - this.#lastSleepMs;
  }

  /** Virtual time until which nothing runs here: a slow event loop, or a suspended machine. */
  get stalledUntilMs(): number {
    return this.#stalledUntilMs;
  }

  /** The event loop stands still; all clocks go on. */
  stall(ms: number): void {
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, this.#timeline.nowMs + ms);
  }

  /** Linux's monotonic clock stands still while a machine is suspended; the wall clock has gone on when it wakes. */
  suspend(ms: number): void {
    const { nowMs } = this.#timeline;
    if (this.#asleepUntilMs <= nowMs) {
      this.#sleptMs += this.#lastSleepMs;
      this.#asleepSinceMs = nowMs;
      this.#asleepUntilMs = nowMs;
    }
    this.stall(ms);
    this.#asleepUntilMs = Math.max(this.#asleepUntilMs, nowMs + ms);
  }

  /** It goes on now, however long it was to stand still. */
  wake(): void {
    const { nowMs } = this.#timeline;
    this.#stalledUntilMs = Math.min(this.#stalledUntilMs, nowMs);
    this.#asleepUntilMs = Math.min(this.#asleepUntilMs, nowMs);
    for (const go of this.#waiting) this.#timeline.after(0, go);
  }

  /** Calls `fire` when it goes on. Gives what forgets that. */
  whenAwake(fire: () => void): () => void {
    const go = (): void => {
      if (!this.#waiting.delete(go)) return;
      cancel();
      fire();
    };
    const cancel = this.#timeline.after(this.#stalledUntilMs - this.#timeline.nowMs, go);
    this.#waiting.add(go);
    return () => {
      this.#waiting.delete(go);
      cancel();
    };
  }

  get #lastSleepMs(): number {
    return Math.min(this.#timeline.nowMs, this.#asleepUntilMs) - this.#asleepSinceMs;
  }
}

/** One life of one host's clock: timers end with the life; those of a suspended or slow host fire late, all together. */
export class HostClock implements Clock {
  readonly #timeline: Timeline;
  readonly #machine: MachineTime;
  #alive = true;

  constructor(timeline: Timeline, machine: MachineTime) {
    this.#timeline = timeline;
    this.#machine = machine;
  }

  nowMs(): number {
    return this.#machine.wallMs;
  }

  monotonicMs(): number {
    return this.#machine.monotonicMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    const dueMs = this.monotonicMs() + Math.max(0, delayMs);
    const run = (): void => {
      if (!this.#alive) return;
      const waitMs = dueMs - this.monotonicMs();
      if (this.#machine.stalledUntilMs - this.#timeline.nowMs > 1e-6) cancel = this.#machine.whenAwake(run);
      else if (waitMs > 1e-6) cancel = this.#timeline.after(waitMs, run);
      else fire();
    };
    let cancel = this.#timeline.after(delayMs, run);
    return () => cancel();
  }

  /** Runs what came from outside: at once, or when this host's loop goes on. */
  deliver(fire: () => void): void {
    if (!this.#alive) return;
    if (this.#machine.stalledUntilMs > this.#timeline.nowMs) this.#machine.whenAwake(() => this.deliver(fire));
    else fire();
  }

  /** Ends this life: nothing that it planned happens any more. */
  die(): void {
    this.#alive = false;
  }

  get alive(): boolean {
    return this.#alive;
  }
}

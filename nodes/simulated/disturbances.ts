import type { Timeline } from "./timeline.ts";

/** Times during which something was broken. */
export class Disturbances {
  readonly #timeline: Timeline;
  readonly #all: { readonly sinceMs: number; untilMs: number }[] = [];

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  /** Something is broken from now on, until the function that this gives is called. */
  begin(): () => void {
    const disturbance = { sinceMs: this.#timeline.nowMs, untilMs: Number.POSITIVE_INFINITY };
    this.#all.push(disturbance);
    return () => {
      disturbance.untilMs = this.#timeline.nowMs;
    };
  }

  overlap(fromMs: number, toMs: number): boolean {
    return this.#all.some(({ sinceMs, untilMs }) => sinceMs <= toMs && untilMs >= fromMs);
  }
}

import type { Logger, PeerId } from "../base/index.ts";

const SAY_AGAIN_MS = 60_000;

/** Says in the log that a neighbour sent what broke the rules: now and then, for it may go on for hours. */
export class DropTeller {
  readonly #log: Logger;
  #saidAtMs = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  say(from: PeerId, drops: Readonly<Record<string, number>>, nowMs: number): void {
    if (Math.abs(nowMs - this.#saidAtMs) < SAY_AGAIN_MS) return;
    this.#saidAtMs = nowMs;
    this.#log.warn({ from, dropped: drops }, "records that broke the rules came from a neighbour and were dropped");
  }
}

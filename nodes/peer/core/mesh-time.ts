import { type Clock, sleep } from "../../../src/base/index.ts";
import type { Liveness } from "../../../src/mesh/index.ts";

/** A wall clock that went this much further than the monotonic one was set, or its machine slept. */
const STEP_MS = 2_000;
/** So long after a step the neighbours' clocks are asked anew: two rounds of probes. */
const UNSURE_MS = 3_000;
const LOOK_MS = 1_000;
/** A neighbour that is there has been read by then. */
const WAIT_MS_MAX = 3_500;
const AGAIN_MS = 50;

/** The time that requests and stamps are judged by: the median of the reachable hosts' clocks, not this host's alone. */
export type MeshTime = {
  nowMs(): number;
  /** When this peer started, by the mesh's time. */
  startedAtMs(): number;
  /**
   * False until a neighbour's clock has been read, and for a moment after this machine's own was set or it slept: what is
   * stamped then could lie a day ahead, and would wait for a day.
   */
  isSure(): boolean;
  /** Resolves when it is sure, or when it will not become so within a few seconds. */
  untilSure(): Promise<void>;
  stop(): void;
};

export function createMeshTime(clock: Clock, liveness: Pick<Liveness, "medianOffsetMs" | "all">): MeshTime {
  const startedAtMonotonicMs = clock.monotonicMs();
  const gap = (): number => clock.nowMs() - clock.monotonicMs();
  let lastGapMs = gap();
  let unsureUntilMs = Number.NEGATIVE_INFINITY;
  const look = (): void => {
    const gapMs = gap();
    if (Math.abs(gapMs - lastGapMs) > STEP_MS) unsureUntilMs = clock.monotonicMs() + UNSURE_MS;
    lastGapMs = gapMs;
  };
  const tick = (): void => {
    look();
    cancel = clock.after(LOOK_MS, tick);
  };
  let cancel = clock.after(LOOK_MS, tick);
  const nowMs = (): number => clock.nowMs() + liveness.medianOffsetMs();
  const isSure = (): boolean => {
    look();
    const neighbours = liveness.all().filter(({ standing }) => standing !== "unreachable");
    // Alone there is no better clock than one's own.
    if (neighbours.length === 0) return true;
    return clock.monotonicMs() >= unsureUntilMs && neighbours.some(({ clockOffsetMs }) => clockOffsetMs !== undefined);
  };
  return {
    nowMs,
    startedAtMs: () => nowMs() - (clock.monotonicMs() - startedAtMonotonicMs),
    isSure,
    async untilSure() {
      for (const endMs = clock.monotonicMs() + WAIT_MS_MAX; !isSure() && clock.monotonicMs() < endMs; ) await sleep(clock, AGAIN_MS);
    },
    stop: () => cancel(),
  };
}

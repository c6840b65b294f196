import type { Found } from "./runtime.ts";
import { backoffMs, planStop, planSupervision, type StopStep } from "./supervision.ts";
import type { Desired, PhaseReport } from "./supervisor-ports.ts";

/** What a worker remembers of its container; all of it may be lost with the process. Times are the monotonic clock's. */
export type WorkerMemory = {
  /** When a stop was asked for and when KILL was sent last. */
  readonly stopAskedAtMs: number | undefined;
  readonly killedAtMs: number | undefined;
  /** Since when it has been seen not to run. */
  readonly idleSinceMs: number | undefined;
  readonly settled: boolean;
  /** Runs in a row that ended before they were steady. */
  readonly shortRuns: number;
  /** The last start that failed, by token: how often in a row, whether another try makes sense. */
  readonly failure: { readonly runToken: string; readonly count: number; readonly atMs: number; readonly retry: boolean } | undefined;
};

export const FRESH_MEMORY: WorkerMemory = {
  stopAskedAtMs: undefined,
  killedAtMs: undefined,
  idleSinceMs: undefined,
  settled: false,
  shortRuns: 0,
  failure: undefined,
};

export type ContainerStep =
  | { readonly kind: "start"; readonly runToken: string; readonly shortRuns: number }
  | { readonly kind: "watch" }
  | { readonly kind: "stop"; readonly step: StopStep }
  | { readonly kind: "settle" }
  | { readonly kind: "remove"; readonly as: "gone" | "yielded" }
  /** Nothing to do for so long, or before something changes. */
  | { readonly kind: "wait"; readonly why: "backoff" | "ended" | "failed" | "removed"; readonly forMs: number | undefined };

/** Output that somebody still reads keeps a container that removes itself, at most this long. */
const READERS_MS_MAX = 600_000;
/** Who started it with `--rm` gets this long to begin reading what it wrote. */
const REMOVE_GRACE_MS = 5_000;
const READERS_LOOK_MS = 1_000;

export type PlanInput = {
  readonly desired: Desired;
  readonly found: Found;
  readonly memory: WorkerMemory;
  readonly last: PhaseReport | undefined;
  readonly readers: number;
  /** Wall clock, which may be set while a wait lasts, and monotonic, which knows this process's life only. */
  readonly nowMs: number;
  readonly monotonicMs: number;
};

/** The next thing to do for a container: level-triggered, the same input gives the same step, done things are not done again. */
export function planContainer(input: PlanInput): ContainerStep {
  const { desired, found, last } = input;
  const { wanted } = desired;
  // Gone is final: ids are never used again, whatever the records still say until they have caught up.
  if (found.kind === "absent" && last?.phase === "gone") return { kind: "wait", why: "removed", forMs: undefined };
  switch (wanted.kind) {
    case "removed":
      if (found.kind === "running" && wanted.timeoutMs > 0) return stopStep(input, wanted.timeoutMs);
      if (found.kind === "absent" && last?.phase === wanted.as) return { kind: "wait", why: "removed", forMs: undefined };
      return { kind: "remove", as: wanted.as };
    case "stopped":
      if (found.kind === "running") return stopStep(input, wanted.timeoutMs ?? desired.spec.stopTimeoutMs);
      // Once: what a start cut short has left stays half until it is removed or started again.
      if ((found.kind === "half" || found.kind === "ended") && !input.memory.settled) return { kind: "settle" };
      if (desired.spec.removeWhenEnded) return removeWhenRead(input, found.kind === "ended" ? (found.exit?.endedAtMs ?? 0) : 0);
      return { kind: "wait", why: "ended", forMs: undefined };
    case "running":
      return planRunning(input, wanted.runToken);
  }
}

function planRunning(input: PlanInput, token: string): ContainerStep {
  const { desired, found, memory, last, monotonicMs } = input;
  const { failure } = memory;
  if (found.kind === "running") {
    return runOf(found.runToken).token === token ? { kind: "watch" } : stopStep(input, desired.spec.stopTimeoutMs);
  }
  if (failure !== undefined && runOf(failure.runToken).token === token) {
    if (!failure.retry) return planFailed(input);
    const forMs = failure.atMs + backoffMs(failure.count - 1) - monotonicMs;
    return forMs > 0 ? { kind: "wait", why: "backoff", forMs } : { kind: "start", runToken: failure.runToken, shortRuns: memory.shortRuns };
  }
  const answered = last !== undefined && runOf(last.runToken).token === token ? last : undefined;
  if (answered?.phase === "failed") return planFailed(input);
  if (found.kind === "ended" && runOf(found.runToken).token === token) return planEnded(input, runOf(found.runToken).restarts, found.exit, found.startedAtMs);
  // Its disk is gone with all that it knew. What had ended stays ended; what ran was lost, and its policy says what then.
  if (found.kind === "absent" && answered !== undefined && answered.startedAtMs > 0) {
    if (answered.phase === "ended") return planKept(input, answered.endedAtMs);
    return planEnded(input, answered.restarts, undefined, answered.startedAtMs);
  }
  return { kind: "start", runToken: tokenOf(token, answered?.restarts ?? 0), shortRuns: memory.shortRuns };
}

/** What an earlier run has left is freed before nothing more is done. */
function planFailed({ found, memory }: PlanInput): ContainerStep {
  return found.kind === "ended" && !memory.settled ? { kind: "settle" } : { kind: "wait", why: "failed", forMs: undefined };
}

function planEnded(input: PlanInput, restarts: number, exit: Extract<Found, { kind: "ended" }>["exit"], startedAtMs: number): ContainerStep {
  const { desired, memory, last, nowMs } = input;
  const wanted = desired.wanted;
  if (wanted.kind !== "running") return { kind: "wait", why: "ended", forMs: undefined };
  // Unseen ends have no time of their own: the first report of it, else now.
  const endedAtMs = exit?.endedAtMs ?? (last?.endedAtMs !== undefined && last.endedAtMs > 0 ? last.endedAtMs : nowMs);
  const plan = planSupervision({ policy: desired.spec.restart, exit, startedAtMs, endedAtMs, shortRuns: memory.shortRuns });
  if (plan.kind === "stay-ended") return memory.settled ? planKept(input, endedAtMs) : { kind: "settle" };
  const forMs = leftMs(input, endedAtMs, plan.afterMs);
  if (forMs > 0) return { kind: "wait", why: "backoff", forMs };
  return { kind: "start", runToken: tokenOf(wanted.runToken, restarts + 1), shortRuns: plan.shortRuns };
}

/** A container that ended by itself is kept for a while, then removes itself. */
function planKept(input: PlanInput, endedAtMs: number): ContainerStep {
  const { spec } = input.desired;
  if (spec.removeWhenEnded) return removeWhenRead(input, endedAtMs);
  const forMs = leftMs(input, endedAtMs, spec.keepEndedMs);
  return forMs > 0 ? { kind: "wait", why: "ended", forMs } : { kind: "remove", as: "gone" };
}

function removeWhenRead(input: PlanInput, endedAtMs: number): ContainerStep {
  const graceMs = leftMs(input, endedAtMs, REMOVE_GRACE_MS);
  if (graceMs > 0) return { kind: "wait", why: "ended", forMs: graceMs };
  if (input.readers > 0 && leftMs(input, endedAtMs, READERS_MS_MAX) > 0) return { kind: "wait", why: "ended", forMs: READERS_LOOK_MS };
  return { kind: "remove", as: "gone" };
}

/** What is left of a time that began with the end: by the wall clock, which outlives the process, unless that was set back meanwhile. */
function leftMs({ memory, nowMs, monotonicMs }: PlanInput, endedAtMs: number, durationMs: number): number {
  const sinceSeenMs = memory.idleSinceMs === undefined ? 0 : monotonicMs - memory.idleSinceMs;
  return durationMs - Math.max(nowMs - endedAtMs, sinceSeenMs);
}

function stopStep({ memory, monotonicMs }: PlanInput, timeoutMs: number): ContainerStep {
  return { kind: "stop", step: planStop({ askedAtMs: memory.stopAskedAtMs, killedAtMs: memory.killedAtMs, timeoutMs }, monotonicMs) };
}

/** The user's token and how often the policy has started it again: `token` or `token~3`. So the count survives the process. */
export function tokenOf(token: string, restarts: number): string {
  return restarts === 0 ? token : `${token}~${restarts}`;
}

export function runOf(runToken: string): { readonly token: string; readonly restarts: number } {
  const match = /^(.*)~(\d{1,9})$/.exec(runToken);
  return match === null ? { token: runToken, restarts: 0 } : { token: match[1] ?? "", restarts: Number(match[2]) };
}

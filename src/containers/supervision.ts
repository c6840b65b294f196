import type { Exit } from "./runtime.ts";
import type { RestartPolicy } from "./spec.ts";

/** Waits before a restart double from the first to the last; a run of `steadyMs` begins anew with the first. */
const BACKOFF = { firstMs: 100, lastMs: 60_000, steadyMs: 10_000 } as const;

/** One run that has ended. `exit` is undefined where nobody saw how. */
export type EndedRun = {
  readonly policy: RestartPolicy;
  readonly exit: Exit | undefined;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** Runs in a row, before this one, that ended before they were steady. */
  readonly shortRuns: number;
};

export type SupervisionPlan =
  | { readonly kind: "stay-ended" }
  /** Start again so long after the end; `shortRuns` goes into the next plan. */
  | { readonly kind: "restart"; readonly afterMs: number; readonly shortRuns: number };

/** Whether and when a container that ended by itself runs again. */
export function planSupervision(run: EndedRun): SupervisionPlan {
  if (!wantsRestart(run.policy, run.exit)) return { kind: "stay-ended" };
  const steady = run.endedAtMs - run.startedAtMs >= BACKOFF.steadyMs;
  const shortRuns = steady ? 0 : run.shortRuns;
  return { kind: "restart", afterMs: backoffMs(shortRuns), shortRuns: shortRuns + 1 };
}

/** 100 ms, 200, 400, ... one minute. */
export function backoffMs(failures: number): number {
  // Above 2^20 it is the last anyway; no overflow to Infinity.
  return Math.min(BACKOFF.lastMs, BACKOFF.firstMs * 2 ** Math.min(failures, 20));
}

function wantsRestart(policy: RestartPolicy, exit: Exit | undefined): boolean {
  if (policy === "no") return false;
  // Unknown ends (host rebooted, monitor killed) are no success.
  return policy === "always" || exit === undefined || exit.exitCode !== 0;
}

/** How far a stop has come. Times by the monotonic clock: a kill must not wait for an hour because somebody set the other one back. */
export type StopState = { readonly askedAtMs: number | undefined; readonly killedAtMs: number | undefined; readonly timeoutMs: number };

export type StopStep = { readonly kind: "signal" } | { readonly kind: "kill" } | { readonly kind: "wait"; readonly forMs: number };

/** KILL is sent again this often: a process that the kernel holds (frozen, in a dead network file system) may take it late. */
const KILL_AGAIN_MS = 5_000;

/** The next step of a stop: the stop signal, then KILL when `timeoutMs` has passed. */
export function planStop(state: StopState, monotonicMs: number): StopStep {
  if (state.askedAtMs === undefined) return { kind: "signal" };
  const killAtMs = state.killedAtMs === undefined ? state.askedAtMs + state.timeoutMs : state.killedAtMs + KILL_AGAIN_MS;
  return monotonicMs >= killAtMs ? { kind: "kill" } : { kind: "wait", forMs: killAtMs - monotonicMs };
}

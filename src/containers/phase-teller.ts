import type { Clock, ContainerId } from "../base/index.ts";
import { type ContainerStep, runOf } from "./plan-container.ts";
import type { Found } from "./runtime.ts";
import type { Desired, DesiredContainers, PhaseReport } from "./supervisor-ports.ts";

type Run = Extract<Found, { kind: "running" | "ended" }>;

/** So many wishes may overtake a retry. */
const EARLIER_RUN_TOKENS_MAX = 16;

const NOTHING: PhaseReport = {
  phase: "claimed",
  reason: "",
  exitCode: undefined,
  restarts: 0,
  changedAtMs: 0,
  startedAtMs: 0,
  endedAtMs: 0,
  imageDigest: "",
  runToken: "",
  earlierRunTokens: [],
  wanted: { major: 0, minor: 0 },
};

/** Says what a container is now, each thing once: what would repeat the last report is not told again. */
export class PhaseTeller {
  readonly #id: ContainerId;
  readonly #port: DesiredContainers;
  readonly #clock: Clock;
  #last: PhaseReport | undefined;
  /** What was said of the start that failed last. */
  #failure: Partial<PhaseReport> | undefined;

  constructor(id: ContainerId, deps: { readonly desired: DesiredContainers; readonly clock: Clock }) {
    this.#id = id;
    this.#port = deps.desired;
    this.#clock = deps.clock;
    this.#last = deps.desired.lastPhase(id);
  }

  get last(): PhaseReport | undefined {
    return this.#last;
  }

  /** What a step, before it is done, says about the container. */
  async step(step: ContainerStep, desired: Desired, found: Found): Promise<void> {
    const { wanted } = desired;
    switch (step.kind) {
      case "watch":
        if (found.kind === "running") await this.#say(desired, { phase: "running", reason: "", exitCode: undefined, endedAtMs: 0, ...this.#runFields(found) });
        return;
      case "stop":
        if (found.kind === "running") await this.#say(desired, { phase: "stopping", reason: "", exitCode: undefined, ...this.#runFields(found) });
        return;
      case "settle":
        // Who waits for the end does not wait for what is freed after it. A start that failed stays one.
        if (found.kind === "ended" && this.#last?.phase !== "failed") await this.#ended(desired, found);
        return;
      case "wait":
        // Of a later start that failed it is known why.
        if (step.why === "backoff" && found.kind === "ended" && !this.#isEarlier(found))
          await this.#say(desired, { phase: "backoff", ...this.#runFields(found), ...this.#endFields(found) });
        // Its disk is gone with all that it knew. Said once, with the time: the pause before the next start counts from it.
        if (step.why === "backoff" && found.kind === "absent" && this.#last?.phase !== "backoff")
          await this.#say(desired, { phase: "backoff", ...this.#lostFields() });
        // The wish that comes back has failed before; the start that overtook it was given up in the middle.
        if (step.why === "failed" && this.#last?.phase !== "failed" && this.#failure !== undefined) await this.#say(desired, this.#failure);
        if (step.why !== "ended") return;
        if (found.kind === "ended") await this.#ended(desired, found);
        // An end whose traces are gone, or a start that failed: what was said of it stays.
        else if (this.#last?.phase === "ended" || this.#last?.phase === "failed") await this.#say(desired, {});
        else if (wanted.kind === "running") await this.#say(desired, { phase: "ended", ...this.#lostFields() });
        else await this.#say(desired, { phase: "ended", reason: "stopped" });
        return;
      default:
        return;
    }
  }

  pulling(desired: Desired): Promise<void> {
    return this.#say(desired, { phase: "pulling", reason: "" });
  }

  starting(runToken: string, desired: Desired, imageDigest: string): Promise<void> {
    return this.#say(desired, {
      phase: "starting",
      reason: "",
      exitCode: undefined,
      endedAtMs: 0,
      imageDigest,
      restarts: runOf(runToken).restarts,
      runToken: runOf(runToken).token,
    });
  }

  failed(runToken: string, desired: Desired, reason: string, exitCode: number | undefined, retry: boolean): Promise<void> {
    const { token, restarts } = runOf(runToken);
    this.#failure = { phase: retry ? "backoff" : "failed", reason, exitCode, restarts, runToken: token, endedAtMs: this.#clock.nowMs() };
    return this.#say(desired, this.#failure);
  }

  removed(as: "gone" | "yielded", desired: Desired): Promise<void> {
    return this.#say(desired, { phase: as });
  }

  #ended(desired: Desired, found: Extract<Found, { kind: "ended" }>): Promise<void> {
    const why = desired.wanted.kind === "stopped" ? { reason: "stopped" } : {};
    return this.#say(desired, { phase: "ended", ...this.#runFields(found), ...this.#endFields(found), ...why });
  }

  #endFields(found: Extract<Found, { kind: "ended" }>): Pick<PhaseReport, "reason" | "exitCode" | "endedAtMs"> {
    const { exit } = found;
    if (exit !== undefined) return { reason: exit.oom ? "oom" : "", exitCode: exit.exitCode, endedAtMs: exit.endedAtMs };
    // Said with the time when it was first noticed.
    const noticed = this.#last?.runToken === this.#runFields(found).runToken && this.#last.endedAtMs > 0 ? this.#last.endedAtMs : this.#clock.nowMs();
    return { reason: "unknown", exitCode: undefined, endedAtMs: noticed };
  }

  #lostFields(): Pick<PhaseReport, "reason" | "exitCode" | "endedAtMs"> {
    return { reason: "unknown", exitCode: undefined, endedAtMs: this.#clock.nowMs() };
  }

  /** A start that failed has left what ran before it: that is not acted on again, and what was acted on last stays the last. */
  #isEarlier(found: Run): boolean {
    return this.#last?.earlierRunTokens.includes(runOf(found.runToken).token) === true;
  }

  #runFields(found: Run): Pick<PhaseReport, "startedAtMs" | "restarts" | "runToken"> {
    const { token, restarts } = runOf(found.runToken);
    const { startedAtMs } = found;
    return this.#last !== undefined && this.#isEarlier(found)
      ? { startedAtMs, restarts: this.#last.restarts, runToken: this.#last.runToken }
      : { startedAtMs, restarts, runToken: token };
  }

  async #say(desired: Desired, change: Partial<PhaseReport>): Promise<void> {
    const before = this.#last ?? NOTHING;
    const earlierRunTokens = earlierThan(change.runToken ?? before.runToken, before);
    const next: PhaseReport = { ...before, ...change, earlierRunTokens, wanted: desired.version, changedAtMs: this.#clock.nowMs() };
    if (this.#last !== undefined && same(before, next)) return;
    await this.#port.report(this.#id, next);
    this.#last = next;
  }
}

function earlierThan(runToken: string, { runToken: last, earlierRunTokens: earlier }: PhaseReport): readonly string[] {
  return last === "" || last === runToken ? earlier : [last, ...earlier].slice(0, EARLIER_RUN_TOKENS_MAX);
}

function same(a: PhaseReport, b: PhaseReport): boolean {
  return (
    a.phase === b.phase &&
    a.reason === b.reason &&
    a.exitCode === b.exitCode &&
    a.restarts === b.restarts &&
    a.startedAtMs === b.startedAtMs &&
    a.endedAtMs === b.endedAtMs &&
    a.imageDigest === b.imageDigest &&
    a.runToken === b.runToken &&
    a.wanted.major === b.wanted.major &&
    a.wanted.minor === b.wanted.minor
  );
}

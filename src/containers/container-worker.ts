import { asCcError, assertNever, CcError, type Clock, type ContainerId, type ErrorCode, type Logger } from "../base/index.ts";
import type { ImageOnHost, ImageStore } from "../images/index.ts";
import { PhaseTeller } from "./phase-teller.ts";
import { type ContainerStep, FRESH_MEMORY, planContainer, runOf, type WorkerMemory } from "./plan-container.ts";
import type { ContainerRuntime, StartTimings } from "./runtime.ts";
import { signalName } from "./spec.ts";
import type { StartSlots } from "./start-slots.ts";
import { backoffMs } from "./supervision.ts";
import type { Desired, DesiredContainers } from "./supervisor-ports.ts";
import { Wake } from "./wake.ts";

export type WorkerDeps = {
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  readonly desired: DesiredContainers;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly slots: StartSlots;
};

/** May pass: tried again where the policy asks for a container that runs. Everything else is told to the user at once. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "REGISTRY_UNREACHABLE",
  "IMAGE_PULL_FAILED",
  "CONTAINER_FAILED",
  "NO_ROOM",
  "TIMEOUT",
  "INTERNAL",
  "RATE_LIMITED",
]);
const EXIT_CODES: Partial<Record<ErrorCode, number>> = { COMMAND_NOT_FOUND: 127, COMMAND_NOT_EXECUTABLE: 126 };
/** Made once: an abort without a reason makes an error with a stack each time, and every look at a container that runs ends in one. */
const LOOKED = new CcError("CANCELLED", "nobody waits for the process's end any more");
/** Even without anything to do it looks again: a change that nobody told must not last. */
const LOOK_AGAIN_MS = 60_000;

/** Keeps one container as it should be, step by step, until it is stopped or the container is no longer asked for. */
export class ContainerWorker {
  readonly #id: ContainerId;
  readonly #deps: WorkerDeps;
  readonly #tell: PhaseTeller;
  readonly #stopping = new AbortController();
  readonly #wake: Wake;
  #memory: WorkerMemory = FRESH_MEMORY;
  /** Nothing of it is on this host. */
  #cleared = false;
  #image: { readonly reference: string; readonly digest: string | undefined; readonly here: ImageOnHost } | undefined;
  /** Aborts a pull or a start that is no longer wanted. */
  #starting: { readonly runToken: string; readonly controller: AbortController } | undefined;

  constructor(id: ContainerId, deps: WorkerDeps) {
    this.#id = id;
    this.#deps = deps;
    this.#tell = new PhaseTeller(id, deps);
    this.#wake = new Wake(deps.clock);
  }

  /** Something has changed: look again. */
  ring(): void {
    const wanted = this.#desired()?.wanted;
    const starting = this.#starting;
    if (starting !== undefined && (wanted?.kind !== "running" || wanted.runToken !== runOf(starting.runToken).token)) starting.controller.abort();
    this.#wake.ring();
  }

  stop(): void {
    this.#stopping.abort();
    this.#starting?.controller.abort();
    this.#wake.ring();
  }

  /** Resolves when the worker is stopped or the container is no longer in what is desired. Never rejects. */
  async run(): Promise<void> {
    let failures = 0;
    while (!this.#stopping.signal.aborted && (this.#desired() !== undefined || this.#isLeft())) {
      try {
        await (this.#isLeft() ? this.#clear() : this.#turn());
        failures = 0;
      } catch (error) {
        failures += 1;
        if (!this.#stopping.signal.aborted) this.#deps.logger.error({ container: this.#id, error }, "a container could not be looked after; it is tried again");
        await this.#wake.wait(backoffMs(failures), this.#stopping.signal);
      }
    }
  }

  /** What was over in a life that this host's disk has forgotten may have come back with the disk: nothing of it stays. */
  #isLeft(): boolean {
    return !this.#cleared && this.#desired() === undefined && this.#deps.desired.isOver(this.#id);
  }

  async #clear(): Promise<void> {
    await this.#deps.runtime.remove(this.#id);
    this.#cleared = true;
  }

  #desired(): Desired | undefined {
    return this.#deps.desired.all().find((desired) => desired.spec.id === this.#id);
  }

  async #turn(): Promise<void> {
    const bell = this.#wake.arm();
    const found = await this.#deps.runtime.inspect(this.#id);
    const desired = this.#desired();
    if (desired === undefined) return;
    const monotonicMs = this.#deps.clock.monotonicMs();
    if (found.kind === "running") this.#memory = { ...this.#memory, idleSinceMs: undefined, settled: false };
    else this.#memory = { ...this.#memory, idleSinceMs: this.#memory.idleSinceMs ?? monotonicMs, stopAskedAtMs: undefined, killedAtMs: undefined };
    const step = planContainer({
      desired,
      found,
      memory: this.#memory,
      last: this.#tell.last,
      readers: this.#deps.runtime.readers(this.#id),
      nowMs: this.#deps.clock.nowMs(),
      monotonicMs,
    });
    await this.#tell.step(step, desired, found);
    await this.#apply(step, desired, bell);
  }

  async #apply(step: ContainerStep, desired: Desired, bell: Promise<void>): Promise<void> {
    const { runtime } = this.#deps;
    switch (step.kind) {
      case "start":
        return this.#start(desired, step);
      case "watch":
        return this.#untilExit(undefined, bell);
      case "settle":
        await runtime.settle(this.#id);
        this.#memory = { ...this.#memory, settled: true };
        return undefined;
      case "remove":
        await this.#clear();
        return this.#tell.removed(step.as, desired);
      case "wait":
        return this.#wake.until(bell, Math.min(LOOK_AGAIN_MS, step.forMs ?? LOOK_AGAIN_MS), this.#stopping.signal);
      case "stop":
        return this.#stopStep(step.step, desired, bell);
      default:
        return assertNever(step);
    }
  }

  async #stopStep(step: Extract<ContainerStep, { kind: "stop" }>["step"], desired: Desired, bell: Promise<void>): Promise<void> {
    const { runtime, clock } = this.#deps;
    if (step.kind === "wait") return this.#untilExit(step.forMs, bell);
    if (step.kind === "kill") {
      await runtime.kill(this.#id, "SIGKILL");
      this.#memory = { ...this.#memory, killedAtMs: clock.monotonicMs() };
      return undefined;
    }
    await runtime.kill(
      this.#id,
      desired.spec.stopSignal || signalName(this.#image?.here.config.stopSignal ?? (await this.#imageStopSignal(desired))) || "SIGTERM",
    );
    this.#memory = { ...this.#memory, stopAskedAtMs: clock.monotonicMs() };
    return undefined;
  }

  /** After the peer's return the image is not in memory: it is asked for where it lies. */
  async #imageStopSignal(desired: Desired): Promise<string> {
    return (await this.#deps.images.local(desired.image.reference, desired.image.digest))?.config.stopSignal ?? "";
  }

  /** Until the process ends, something changes, or `ms` have passed. */
  async #untilExit(ms: number | undefined, bell: Promise<void>): Promise<void> {
    const controller = new AbortController();
    const exited = this.#deps.runtime.waitExit(this.#id, controller.signal).then(
      () => undefined,
      (error: unknown) => {
        if (!controller.signal.aborted) throw error;
      },
    );
    try {
      await Promise.race([
        exited,
        this.#wake.until(bell, Math.min(LOOK_AGAIN_MS, ms ?? Number.POSITIVE_INFINITY), AbortSignal.any([this.#stopping.signal, controller.signal])),
      ]);
    } finally {
      controller.abort(LOOKED);
      await exited;
    }
  }

  async #start(desired: Desired, step: Extract<ContainerStep, { kind: "start" }>): Promise<void> {
    const { desired: port, slots } = this.#deps;
    this.#cleared = false;
    const controller = new AbortController();
    this.#starting = { runToken: step.runToken, controller };
    // A change between the plan and here.
    this.ring();
    const { signal } = controller;
    let release: (() => void) | undefined;
    try {
      const image = await this.#imageHere(desired, signal);
      release = await slots.take(signal);
      // Armed before the question: a change while it is answered is not missed.
      const bell = this.#wake.arm();
      if (!(await port.mayStart(this.#id, signal))) {
        // Somebody else's by now: the desired state will say so. Not asked again before it changes.
        this.#deps.logger.warn({ container: this.#id }, "not started: a better claim is known");
        release();
        return await this.#wake.until(bell, LOOK_AGAIN_MS, signal);
      }
      const timings = await this.#startTold(desired, step, image, signal);
      this.#memory = { ...FRESH_MEMORY, shortRuns: step.shortRuns };
      this.#deps.logger.info({ container: this.#id, timings }, "container started");
    } catch (error) {
      if (!signal.aborted) await this.#startFailed(desired, step, error);
    } finally {
      release?.();
      this.#starting = undefined;
    }
  }

  /** Disk and network are made ready while the record of the start reaches the disk; the process waits for it. */
  async #startTold(desired: Desired, step: Extract<ContainerStep, { kind: "start" }>, image: ImageOnHost, signal: AbortSignal): Promise<StartTimings> {
    const told = this.#tell.starting(step.runToken, desired, image.digest);
    // Awaited in the end, whatever happens before: what is told next comes after it.
    told.catch(() => undefined);
    try {
      return await this.#deps.runtime.start(desired.spec, image, step.runToken, signal, told);
    } finally {
      await told;
    }
  }

  async #imageHere(desired: Desired, signal: AbortSignal): Promise<ImageOnHost> {
    const { reference, digest, credentials } = desired.image;
    if (this.#image?.reference === reference && this.#image.digest === digest) return this.#image.here;
    let here = await this.#deps.images.local(reference, digest);
    if (here === undefined) {
      await this.#tell.pulling(desired);
      here = await this.#deps.images.pull(reference, {
        ...(digest === undefined ? {} : { digest }),
        ...(credentials === undefined ? {} : { credentials }),
        signal,
      });
    }
    this.#image = { reference, digest, here };
    return here;
  }

  async #startFailed(desired: Desired, step: Extract<ContainerStep, { kind: "start" }>, thrown: unknown): Promise<void> {
    const error = asCcError(thrown);
    const before = this.#memory.failure?.runToken === step.runToken ? this.#memory.failure.count : 0;
    const retry = desired.spec.restart !== "no" && PASSING.has(error.code);
    this.#image = undefined;
    this.#memory = { ...this.#memory, failure: { runToken: step.runToken, count: before + 1, atMs: this.#deps.clock.monotonicMs(), retry } };
    this.#deps.logger.warn({ container: this.#id, code: error.code, error }, "container could not be started");
    await this.#tell.failed(step.runToken, desired, `${error.code}: ${error.message}`, EXIT_CODES[error.code], retry);
  }
}

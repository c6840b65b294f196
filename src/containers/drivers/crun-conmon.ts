import { CcError, type ContainerId, shellQuote } from "../../base/index.ts";
import type { ImageOnHost } from "../../images/index.ts";
import type { ExecSpec } from "../exec.ts";
import type { ContainerMetrics } from "../metrics.ts";
import type { ContainerInput, ContainerRuntime, ExecProcess, Exit, Found, OutputChunk, ReadLogs, StartTimings } from "../runtime.ts";
import { type ContainerSpec, SPEC_DEFAULTS } from "../spec.ts";
import { Cgroup } from "./crun-conmon/cgroups.ts";
import { type Context, historyOf, openContext } from "./crun-conmon/context.ts";
import { Execs } from "./crun-conmon/exec.ts";
import { endStrays } from "./crun-conmon/exec-members.ts";
import { awaitBells, type Bell } from "./crun-conmon/exit-watch.ts";
import { openInput } from "./crun-conmon/input.ts";
import { launch } from "./crun-conmon/launch.ts";
import { readMetrics } from "./crun-conmon/metrics.ts";
import { observe } from "./crun-conmon/observe.ts";
import { readOutput } from "./crun-conmon/output-reader.ts";
import type { CrunConmonDeps, CrunConmonSettings } from "./crun-conmon/settings.ts";
import { removeAll, settleRun } from "./crun-conmon/teardown.ts";

export type { CrunConmonDeps, CrunConmonSettings } from "./crun-conmon/settings.ts";

/** An end that nobody reports (conmon killed) is found by looking this often. */
const LOOK_MS = 2_000;
/** A chatty container's log is looked after this often; conmon needs 300 ms and more to fill a log. */
const KEEP_LOG_MS = 50;
const KEEP_LOG_IDLE_MS = 10_000;

export interface CrunConmon extends ContainerRuntime {
  /** Where the network namespace of a container is pinned while it runs. */
  networkNamespace(id: ContainerId): string;
  /** Stops watching; containers run on. The shells are their owner's to close. */
  close(): Promise<void>;
}

/** Opens the driver and takes up every container that it finds. One driver per state and run folder. */
export async function openCrunConmon(deps: CrunConmonDeps, settings: CrunConmonSettings): Promise<CrunConmon> {
  const context = await openContext(deps, settings);
  const driver = new Driver(context);
  await driver.adopt();
  context.spares.refillLater(SPEC_DEFAULTS.diskBytes);
  return driver;
}

class Driver implements CrunConmon {
  readonly #context: Context;
  readonly #closing = new AbortController();
  readonly #keepers = new Map<ContainerId, Promise<void>>();
  readonly #readers = new Map<ContainerId, number>();
  readonly #execs: Execs;

  constructor(context: Context) {
    this.#context = context;
    this.#execs = new Execs(context);
  }

  async adopt(): Promise<void> {
    await this.#execs.clear();
    const ids = await this.list();
    // Of a container of which nothing is here any more nobody else would give them back.
    const { volumes, networks } = this.#context.deps;
    for (const user of volumes.users()) if (!ids.includes(user)) await volumes.release(user);
    for (const member of networks.members()) if (!ids.includes(member)) await networks.leave(member);
    for (const id of ids) {
      const stored = await this.#context.stored.get(id).catch((error: unknown) => {
        this.#context.deps.logger.error({ container: id, error }, "a container's record cannot be read; it is left as it is");
      });
      if (stored === undefined || stored.ended !== undefined || stored.life !== this.#context.life) continue;
      this.#keepLog(id, false);
      await endStrays(this.#context, id).catch((error: unknown) =>
        this.#context.deps.logger.error({ container: id, error }, "what was run in a container through the peer before could not be ended"),
      );
    }
  }

  list(): Promise<readonly ContainerId[]> {
    return this.#context.stored.list();
  }

  inspect(id: ContainerId): Promise<Found> {
    return observe(this.#context, id);
  }

  async start(spec: ContainerSpec, image: ImageOnHost, runToken: string, signal: AbortSignal, first?: Promise<void>): Promise<StartTimings> {
    if (this.#context.starting.has(spec.id)) throw new CcError("CONFLICT", `container ${spec.id} is being started already`);
    const timings = await launch(this.#context, { spec, image, runToken, signal, first });
    this.#keepLog(spec.id, true);
    return timings;
  }

  async kill(id: ContainerId, signalName: string): Promise<void> {
    if ((await this.inspect(id)).kind !== "running") return;
    const { deps, settings, paths } = this.#context;
    const outcome = await deps.process.run(
      `${shellQuote(settings.crunPath)} --root ${shellQuote(paths.crunRoot)} kill ${shellQuote(id)} ${shellQuote(signalName)}`,
    );
    if (outcome.exitCode === 0 || (await this.inspect(id)).kind !== "running") return;
    // Between the process's end and conmon's word about it, crun already knows.
    if (/No such process|not running/i.test(outcome.stdout)) return;
    throw new CcError("CONTAINER_FAILED", `${signalName} cannot be sent: ${outcome.stdout.trim()}`);
  }

  async waitExit(id: ContainerId, signal: AbortSignal): Promise<Exit | undefined> {
    const closing = AbortSignal.any([signal, this.#closing.signal]);
    for (;;) {
      closing.throwIfAborted();
      const bell = this.#context.exits.arm(id);
      try {
        const found = await this.inspect(id);
        if (found.kind === "ended") return found.exit;
        if (found.kind !== "running") return undefined;
        await this.#wait([bell], LOOK_MS, closing);
      } finally {
        bell.cancel();
      }
    }
  }

  async settle(id: ContainerId): Promise<void> {
    await settleRun(this.#context, id);
    this.#context.histories.get(id)?.ring();
  }

  remove(id: ContainerId): Promise<void> {
    return removeAll(this.#context, id);
  }

  async *logs(id: ContainerId, options: ReadLogs): AsyncIterable<OutputChunk> {
    const history = await historyOf(this.#context, id);
    if (history === undefined) return;
    this.#readers.set(id, this.readers(id) + 1);
    try {
      yield* readOutput(history, options, {
        hasEnded: async () => !this.#context.starting.has(id) && (await this.inspect(id)).kind !== "running",
        armExit: () => this.#context.exits.arm(id),
        wait: (bells, ms, signal) => this.#wait(bells, ms, signal),
      });
    } finally {
      const left = this.readers(id) - 1;
      if (left > 0) this.#readers.set(id, left);
      else this.#readers.delete(id);
    }
  }

  readers(id: ContainerId): number {
    return this.#readers.get(id) ?? 0;
  }

  async stdin(id: ContainerId): Promise<ContainerInput> {
    const stored = await this.#context.stored.get(id);
    if ((await this.inspect(id)).kind !== "running") throw new CcError("NOT_RUNNING", `container ${id} is not running`);
    if (stored?.stdinOpen !== true) throw new CcError("BAD_REQUEST", `container ${id} was not made with -i: it has no standard input`);
    return openInput(`${this.#context.paths.bundle(id)}/attach`);
  }

  exec(id: ContainerId, exec: ExecSpec, signal: AbortSignal): Promise<ExecProcess> {
    return this.#execs.start(id, exec, signal);
  }

  metrics(id: ContainerId): Promise<ContainerMetrics | undefined> {
    return readMetrics(this.#context, id);
  }

  networkNamespace(id: ContainerId): string {
    return this.#context.paths.network(id);
  }

  async close(): Promise<void> {
    await this.#execs.close();
    this.#closing.abort(new CcError("CANCELLED", "the runtime is closed"));
    this.#context.exits.close();
    for (const history of this.#context.histories.values()) history.ring();
    await Promise.all([...this.#keepers.values(), this.#context.spares.close()]);
    // Only when nothing is left: containers that run on keep theirs.
    if ((await this.list()).length === 0) await new Cgroup(this.#context.cgroups, this.#context.settings.cgroupParent).remove();
  }

  /** Gives conmon's logs their names and cuts the oldest part away, as long as the container runs. */
  #keepLog(id: ContainerId, afterStart: boolean): void {
    if (this.#keepers.has(id)) return;
    const keeper = this.#keepLogLoop(id, afterStart)
      .catch((error: unknown) => this.#context.deps.logger.error({ container: id, error }, "the container's log is no longer kept within its limits"))
      .finally(() => this.#keepers.delete(id));
    this.#keepers.set(id, keeper);
  }

  async #keepLogLoop(id: ContainerId, afterStart: boolean): Promise<void> {
    const history = await historyOf(this.#context, id);
    const { signal } = this.#closing;
    // What starts just now has written nothing yet, and its first output is not to wait for a look at it.
    if (afterStart) await this.#wait([], KEEP_LOG_MS, signal);
    while (history !== undefined && !signal.aborted && this.#context.histories.get(id) === history) {
      const bells = [history.arm(), this.#context.exits.arm(id)];
      try {
        const running = this.#context.starting.has(id) || (await this.inspect(id)).kind === "running";
        await history.trim();
        if (!running) return;
        await this.#wait(bells, KEEP_LOG_IDLE_MS, signal);
      } finally {
        for (const bell of bells) bell.cancel();
      }
      await this.#wait([], KEEP_LOG_MS, signal);
    }
  }

  #wait(bells: readonly Bell[], ms: number, signal: AbortSignal): Promise<void> {
    return awaitBells(this.#context.deps.clock, bells, ms, signal);
  }
}

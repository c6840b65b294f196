import type { Test } from "tap";
import type { Clock, ContainerId } from "../../../src/base/index.ts";
import { CcError, silentLogger } from "../../../src/base/index.ts";
import {
  type ContainerRuntime,
  type ContainerSpec,
  createSupervisor,
  type Desired,
  type DesiredContainers,
  type Exit,
  type Found,
  type PhaseReport,
  SPEC_DEFAULTS,
} from "../../../src/containers/index.ts";
import type { ImageOnHost, ImageStore } from "../../../src/images/index.ts";

/** Time that stands still until it is told to go on. */
export class StillClock implements Clock {
  #now = 1_000_000;
  #timers: { at: number; fire: () => void }[] = [];

  nowMs(): number {
    return this.#now;
  }
  monotonicMs(): number {
    return this.#now;
  }
  after(delayMs: number, fire: () => void): () => void {
    const timer = { at: this.#now + delayMs, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Fires what falls due, in order, and lets all that follows from it settle. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const next = this.#timers.toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
    }
    this.#now = end;
    await settle();
  }
}

export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

export const ID = "caaaaaaaaaaaaaaaaaaaa" as ContainerId;
export const OTHER = "cbbbbbbbbbbbbbbbbbbbb" as ContainerId;

export function aSpec(more: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    id: ID,
    name: "",
    image: "x",
    command: [],
    env: {},
    user: "",
    dir: "",
    ...SPEC_DEFAULTS,
    labels: {},
    readOnly: false,
    init: false,
    stopSignal: "",
    stdinOpen: false,
    volumes: [],
    removeWhenEnded: false,
    ...more,
  };
}

const IMAGE: ImageOnHost = {
  digest: "sha256:1",
  reference: "x",
  layers: ["/l"],
  sizeBytes: 1,
  config: { entrypoint: [], cmd: ["sh"], env: [], user: "", workingDir: "", stopSignal: "SIGQUIT", labels: {} },
};

/** A runtime in memory. Processes end when the test says so. */
class FakeRuntime implements ContainerRuntime {
  readonly found = new Map<ContainerId, Found>();
  readonly calls: string[] = [];
  startError: unknown;
  /** So often each container was looked at. */
  readonly looks = new Map<ContainerId, number>();
  readonly readersOf = new Map<ContainerId, number>();
  /** Signals that end a process here; others are ignored. */
  endsOn: ReadonlySet<string> = new Set(["SIGKILL", "SIGTERM", "SIGQUIT"]);
  readonly #clock: Clock;
  readonly #exits = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  end(id: ContainerId, exitCode: number, oom = false): void {
    const found = this.found.get(id);
    if (found?.kind !== "running") throw new Error("does not run");
    const exit: Exit = { exitCode, oom, endedAtMs: this.#clock.nowMs() };
    this.found.set(id, { kind: "ended", exit, startedAtMs: found.startedAtMs, runToken: found.runToken });
    for (const wake of [...this.#exits]) wake();
  }

  list(): Promise<readonly ContainerId[]> {
    return Promise.resolve([...this.found.keys()]);
  }
  inspect(id: ContainerId): Promise<Found> {
    this.looks.set(id, (this.looks.get(id) ?? 0) + 1);
    return Promise.resolve(this.found.get(id) ?? { kind: "absent" });
  }
  async start(spec: ContainerSpec, _image: ImageOnHost, runToken: string, _signal: AbortSignal, first?: Promise<void>): Promise<Record<string, number>> {
    this.calls.push(`start ${runToken}`);
    await first;
    if (this.startError !== undefined) throw this.startError;
    this.found.set(spec.id, { kind: "running", pid: 1, startedAtMs: this.#clock.nowMs(), runToken });
    return {};
  }
  async kill(id: ContainerId, signalName: string): Promise<void> {
    this.calls.push(`kill ${signalName}`);
    if (this.found.get(id)?.kind === "running" && this.endsOn.has(signalName)) this.end(id, signalName === "SIGKILL" ? 137 : 143);
  }
  async waitExit(id: ContainerId, signal: AbortSignal): Promise<Exit | undefined> {
    for (;;) {
      signal.throwIfAborted();
      const found = await this.inspect(id);
      if (found.kind === "ended") return found.exit;
      if (found.kind !== "running") return undefined;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#exits.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.#exits.add(wake);
        signal.addEventListener("abort", wake);
      });
    }
  }
  async settle(): Promise<void> {
    this.calls.push("settle");
  }
  async remove(id: ContainerId): Promise<void> {
    this.calls.push("remove");
    this.found.delete(id);
    for (const wake of [...this.#exits]) wake();
  }
  async *logs(): AsyncIterable<never> {
    // No output.
  }
  readers(id: ContainerId): number {
    return this.readersOf.get(id) ?? 0;
  }
  stdin(): Promise<never> {
    return Promise.reject(new CcError("NOT_RUNNING", "no input"));
  }
  exec(): Promise<never> {
    return Promise.reject(new CcError("NOT_RUNNING", "no further process"));
  }

  metrics(): Promise<undefined> {
    // A process in memory uses nothing that could be counted.
    return Promise.resolve(undefined);
  }
}

class FakeImages implements ImageStore {
  here = false;
  pullError: unknown;
  /** Pulls end when this resolves. */
  gate: Promise<void> = Promise.resolve();
  aborted = 0;

  local(): Promise<ImageOnHost | undefined> {
    return Promise.resolve(this.here ? IMAGE : undefined);
  }
  async pull(_reference: string, options: { readonly signal: AbortSignal }): Promise<ImageOnHost> {
    const stopped = new Promise<never>((_, reject) => {
      options.signal.addEventListener("abort", () => {
        this.aborted += 1;
        reject(options.signal.reason);
      });
    });
    await Promise.race([this.gate, stopped]);
    if (this.pullError !== undefined) throw this.pullError;
    this.here = true;
    return IMAGE;
  }
  list(): Promise<readonly ImageOnHost[]> {
    return Promise.resolve(this.here ? [IMAGE] : []);
  }
}

class FakeDesired implements DesiredContainers {
  readonly phases: PhaseReport[] = [];
  mayStartAnswer = true;
  #all: readonly Desired[] = [];
  readonly #fires = new Set<() => void>();
  readonly lasts = new Map<ContainerId, PhaseReport>();

  set(...all: readonly Desired[]): void {
    this.#all = all;
    for (const fire of this.#fires) fire();
  }
  all(): readonly Desired[] {
    return this.#all;
  }
  readonly over = new Set<ContainerId>();
  isOver(id: ContainerId): boolean {
    return this.over.has(id);
  }
  onChange(fire: () => void): () => void {
    this.#fires.add(fire);
    return () => this.#fires.delete(fire);
  }
  lastPhase(id: ContainerId): PhaseReport | undefined {
    return this.lasts.get(id);
  }
  /** What a report waits for: the disk. */
  stored: Promise<void> = Promise.resolve();

  async report(id: ContainerId, phase: PhaseReport): Promise<void> {
    this.phases.push(phase);
    this.lasts.set(id, phase);
    await this.stored;
  }
  mayStart(): Promise<boolean> {
    return Promise.resolve(this.mayStartAnswer);
  }
  /** Phase names since the last call. */
  told(): string {
    return this.phases
      .splice(0)
      .map((report) => (report.reason === "" ? report.phase : `${report.phase}(${report.reason})`))
      .join(" ");
  }
}

export function desire(wanted: Desired["wanted"], more: Partial<ContainerSpec> = {}, minor = 1): Desired {
  return { spec: aSpec(more), image: { reference: "x" }, wanted, version: { major: 1, minor } };
}

/** A supervisor over fakes, stopped when the test ends; `create` makes the peer's next life. */
export function scene(t: Test) {
  const clock = new StillClock();
  const runtime = new FakeRuntime(clock);
  const images = new FakeImages();
  const desired = new FakeDesired();
  const create = () => createSupervisor({ runtime, images, desired, clock, logger: silentLogger });
  const supervisor = create();
  t.teardown(() => supervisor.stop());
  return { clock, runtime, images, desired, supervisor, create };
}

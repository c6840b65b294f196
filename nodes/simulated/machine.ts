import { hash } from "node:crypto";
import { CcError, type ContainerId, type VolumeId } from "../../src/base/index.ts";
import type { ContainerRuntime, ContainerSpec, Exit, Found } from "../../src/containers/index.ts";
import type { ImageOnHost, SharedImages } from "../../src/images/index.ts";
import type { VolumeFiles } from "../../src/volumes/index.ts";
import { simulatedExec } from "./exec.ts";
import { NO_UPLOADS } from "./no-uploads.ts";
import type { SeededRandom } from "./random.ts";
import type { HostClock, MachineTime, Timeline } from "./timeline.ts";
import { simulatedVolumes, type VolumeFile } from "./volume-files.ts";

/** One process of a container, from its start to its end, wherever in the world. Times are the world's. */
export type ProcessRun = {
  readonly host: string;
  readonly container: ContainerId;
  readonly runToken: string;
  readonly memoryBytes: number;
  readonly volumes: readonly VolumeId[];
  readonly startedAtMs: number;
  endedAtMs: number | undefined;
};

type Bundle = {
  readonly spec: ContainerSpec;
  runToken: string;
  state: "half" | "running" | "ended";
  startedAtWallMs: number;
  exit: Exit | undefined;
  run: ProcessRun | undefined;
  cancelEnd: () => void;
};

export type MachineSpeed = { startMsMin: number; startMsMax: number; pullMsMin: number; pullMsMax: number };

function startRefusal(program: string): CcError | undefined {
  if (program === "missing") return new CcError("COMMAND_NOT_FOUND", "there is no such program in the image");
  return program === "broken" ? new CcError("CONTAINER_FAILED", "the runtime could not start it") : undefined;
}

const GONE = new CcError("CANCELLED", "this host's peer is gone");

/**
 * A host's operating system: processes, bundles and images. Containers live on when the peer dies, and end with the power;
 * bundles and images are on the disk. What a container's process does stands in its command:
 * `sleep MS EXIT` (0 ms: for ever), `stubborn MS EXIT` (ends by KILL only), `missing` (no such program), `broken` (can't be started).
 */
export class Machine {
  readonly name: string;
  readonly speed: MachineSpeed = { startMsMin: 20, startMsMax: 120, pullMsMin: 100, pullMsMax: 1_500 };
  readonly bundles = new Map<ContainerId, Bundle>();
  readonly #volumes = new Map<VolumeId, VolumeFile>();
  #pulls: string[] = [];
  #images = new Map<string, ImageOnHost>();
  readonly #timeline: Timeline;
  readonly #time: MachineTime;
  readonly #random: SeededRandom;
  readonly #onStart: (run: ProcessRun) => void;
  readonly #waiting = new Set<() => void>();

  constructor(parts: {
    readonly name: string;
    readonly timeline: Timeline;
    readonly time: MachineTime;
    readonly random: SeededRandom;
    readonly onStart: (run: ProcessRun) => void;
  }) {
    this.name = parts.name;
    this.#timeline = parts.timeline;
    this.#time = parts.time;
    this.#random = parts.random;
    this.#onStart = parts.onStart;
  }

  running(): readonly ProcessRun[] {
    return [...this.bundles.values()].flatMap(({ state, run }) => (state === "running" && run !== undefined ? [run] : []));
  }

  /** Pulls and starts that were under way end with it; processes go on. */
  peerDied(): void {
    this.#pulls = [];
  }

  powerFailed(): void {
    this.peerDied();
    for (const bundle of this.bundles.values()) this.#end(bundle, undefined);
  }

  /** A backup of the whole disk is put back: containers as they were, none of them running. */
  rollBack(to: ReturnType<Machine["snapshot"]>): void {
    this.bundles.clear();
    for (const [id, bundle] of to.bundles) this.bundles.set(id, { ...bundle, state: bundle.state === "running" ? "ended" : bundle.state, run: undefined });
    this.#images = new Map(to.images);
    this.#volumes.clear();
    for (const [id, file] of to.volumes) this.#volumes.set(id, file);
  }

  /** Somebody takes a file away. */
  loseVolume(id: VolumeId): void {
    this.#volumes.delete(id);
  }

  volumeFiles(): ReadonlyMap<VolumeId, VolumeFile> {
    return this.#volumes;
  }

  snapshot(): {
    readonly bundles: ReadonlyMap<ContainerId, Bundle>;
    readonly images: ReadonlyMap<string, ImageOnHost>;
    readonly volumes: ReadonlyMap<VolumeId, VolumeFile>;
  } {
    return {
      bundles: new Map([...this.bundles].map(([id, bundle]) => [id, { ...bundle, exit: undefined, cancelEnd: () => undefined }])),
      images: new Map(this.#images),
      volumes: new Map(this.#volumes),
    };
  }

  isPulling(reference: string): boolean {
    return this.#pulls.includes(reference);
  }

  hasImage(reference: string): boolean {
    return this.#images.has(reference);
  }

  /** The driver as one life of the peer has it. */
  runtime(clock: HostClock): ContainerRuntime {
    const pause = (minMs: number, maxMs: number): Promise<void> => new Promise((resolve) => clock.after(this.#random.between(minMs, maxMs), resolve));
    return {
      list: async () => [...this.bundles.keys()],
      inspect: async (id) => this.#found(id),
      start: async (spec, _image, runToken, signal, first) => {
        const known = this.bundles.get(spec.id);
        if (known !== undefined && known.state !== "half" && known.runToken === runToken) return {};
        signal.throwIfAborted();
        const bundle: Bundle = { spec, runToken, state: "half", startedAtWallMs: 0, exit: undefined, run: undefined, cancelEnd: () => undefined };
        // Remembered before the process may exist, so that it happens once, whoever dies.
        this.bundles.set(spec.id, bundle);
        await pause(this.speed.startMsMin, this.speed.startMsMax);
        const [program = "sleep", lastsMs = "0", exitCode = "0"] = spec.command;
        const refusal: unknown =
          startRefusal(program) ??
          (await first?.then(
            () => undefined,
            (error: unknown) => error,
          ));
        const absent = spec.volumes.find(({ id }) => !this.#volumes.has(id));
        if (refusal === undefined && absent !== undefined) throw new CcError("NOT_FOUND", `volume ${absent.id} was never made on this host`);
        if (this.bundles.get(spec.id) !== bundle) throw new CcError("CONTAINER_FAILED", "its bundle was removed meanwhile");
        if (signal.aborted || refusal !== undefined) {
          // Nothing of a start that failed stays: not its token either.
          if (known === undefined || known.state === "half") this.bundles.delete(spec.id);
          else this.bundles.set(spec.id, known);
          throw refusal ?? signal.reason;
        }
        this.#begin(bundle, Number(lastsMs), Number(exitCode));
        return {};
      },
      kill: async (id, signalName) => {
        const bundle = this.bundles.get(id);
        if (bundle === undefined || (signalName !== "SIGKILL" && bundle.spec.command[0] === "stubborn")) return;
        this.#timeline.after(this.#random.between(1, 80), () => this.#end(bundle, signalName === "SIGKILL" ? 137 : 143));
      },
      waitExit: (id, signal) => this.#untilEnd(id, clock, signal),
      settle: async () => undefined,
      remove: async (id) => {
        const bundle = this.bundles.get(id);
        if (bundle === undefined) return;
        this.#end(bundle, 137);
        await pause(1, 30);
        if (this.bundles.get(id) === bundle) this.bundles.delete(id);
        this.#wake();
      },
      async *logs() {
        // Output is for people: nothing that is decided depends on it.
      },
      readers: () => 0,
      stdin: () => Promise.reject(new CcError("NOT_RUNNING", "the simulated container reads nothing")),
      exec: async (id, exec) => {
        const bundle = this.bundles.get(id);
        const isRunning = (): boolean => bundle?.state === "running";
        if (!isRunning()) throw new CcError("NOT_RUNNING", `container ${id} is not running`);
        const refusal = startRefusal(exec.command[0] ?? "");
        if (refusal !== undefined) throw refusal;
        const onChange = (listener: () => void): (() => void) => {
          this.#waiting.add(listener);
          return () => this.#waiting.delete(listener);
        };
        return simulatedExec(exec, clock, { isRunning, onChange });
      },
      metrics: async (id) => {
        const run = this.bundles.get(id)?.run;
        if (run === undefined || run.endedAtMs !== undefined) return undefined;
        // All the memory that it was promised, one thread, and nothing else: enough for who wants to see it asked for.
        return {
          readAtMs: clock.nowMs(),
          monotonicMs: clock.monotonicMs(),
          startedAtMs: this.bundles.get(id)?.startedAtWallMs ?? 0,
          cpu: { usedSeconds: 0, limitCores: 0, throttledSeconds: 0 },
          memory: { usedBytes: run.memoryBytes, peakBytes: run.memoryBytes, limitBytes: run.memoryBytes, oomKills: 0 },
          disk: { usedBytes: 0, limitBytes: 0, readBytes: 0, writtenBytes: 0, reads: 0, writes: 0 },
          interfaces: [],
          pids: { current: 1, limit: 0 },
        };
      },
    };
  }

  /** The same for volumes' files. */
  volumes(clock: HostClock): VolumeFiles {
    const usersOf = (id: VolumeId): ContainerId[] =>
      [...this.bundles.values()].flatMap(({ spec }) => (spec.volumes.some((mount) => mount.id === id) ? [spec.id] : []));
    return simulatedVolumes(this.#volumes, { clock, random: this.#random, timeline: this.#timeline, usersOf });
  }

  /** The same for images: `missing` is in no registry, `flaky...` fails now and then, `slow...` takes minutes. */
  images(clock: HostClock): SharedImages {
    return {
      library: NO_UPLOADS,
      local: async (reference) => this.#images.get(reference),
      list: async () => [...this.#images.values()],
      pull: async (reference, { signal }) => {
        const slow = reference.startsWith("slow") ? 120_000 : 0;
        this.#pulls.push(reference);
        try {
          await new Promise<void>((resolve, reject) => {
            const cancel = clock.after(slow + this.#random.between(this.speed.pullMsMin, this.speed.pullMsMax), resolve);
            const onAbort = (): void => {
              cancel();
              reject(signal.reason);
            };
            if (signal.aborted) onAbort();
            signal.addEventListener("abort", onAbort, { once: true });
          });
        } finally {
          this.#pulls.splice(this.#pulls.indexOf(reference), 1);
        }
        if (reference.startsWith("missing")) throw new CcError("IMAGE_NOT_FOUND", `there is no image ${reference}`);
        if (reference.startsWith("flaky") && this.#random.chance(0.5)) throw new CcError("REGISTRY_UNREACHABLE", "the registry does not answer");
        const image: ImageOnHost = {
          digest: `sha256:${hash("sha256", reference, "hex")}`,
          reference,
          layers: ["/layer"],
          sizeBytes: 1,
          config: { entrypoint: [], cmd: [], env: [], user: "", workingDir: "", stopSignal: "", labels: {} },
        };
        this.#images.set(reference, image);
        return image;
      },
    };
  }

  #begin(bundle: Bundle, lastsMs: number, exitCode: number): void {
    const run: ProcessRun = {
      host: this.name,
      container: bundle.spec.id,
      runToken: bundle.runToken,
      memoryBytes: bundle.spec.memoryBytes,
      volumes: bundle.spec.volumes.map(({ id }) => id),
      startedAtMs: this.#timeline.nowMs,
      endedAtMs: undefined,
    };
    Object.assign(bundle, { state: "running", run, startedAtWallMs: this.#time.wallMs });
    if (lastsMs > 0) bundle.cancelEnd = this.#timeline.after(lastsMs, () => this.#end(bundle, exitCode));
    this.#onStart(run);
  }

  /** `exitCode` undefined: nobody saw how it ended. */
  #end(bundle: Bundle, exitCode: number | undefined): void {
    if (bundle.state !== "running") return;
    bundle.cancelEnd();
    bundle.state = "ended";
    bundle.exit = exitCode === undefined ? undefined : { exitCode, oom: false, endedAtMs: this.#time.wallMs };
    if (bundle.run !== undefined) bundle.run.endedAtMs = this.#timeline.nowMs;
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #found(id: ContainerId): Found {
    const bundle = this.bundles.get(id);
    if (bundle === undefined) return { kind: "absent" };
    const { state, startedAtWallMs: startedAtMs, runToken, exit } = bundle;
    if (state === "half") return { kind: "half" };
    return state === "running" ? { kind: "running", pid: 1, startedAtMs, runToken } : { kind: "ended", exit, startedAtMs, runToken };
  }

  async #untilEnd(id: ContainerId, clock: HostClock, signal: AbortSignal): Promise<Exit | undefined> {
    for (;;) {
      signal.throwIfAborted();
      const found = this.#found(id);
      if (found.kind === "ended") return found.exit;
      if (found.kind !== "running") return undefined;
      await new Promise<void>((resolve, reject) => {
        const done = (): void => {
          this.#waiting.delete(wake);
          signal.removeEventListener("abort", onAbort);
        };
        const wake = (): void => {
          done();
          // Nobody of a dead life is told; a slow one hears late.
          clock.deliver(resolve);
        };
        const onAbort = (): void => {
          done();
          reject(signal.reason ?? GONE);
        };
        this.#waiting.add(wake);
        signal.addEventListener("abort", onAbort, { once: true });
      });
    }
  }
}

import type { ContainerId } from "../base/index.ts";
import type { ImageOnHost } from "../images/index.ts";
import type { ExecSpec } from "./exec.ts";
import type { ContainerMetrics } from "./metrics.ts";
import type { ContainerSpec } from "./spec.ts";

/** How a process of a container ended. */
export type Exit = { readonly exitCode: number; readonly oom: boolean; readonly endedAtMs: number };

/** What a runtime finds of one container on this host, whoever started it. */
export type Found =
  | { readonly kind: "absent" }
  /** A bundle lies there but no process was ever started from it, or the start was cut short: `clean` it. */
  | { readonly kind: "half" }
  | { readonly kind: "running"; readonly pid: number; readonly startedAtMs: number; readonly runToken: string }
  /** `exit` is undefined when the process is gone and nobody saw how (host rebooted, conmon killed). */
  | { readonly kind: "ended"; readonly exit: Exit | undefined; readonly startedAtMs: number; readonly runToken: string };

/** Where the time of a start went, milliseconds by step. */
export type StartTimings = Readonly<Record<string, number>>;

export type OutputChunk = {
  readonly stream: "stdout" | "stderr";
  readonly atMs: number;
  readonly data: Uint8Array;
  /** Position after this chunk in the container's whole output history, to resume from: grows, counts the log's own bytes too. */
  readonly position: number;
  /** Bytes of the log that were cut away before this chunk could be read: the reader was slower than the limits of the log allow. */
  readonly lostBytes?: number;
};

export type ReadLogs = {
  /** Continue after this position; 0: from the oldest kept. */
  readonly from: number;
  readonly follow: boolean;
  /** Only what was written at this time or later. */
  readonly sinceMs?: number;
  /** Only the last so many lines of what is there at the start. */
  readonly tail?: number;
  readonly signal: AbortSignal;
};

/** Standard input of a container. `write` resolves when there is room for more; both throw NOT_RUNNING when nobody reads any more. */
export type ContainerInput = { write(data: Uint8Array): Promise<void>; end(): Promise<void> };

export type ExecChunk = { readonly stream: "stdout" | "stderr"; readonly data: Uint8Array };

/** `withContainer`: it was ended because its container was. */
export type ExecExit = { readonly exitCode: number; readonly withContainer: boolean };

/** One more process in a container. It is its caller's: `end` must be called when nobody needs it any more. */
export interface ExecProcess {
  /**
   * Its output as it comes, for one reader; a slow one stops the process once a pipe (64 KiB) is full. Ends after the last
   * byte when the process has ended; what it left running in the background keeps nothing open.
   */
  output(): AsyncIterable<ExecChunk>;
  /** Resolves when there is room for more. What comes after its end is dropped. */
  write(data: Uint8Array): Promise<void>;
  endInput(): Promise<void>;
  /** Sends a signal to the process alone, as soon as there is one. */
  kill(signalName: string): Promise<void>;
  /** Rejects when it never began: COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE, BAD_REQUEST (no such directory), NOT_RUNNING, CONTAINER_FAILED. */
  readonly exit: Promise<ExecExit>;
  /** Ends it and what it began, with HUP and after a grace with KILL; resolves when that is done. Fine when it has ended. */
  end(): Promise<void>;
}

/**
 * Runs containers on this host: the driver interface (crun under conmon; a fake in the simulator). Every call may be
 * repeated: what is already so stays so. Containers outlive the process that started them.
 */
export interface ContainerRuntime {
  /** All containers of which anything lies on this host. */
  list(): Promise<readonly ContainerId[]>;
  inspect(id: ContainerId): Promise<Found>;
  /**
   * Makes the bundle (disk, root file system, network namespace) if missing and starts the process, once per
   * `runToken`: the same token again is the same start. The writable layer is kept from an earlier start.
   * `first` has to resolve before the process may exist (a record that has to be on the disk, say); what can be made ready
   * meanwhile, is. When it rejects, nothing is started and the call throws its reason.
   * Throws CcError: COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE, NO_ROOM, BAD_REQUEST (unknown user), CONTAINER_FAILED.
   */
  start(spec: ContainerSpec, image: ImageOnHost, runToken: string, signal: AbortSignal, first?: Promise<void>): Promise<StartTimings>;
  /** Sends a signal to the container's first process; nothing happens when it has ended. */
  kill(id: ContainerId, signalName: string): Promise<void>;
  /** Resolves when the process has ended (at once if it has), whatever happened to the process that started it. */
  waitExit(id: ContainerId, signal: AbortSignal): Promise<Exit | undefined>;
  /** Frees what only a running container needs (mounts, network namespace, cgroup); keeps disk and log. */
  settle(id: ContainerId): Promise<void>;
  /** Kills and removes everything of it. Absent is fine. */
  remove(id: ContainerId): Promise<void>;
  /** Output as it comes, history first; before all an empty chunk that says where reading begins. Ends after the last byte when the container has ended, or at once without `follow`. */
  logs(id: ContainerId, options: ReadLogs): AsyncIterable<OutputChunk>;
  /** Open readers of its output: what removes ended containers by itself lets them finish. */
  readers(id: ContainerId): number;
  /** Writes to the process's standard input; `end` closes it. Only for specs with `stdinOpen`. */
  stdin(id: ContainerId): Promise<ContainerInput>;
  /**
   * Starts one more process in a running container, as contained as its first. It ends with the container, and with this process.
   * Throws CcError: NOT_RUNNING, BAD_REQUEST (unknown user), LIMIT (EXECS_MAX at once).
   */
  exec(id: ContainerId, exec: ExecSpec, signal: AbortSignal): Promise<ExecProcess>;
  /** What the running process and its children use at this moment; undefined when it does not run. Cheap: no process is started for it. */
  metrics(id: ContainerId): Promise<ContainerMetrics | undefined>;
}

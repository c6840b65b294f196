import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { CcError, type CommandOptions, type CommandOutcome, type CommandRunner } from "../base/index.ts";
import { BoundedOutput } from "./bounded-output.ts";
import { commandEnvironment } from "./command-environment.ts";

const TIMEOUT_MS = 30_000;
const OUTPUT_BYTES_MAX = 1024 * 1024;
/** A daemon that a command left behind may hold its pipes open for ever; what it wrote before is read within this. */
const PIPES_DRAIN_MS = 300;
/** Exit code of a program ended by a signal is 128 + its number, as shells have it. */
const SIGNAL_BASE = 128;
const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGPIPE: 13, SIGTERM: 15 };

/** A command runner that also streams: for archives that do not fit into memory. */
export interface StreamingCommandRunner extends CommandRunner {
  /**
   * As `run`, with `source` as the program's standard input at the program's own pace. When the source fails, the
   * program is killed and the call rejects with the source's error. A program that ends before it has read all is an
   * outcome like any other.
   */
  feed(argv: readonly string[], source: Readable, options?: Omit<CommandOptions, "input">): Promise<CommandOutcome>;
}

/**
 * Runs programs without a shell, each in a process group of its own. At its time limit, or when the signal aborts,
 * the whole group is killed and the call rejects (CcError TIMEOUT, or the signal's reason) once it is gone.
 * A program that cannot be started rejects with CcError INTERNAL that names it, never its arguments.
 */
export function createCommandRunner(): StreamingCommandRunner {
  return {
    run: (argv, options = {}) => runCommand(argv, options, undefined),
    feed: (argv, source, options = {}) => runCommand(argv, options, source),
  };
}

function runCommand(argv: readonly string[], options: CommandOptions, source: Readable | undefined): Promise<CommandOutcome> {
  const [program, ...args] = argv;
  if (program === undefined) return Promise.reject(new TypeError("nothing to run"));
  const { signal } = options;
  if (signal?.aborted === true) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: commandEnvironment(process.env, options.env),
      stdio: [options.input === undefined && source === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      detached: true,
    });
    const bytesMax = options.outputBytesMax ?? OUTPUT_BYTES_MAX;
    const stdout = new BoundedOutput(bytesMax);
    const stderr = new BoundedOutput(bytesMax);
    child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
    // A program may end without reading its input; its exit code tells, EPIPE adds nothing.
    child.stdin?.on("error", () => source?.destroy());
    if (options.input !== undefined) child.stdin?.end(options.input);

    let killedBecause: unknown;
    const kill = (reason: unknown): void => {
      killedBecause ??= reason;
      killGroup(child);
    };
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    const timer = setTimeout(() => kill(new CcError("TIMEOUT", `${program} did not end within ${timeoutMs} ms`)), timeoutMs);
    const onAbort = (): void => kill(signal?.reason);
    if (source !== undefined && child.stdin !== null) {
      source.once("error", kill);
      source.pipe(child.stdin);
    }
    signal?.addEventListener("abort", onAbort, { once: true });

    let drain: NodeJS.Timeout | undefined;
    const release = (): void => {
      source?.destroy();
      clearTimeout(timer);
      clearTimeout(drain);
      signal?.removeEventListener("abort", onAbort);
    };
    child.once("error", (error) => {
      release();
      if (killedBecause !== undefined) return reject(killedBecause);
      reject(
        new CcError("INTERNAL", `${program} cannot be run on this host (${errorCode(error)}); is it installed? scripts/setup installs what is missing`, {
          cause: error,
        }),
      );
    });
    child.once("exit", () => {
      clearTimeout(timer);
      drain = setTimeout(() => {
        child.stdin?.destroy();
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, PIPES_DRAIN_MS);
    });
    child.once("close", (code, signalName) => {
      release();
      if (killedBecause !== undefined) return reject(killedBecause);
      resolve({ exitCode: code ?? SIGNAL_BASE + (SIGNAL_NUMBERS[signalName ?? ""] ?? 0), stdout: stdout.text(), stderr: stderr.text() });
    });
  });
}

/** Kills a child that was spawned `detached`, with everything that stayed in its group. Gone already is fine. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error;
  }
}

/** `ENOENT` and the like of anything thrown by Node; empty for others. */
export function errorCode(thrown: unknown): string {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : "";
}

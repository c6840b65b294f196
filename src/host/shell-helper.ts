import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { CcError, type CommandOutcome, type ShellHelper, shellQuote } from "../base/index.ts";
import { BoundedOutput } from "./bounded-output.ts";
import { commandEnvironment } from "./command-environment.ts";
import { killGroup } from "./command-runner.ts";

const TIMEOUT_MS = 30_000;
const OUTPUT_BYTES_MAX = 1024 * 1024;
/** Scripts that wait for their turn; more means that the host is stuck, and callers hear so. */
const WAITING_MAX = 1_024;
/** How long a closed helper may take to end by itself before it is killed. */
const CLOSE_MS = 1_000;

type Job = {
  readonly script: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Takes the job out of the queue; no longer listened to once the job runs. */
  readonly onAbortWaiting: () => void;
  readonly settle: { resolve(outcome: CommandOutcome): void; reject(reason: unknown): void };
};

type Running = { readonly job: Job; readonly output: BoundedOutput; release(): void };

/**
 * A kept /bin/sh that is fed scripts, one after another. It is started at the first script, dies with this process
 * (pdeathsig KILL), and is started again after it was killed. Each script runs in a subshell, so that `exit`, `cd`,
 * `set -e`, variables and syntax errors end with it; its standard input is /dev/null. At its time limit or abort the
 * helper is killed with its process group (also what earlier scripts left running in the background there), and the
 * call rejects: CcError TIMEOUT, or the signal's reason. The time spent waiting for its turn does not count.
 *
 * What a script leaves in the background must have its output redirected, else it lands in a later script's.
 */
export function createShellHelper(): ShellHelper {
  const waiting: Job[] = [];
  let shell: ChildProcessWithoutNullStreams | undefined;
  let running: Running | undefined;
  let closed = false;
  /** Unknown to scripts, so that no output can pass for the end of a script. */
  const mark = `@@${randomBytes(12).toString("hex")}`;
  let tail: Buffer = Buffer.alloc(0);

  function finish(): Running | undefined {
    const ended = running;
    running = undefined;
    ended?.release();
    return ended;
  }

  function onOutput(chunk: Buffer): void {
    if (running === undefined) return;
    tail = tail.length === 0 ? chunk : Buffer.concat([tail, chunk]);
    const at = tail.indexOf(`\n${mark} `);
    if (at < 0) {
      // Kept back: what could be the beginning of the mark and its exit code.
      const safe = Math.max(0, tail.length - mark.length - 2);
      running.output.push(tail.subarray(0, safe));
      tail = Buffer.from(tail.subarray(safe));
      return;
    }
    const codeAt = at + mark.length + 2;
    const endAt = tail.indexOf("\n", codeAt);
    if (endAt < 0) return;
    running.output.push(tail.subarray(0, at));
    const exitCode = Number(tail.toString("latin1", codeAt, endAt));
    tail = Buffer.alloc(0);
    const ended = finish();
    ended?.job.settle.resolve({ exitCode, stdout: ended.output.text(), stderr: "" });
    next();
  }

  function startShell(): ChildProcessWithoutNullStreams {
    const child = spawn("setpriv", ["--pdeathsig", "KILL", "sh"], { env: commandEnvironment(process.env), detached: true, stdio: "pipe" });
    const gone = (reason: unknown): void => {
      if (shell !== child) return;
      shell = undefined;
      finish()?.job.settle.reject(reason);
      next();
    };
    child.stdout.on("data", onOutput);
    child.stderr.on("data", onOutput);
    // The end of the helper is seen by "exit"; EPIPE on the way there adds nothing.
    child.stdin.on("error", () => undefined);
    child.once("error", (error) => gone(new CcError("INTERNAL", "the shell helper cannot be started; is util-linux (setpriv) installed?", { cause: error })));
    child.once("exit", () => gone(new CcError("INTERNAL", "the shell helper ended in the middle of a script")));
    return child;
  }

  function killShell(reason: unknown): void {
    const child = shell;
    shell = undefined;
    tail = Buffer.alloc(0);
    const ended = finish();
    if (child === undefined) {
      ended?.job.settle.reject(reason);
      return;
    }
    child.stdout.removeListener("data", onOutput);
    child.stderr.removeListener("data", onOutput);
    const reject = (): void => ended?.job.settle.reject(reason);
    child.once("exit", reject);
    child.once("error", reject);
    killGroup(child);
  }

  function next(): void {
    if (running !== undefined) return;
    const job = waiting.shift();
    if (job === undefined) return;
    job.signal?.removeEventListener("abort", job.onAbortWaiting);
    shell ??= startShell();
    const timer = setTimeout(() => {
      killShell(new CcError("TIMEOUT", `a script did not end within ${job.timeoutMs} ms`));
      next();
    }, job.timeoutMs);
    const onAbort = (): void => {
      killShell(job.signal?.reason);
      next();
    };
    job.signal?.addEventListener("abort", onAbort, { once: true });
    running = {
      job,
      output: new BoundedOutput(OUTPUT_BYTES_MAX),
      release: () => {
        clearTimeout(timer);
        job.signal?.removeEventListener("abort", onAbort);
      },
    };
    shell.stdin.write(`( eval ${shellQuote(job.script)} ) 2>&1 </dev/null; printf '\\n${mark} %d\\n' $?\n`);
  }

  function dropWaiting(job: Job): void {
    const at = waiting.indexOf(job);
    if (at < 0) return;
    waiting.splice(at, 1);
    job.settle.reject(job.signal?.reason);
  }

  return {
    run: (script, options = {}) =>
      new Promise((resolve, reject) => {
        if (closed) return reject(new CcError("CANCELLED", "the shell helper is closed"));
        if (options.signal?.aborted === true) return reject(options.signal.reason);
        if (waiting.length >= WAITING_MAX) return reject(new CcError("RATE_LIMITED", "too many things wait for this host; try again in a moment"));
        if (script.includes("\0")) return reject(new TypeError("a script cannot contain a zero byte"));
        const job: Job = {
          script,
          timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
          signal: options.signal,
          onAbortWaiting: () => dropWaiting(job),
          settle: { resolve, reject },
        };
        waiting.push(job);
        options.signal?.addEventListener("abort", job.onAbortWaiting, { once: true });
        next();
      }),
    async close() {
      closed = true;
      for (const job of waiting.splice(0)) job.settle.reject(new CcError("CANCELLED", "the shell helper is closed"));
      const child = shell;
      if (child === undefined) return;
      const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      const timer = setTimeout(() => killShell(new CcError("CANCELLED", "the shell helper is closed")), CLOSE_MS);
      child.stdin.end();
      await ended;
      clearTimeout(timer);
    },
  };
}

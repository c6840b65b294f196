import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { CcError, type CommandOutcome, type ShellHelper } from "../base/index.ts";
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

type KeptKind = {
  /** In what is said of it. */
  readonly name: string;
  readonly argv: readonly string[];
  /** What it is fed. After its output it says `\n<mark> <exit code>\n`. */
  readonly feed: (script: string, mark: string) => string;
};

/**
 * A kept program that is fed scripts, one after another. It is started at the first, dies with this process (pdeathsig
 * KILL), and is started again after it was killed. At its time limit or abort it is killed with its process group (also
 * what earlier scripts left running in the background there), and the call rejects: CcError TIMEOUT, or the signal's
 * reason. The time spent waiting for its turn does not count.
 */
export function keep(kind: KeptKind): ShellHelper {
  const waiting: Job[] = [];
  let kept: ChildProcessWithoutNullStreams | undefined;
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

  function start(): ChildProcessWithoutNullStreams {
    const child = spawn("setpriv", ["--pdeathsig", "KILL", ...kind.argv], { env: commandEnvironment(process.env), detached: true, stdio: "pipe" });
    const gone = (reason: unknown): void => {
      if (kept !== child) return;
      kept = undefined;
      tail = Buffer.alloc(0);
      finish()?.job.settle.reject(reason);
      next();
    };
    child.stdout.on("data", onOutput);
    child.stderr.on("data", onOutput);
    // The end of the helper is seen by "exit"; EPIPE on the way there adds nothing.
    child.stdin.on("error", () => undefined);
    child.once("error", (error) => gone(new CcError("INTERNAL", `${kind.name} cannot be started; is util-linux (setpriv) installed?`, { cause: error })));
    child.once("exit", () => gone(new CcError("INTERNAL", `${kind.name} ended in the middle of a script`)));
    return child;
  }

  function kill(reason: unknown): void {
    const child = kept;
    kept = undefined;
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
    kept ??= start();
    const timer = setTimeout(() => {
      kill(new CcError("TIMEOUT", `a script did not end within ${job.timeoutMs} ms`));
      next();
    }, job.timeoutMs);
    const onAbort = (): void => {
      kill(job.signal?.reason);
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
    kept.stdin.write(kind.feed(job.script, mark));
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
        if (closed) return reject(new CcError("CANCELLED", `${kind.name} is closed`));
        if (options.signal?.aborted === true) return reject(options.signal.reason);
        if (waiting.length >= WAITING_MAX) return reject(new CcError("RATE_LIMITED", "too many things wait for this host; try again in a moment"));
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
      for (const job of waiting.splice(0)) job.settle.reject(new CcError("CANCELLED", `${kind.name} is closed`));
      const child = kept;
      if (child === undefined) return;
      const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      const timer = setTimeout(() => kill(new CcError("CANCELLED", `${kind.name} is closed`)), CLOSE_MS);
      child.stdin.end();
      await ended;
      clearTimeout(timer);
    },
  };
}

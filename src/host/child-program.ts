import { type ChildProcess, spawn } from "node:child_process";
import { CcError, isErrorCode } from "../base/index.ts";
import { BoundedOutput } from "./bounded-output.ts";
import { commandEnvironment } from "./command-environment.ts";
import { errorCode, killGroup } from "./command-runner.ts";

/** A program of our own in a process of its own: for work that would keep this one's loop busy, or that nobody trusts. */
export interface ChildProgram {
  /**
   * One task after the other. Rejects with the CcError that the program answers with, or with CcError INTERNAL when it ends
   * without an answer. An abort kills the program with all that it has started, and rejects with the signal's reason.
   */
  ask(task: object, signal: AbortSignal): Promise<unknown>;
  /** Ends the program, with what is still asked of it. */
  close(): Promise<void>;
}

/** What goes through the channel; JSON. */
type Question = { readonly id: number; readonly task: object };
type Answer = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly code: string; readonly message: string };

const STDERR_BYTES_MAX = 4_096;

/**
 * `file`: a module that calls `answerParent`. It ends when this process does, and what it mounts is seen by nobody else and
 * ends with it.
 */
export function startChildProgram(file: string, options: { readonly heapMegabytes: number }): ChildProgram {
  const node = [process.execPath, `--max-old-space-size=${options.heapMegabytes}`, file];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "slave", "--", ...node], {
    env: commandEnvironment(process.env),
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    detached: true,
  });
  const waiting = new Map<number, (answer: Answer) => void>();
  const stderr = new BoundedOutput(STDERR_BYTES_MAX);
  child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
  const ended = new Promise<void>((resolve) => {
    const settle = (why: string): void => {
      for (const [id, answer] of waiting) answer({ id, code: "INTERNAL", message: why });
      waiting.clear();
      resolve();
    };
    child.once("error", (error) => settle(`${file} cannot be run (${errorCode(error)})`));
    child.once("close", () => settle(`${file} ended without an answer: ${stderr.text().trim().slice(-500)}`));
  });
  child.on("message", (answer: Answer) => {
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  let lastId = 0;

  return {
    async ask(task, signal) {
      signal.throwIfAborted();
      lastId += 1;
      const id = lastId;
      const onAbort = (): void => killGroup(child);
      const answered = new Promise<Answer>((resolve) => waiting.set(id, resolve));
      signal.addEventListener("abort", onAbort, { once: true });
      tell(child, { id, task });
      const answer = await answered;
      signal.removeEventListener("abort", onAbort);
      signal.throwIfAborted();
      if ("value" in answer) return answer.value;
      throw new CcError(isErrorCode(answer.code) ? answer.code : "INTERNAL", answer.message);
    },
    async close() {
      if (child.exitCode === null && child.signalCode === null) killGroup(child);
      await ended;
    },
  };
}

function tell(child: ChildProcess, question: Question): void {
  // That it is gone is told to whoever waits by its end.
  if (child.connected) child.send(question, () => undefined);
}

/** The other side: answers each task until the parent is gone. What it starts has to stay in its process group. */
export function answerParent(work: (task: unknown) => Promise<unknown>): void {
  process.on("disconnect", () => process.exit(0));
  process.on("message", async (question: Question) => void process.send?.(await answerOf(question.id, work(question.task))));
}

async function answerOf(id: number, work: Promise<unknown>): Promise<Answer> {
  try {
    return { id, value: (await work) ?? null };
  } catch (error) {
    return { id, code: error instanceof CcError ? error.code : "INTERNAL", message: error instanceof Error ? error.message : String(error) };
  }
}

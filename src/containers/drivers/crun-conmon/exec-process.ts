import { existsSync, rmSync, statSync } from "node:fs";
import type { Socket } from "node:net";
import { constants } from "node:os";
import { CcError, type ContainerId, sleep } from "../../../base/index.ts";
import type { ExecChunk, ExecExit, ExecProcess } from "../../runtime.ts";
import type { Context } from "./context.ts";
import { execMembers, signalAll } from "./exec-members.ts";
import { ExecOutput } from "./exec-output.ts";
import { observe } from "./observe.ts";
import { startTicks, textOf } from "./processes.ts";
import { execError } from "./start-error.ts";

const KILLED = 137;
const LOOK_MS = 10;
/** How long crun may take to begin, on a machine that is very busy. */
const BEGIN_MS_MAX = 10_000;
/** Between HUP and KILL. */
const GRACE_MS = 2_000;
const END_MS_MAX = 7_000;
/** The container's first process is reaped a moment after what was in it. */
const CONTAINER_END_MS = 100;

export type ExecParts = {
  readonly id: ContainerId;
  readonly folder: string;
  /** The command's first word. */
  readonly word: string;
  /** The container's first process. */
  readonly first: { readonly pid: number; readonly ticks: string | undefined };
  /** What the script says: `crun PID`, `exit CODE`. */
  readonly said: Socket;
  readonly stdout: Socket;
  readonly stderr: Socket;
  readonly stdin: Socket | undefined;
};

/** One exec, from its script's start to its process's end. */
export class RunningExec implements ExecProcess {
  readonly exit: Promise<ExecExit>;
  /** Resolves when the process has ended or never began. */
  readonly over: Promise<void>;
  readonly #context: Context;
  readonly #parts: ExecParts;
  readonly #output: ExecOutput;
  readonly #sessions = new Set<number>();
  #crunPid: number | undefined;
  #isOver = false;
  /** Nobody will say any more how it ended. */
  #isUnwatched = false;
  #ending: Promise<void> | undefined;
  #inputEnded = false;
  #waitForRoom: (() => void)[] = [];

  constructor(context: Context, parts: ExecParts) {
    this.#context = context;
    this.#parts = parts;
    this.#output = new ExecOutput(parts.stdout, parts.stderr, () => this.#began());
    // A process that no longer reads its input is no fault of who writes.
    parts.stdin?.on("error", () => undefined);
    for (const event of ["drain", "close"]) parts.stdin?.on(event, () => this.#roomIsThere());
    const code = this.#exitCode();
    this.exit = code.then(
      (exitCode) => this.#outcome(exitCode),
      (error: unknown) => this.#unwatched(error),
    );
    this.over = this.exit.then(
      () => undefined,
      () => undefined,
    );
  }

  output(): AsyncIterable<ExecChunk> {
    return this.#output.chunks();
  }

  async write(data: Uint8Array): Promise<void> {
    const { stdin } = this.#parts;
    if (stdin === undefined || this.#inputEnded || this.#isOver || stdin.destroyed || data.length === 0) return;
    if (stdin.write(data)) return;
    await new Promise<void>((resolve) => {
      this.#waitForRoom.push(resolve);
    });
  }

  async endInput(): Promise<void> {
    const { stdin } = this.#parts;
    if (stdin === undefined || this.#inputEnded) return;
    this.#inputEnded = true;
    // A pipe has no half-close: closed when the last of it is written, which is its reader's end. Not before that reader is there:
    // without a writer its opening of the pipe would wait for ever.
    stdin.write("", () => void this.#pid().then(() => stdin.destroy()));
  }

  #roomIsThere(): void {
    const waiting = this.#waitForRoom;
    this.#waitForRoom = [];
    for (const resolve of waiting) resolve();
  }

  async kill(signalName: string): Promise<void> {
    const pid = await this.#pid();
    if (pid !== undefined && !this.#isOver) signalAll([pid], signalNumber(signalName));
  }

  end(): Promise<void> {
    this.#ending ??= this.#isOver ? Promise.resolve() : this.#end();
    this.#output.destroy();
    return this.#ending;
  }

  async #end(): Promise<void> {
    const { id } = this.#parts;
    const { clock, logger } = this.#context.deps;
    await this.#pid();
    const from = clock.monotonicMs();
    // Who is told late, because it has just come into the container, is told once too.
    const told = new Set<number>();
    for (;;) {
      const members = await this.#members();
      const lastedMs = clock.monotonicMs() - from;
      if (members.length === 0 && (this.#isOver || this.#isUnwatched)) return;
      if (lastedMs > END_MS_MAX) {
        logger.error({ container: id, pids: members }, "a command whose user is gone does not end");
        return;
      }
      signalAll(
        members.filter((pid) => !told.has(pid)),
        "SIGHUP",
      );
      for (const pid of members) told.add(pid);
      // A crun that has begun nothing is held up: it goes too.
      if (lastedMs > GRACE_MS) signalAll(members.length > 0 || this.#crunPid === undefined ? members : [this.#crunPid], "SIGKILL");
      await sleep(clock, LOOK_MS);
    }
  }

  async #members(): Promise<readonly number[]> {
    return this.#crunPid === undefined ? [] : execMembers(this.#context, this.#parts.id, this.#crunPid, this.#sessions);
  }

  /** Of the process, as soon as crun has made it; undefined when it is over before. */
  async #pid(): Promise<number | undefined> {
    const { clock } = this.#context.deps;
    const until = clock.monotonicMs() + BEGIN_MS_MAX;
    while (!this.#isOver && clock.monotonicMs() < until) {
      const pid = Number(textOf(`${this.#parts.folder}/pid`));
      if (pid > 0) return pid;
      await sleep(clock, LOOK_MS);
    }
    return undefined;
  }

  /** Once crun has become the program. False: it could not, and what stands on stderr is its own complaint. */
  async #began(): Promise<boolean> {
    while (!this.#isOver) {
      const program = programOf(Number(textOf(`${this.#parts.folder}/pid`)));
      if (program !== undefined && program !== programOf(this.#crunPid ?? 0)) return true;
      await Promise.race([this.over, sleep(this.#context.deps.clock, LOOK_MS)]);
    }
    return this.exit.then(
      () => true,
      () => false,
    );
  }

  #exitCode(): Promise<number> {
    const { said } = this.#parts;
    return new Promise((resolve, reject) => {
      let text = "";
      said.on("data", (chunk: Buffer) => {
        text = (text + chunk.toString("latin1")).slice(-200);
        const crun = /^crun (\d+)$/m.exec(text);
        if (crun !== null) this.#crunPid = Number(crun[1]);
        const exit = /^exit (\d+)$/m.exec(text);
        if (exit !== null) resolve(Number(exit[1]));
      });
      said.on("error", () => undefined);
      said.on("close", () => reject(new CcError("CONTAINER_FAILED", "how the command ended is unknown: what watched it on its host was ended")));
      const cancel = this.#context.deps.clock.after(BEGIN_MS_MAX, () => {
        if (this.#crunPid === undefined) reject(new CcError("CONTAINER_FAILED", `the command could not be started within ${BEGIN_MS_MAX / 1000} s`));
      });
      said.on("close", cancel);
    });
  }

  async #unwatched(error: unknown): Promise<never> {
    this.#isUnwatched = true;
    await this.#end();
    this.#close();
    throw error;
  }

  async #outcome(exitCode: number): Promise<ExecExit> {
    const complaint = exitCode === 0 ? "" : this.#complaint();
    // Where that cannot be found out (the runtime is closing), the process has ended all the same.
    const stillRuns = await this.#containerRuns(exitCode, complaint).catch(() => true);
    this.#close();
    if (complaint !== "")
      throw stillRuns ? execError(complaint, this.#parts.word) : new CcError("NOT_RUNNING", `container ${this.#parts.id} ended before the command began`);
    return { exitCode, withContainer: !stillRuns };
  }

  /** After an end that may be the container's: whether it goes on. */
  async #containerRuns(exitCode: number, complaint: string): Promise<boolean> {
    if (exitCode !== KILLED && complaint === "") return true;
    const { id, first } = this.#parts;
    const { clock } = this.#context.deps;
    const until = clock.monotonicMs() + CONTAINER_END_MS;
    while (startTicks(first.pid) === first.ticks) {
      if (exitCode !== KILLED || clock.monotonicMs() > until) return (await observe(this.#context, id)).kind === "running";
      await sleep(clock, LOOK_MS);
    }
    return false;
  }

  /** What crun itself had to say, empty while all went well. */
  #complaint(): string {
    return textOf(`${this.#parts.folder}/log`)
      .split("\n")
      .flatMap((line) => messageIn(line))
      .join(" ");
  }

  #close(): void {
    this.#isOver = true;
    this.#output.processEnded();
    this.#parts.said.destroy();
    this.#parts.stdin?.destroy();
    if (existsSync(this.#parts.folder)) rmSync(this.#parts.folder, { recursive: true, force: true });
  }
}

/** Which file a process runs, by device and number; undefined for who is gone. */
function programOf(pid: number): string | undefined {
  const file = pid > 0 ? statSync(`/proc/${pid}/exe`, { throwIfNoEntry: false }) : undefined;
  return file === undefined ? undefined : `${file.dev}:${file.ino}`;
}

/** A line of crun's log in JSON, where it is an error. */
function messageIn(line: string): string[] {
  try {
    const { msg, level }: { readonly msg?: unknown; readonly level?: unknown } = JSON.parse(line);
    return level === "error" && typeof msg === "string" ? [msg] : [];
  } catch {
    return []; // An empty or a half-written line.
  }
}

/** Numbers of what `signalName` gives; real-time ones as the C library counts them. */
function signalNumber(name: string): number {
  const known = Object.entries(constants.signals).find(([each]) => each === name)?.[1];
  if (known !== undefined) return known;
  const [, from, offset] = /^SIGRT(MIN|MAX)(?:[+-](\d+))?$/.exec(name) ?? [];
  return from === "MAX" ? 64 - Number(offset ?? 0) : 34 + Number(offset ?? 0);
}

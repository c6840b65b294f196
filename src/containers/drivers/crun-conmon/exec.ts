import { constants, openSync, readFileSync, rmSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { Socket } from "node:net";
import { CcError, type ContainerId } from "../../../base/index.ts";
import { EXECS_MAX, type ExecSpec, execProcess, type OciProcess } from "../../exec.ts";
import type { ExecProcess } from "../../runtime.ts";
import { type ResolvedUser, resolveUser } from "../../user.ts";
import type { Context } from "./context.ts";
import { endScripts } from "./exec-members.ts";
import { RunningExec } from "./exec-process.ts";
import { textInLiveRoot } from "./live-root.ts";
import { observe } from "./observe.ts";
import { startTicks } from "./processes.ts";
import { execScript } from "./scripts.ts";

const SCRIPT_MS_MAX = 10_000;

/** The execs of one peer's life. */
export class Execs {
  readonly #context: Context;
  readonly #running = new Set<RunningExec>();
  /** How many of each container there are, those included that begin just now. */
  readonly #places = new Map<ContainerId, number>();
  #count = 0;
  #closed = false;

  constructor(context: Context) {
    this.#context = context;
  }

  /** What an earlier life has left on the host. What it has left inside is ended container by container (endStrays). */
  async clear(): Promise<void> {
    await endScripts(this.#context.deps.clock, this.#context.paths.execs);
    await rm(this.#context.paths.execs, { recursive: true, force: true });
    await mkdir(this.#context.paths.execs, { recursive: true, mode: 0o700 });
  }

  /** See ContainerRuntime.exec. */
  async start(id: ContainerId, exec: ExecSpec, signal: AbortSignal): Promise<ExecProcess> {
    const found = await observe(this.#context, id);
    if (found.kind !== "running") throw notRunning(id);
    const taken = this.#places.get(id) ?? 0;
    if (taken >= EXECS_MAX) throw new CcError("LIMIT", `${EXECS_MAX} commands run in ${id} at once already, which is the most; try again when one has ended`);
    this.#places.set(id, taken + 1);
    let started: RunningExec | undefined;
    try {
      started = await this.#begin(id, exec, { pid: found.pid, ticks: startTicks(found.pid) }, signal);
    } finally {
      if (started === undefined) this.#leave(id);
    }
    const begun = started;
    this.#running.add(begun);
    void begun.over.then(() => {
      this.#running.delete(begun);
      this.#leave(id);
    });
    if (!this.#closed && !signal.aborted) return begun;
    await begun.end();
    throw this.#closed ? new CcError("CANCELLED", "the runtime is closed") : signal.reason;
  }

  #leave(id: ContainerId): void {
    const left = (this.#places.get(id) ?? 1) - 1;
    if (left > 0) this.#places.set(id, left);
    else this.#places.delete(id);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#running].map((exec) => exec.end()));
  }

  async #begin(
    id: ContainerId,
    exec: ExecSpec,
    first: { readonly pid: number; readonly ticks: string | undefined },
    signal: AbortSignal,
  ): Promise<RunningExec> {
    const { paths, settings, deps } = this.#context;
    const own = ownProcess(`${paths.bundle(id)}/config.json`);
    const user = exec.user === "" ? undefined : await this.#user(id, exec.user);
    signal.throwIfAborted();
    this.#count += 1;
    const folder = `${paths.execs}/${this.#count}`;
    await mkdir(folder, { mode: 0o700 });
    try {
      await writeFile(`${folder}/process.json`, JSON.stringify(execProcess(own, exec, user)), { mode: 0o600 });
      const script = execScript({ folder, crun: settings.crunPath, crunRoot: paths.crunRoot, id, stdin: exec.stdin });
      const said = await deps.process.run(script, { timeoutMs: SCRIPT_MS_MAX });
      if (said.exitCode !== 0) throw new CcError("CONTAINER_FAILED", `the command's pipes cannot be made: ${said.stdout.trim()}`);
      // Its side of each pipe waits in its opening until this side is there.
      const reading = (name: string): Socket => pipe(`${folder}/${name}`, constants.O_RDONLY);
      return new RunningExec(this.#context, {
        id,
        folder,
        word: exec.command[0] ?? "",
        first,
        said: reading("said"),
        stdout: reading("out"),
        stderr: reading("err"),
        // For reading too, or there would be nobody to open it for as long as the process has not.
        stdin: exec.stdin ? pipe(`${folder}/in`, constants.O_RDWR) : undefined,
      });
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async #user(id: ContainerId, text: string): Promise<ResolvedUser> {
    const { paths, deps } = this.#context;
    const { uidMap, gidMap } = deps.userNamespace;
    const [passwd, group] = await Promise.all(["/etc/passwd", "/etc/group"].map((path) => textInLiveRoot(paths.rootfs(id), path)));
    const user = resolveUser(text, passwd ?? "", group ?? "", Math.min(uidMap.size, gidMap.size));
    if (!user.ok) throw new CcError(user.code, user.message);
    return user.value;
  }
}

function notRunning(id: ContainerId): CcError {
  return new CcError("NOT_RUNNING", `container ${id} is not running; cc start ${id} starts it`);
}

function ownProcess(path: string): OciProcess {
  const config: { readonly process: OciProcess } = JSON.parse(readFileSync(path, "utf8"));
  return config.process;
}

function pipe(path: string, mode: number): Socket {
  const fd = openSync(path, mode | constants.O_NONBLOCK);
  const writes = mode === constants.O_RDWR;
  return new Socket({ fd, readable: !writes, writable: writes });
}

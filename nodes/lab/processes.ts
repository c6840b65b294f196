import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CcError } from "../../src/base/index.ts";
import { errorCode } from "../../src/host/index.ts";

/** A process that is surely the same one: process ids are used again, a start time with them is not. */
export type ProcessRef = { readonly pid: number; readonly startTicks: string };

/** State letter and start time (clock ticks since boot) of a /proc/PID/stat; the name in it may hold anything. */
export function parseStat(stat: string): { readonly state: string; readonly startTicks: string } | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startTicks] = [fields[0], fields[19]];
  return state === undefined || startTicks === undefined ? undefined : { state, startTicks };
}

/** Reads something that may vanish while it is read, or that a machine hides even from root: a process, a group. */
function read<T>(how: () => T): T | undefined {
  try {
    return how();
  } catch (error) {
    if (["ENOENT", "ESRCH", "ENODEV", "EINVAL", "ENOTDIR", "EACCES", "EPERM"].includes(errorCode(error))) return undefined;
    throw error;
  }
}

/** The process of that id, unless it is gone or only waits to be buried. */
export function processOf(pid: number): ProcessRef | undefined {
  const stat = read(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  const parsed = stat === undefined ? undefined : parseStat(stat);
  return parsed === undefined || parsed.state === "Z" || parsed.state === "X" ? undefined : { pid, startTicks: parsed.startTicks };
}

export const isAlive = (process: ProcessRef): boolean => processOf(process.pid)?.startTicks === process.startTicks;

/** Sends a signal unless the process has ended since. */
function signalProcess(ref: ProcessRef, signal: NodeJS.Signals): void {
  if (!isAlive(ref)) return;
  try {
    process.kill(ref.pid, signal);
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error;
  }
}

/** Asks a process to end, and ends it when `graceMs` has passed. */
export async function endProcess(ref: ProcessRef, graceMs: number): Promise<void> {
  signalProcess(ref, "SIGTERM");
  for (let waitedMs = 0; isAlive(ref); waitedMs += 20) {
    if (waitedMs >= graceMs) signalProcess(ref, "SIGKILL");
    if (waitedMs >= graceMs + 10_000) throw new CcError("INTERNAL", `process ${ref.pid} does not end`);
    await pause(20);
  }
}

/** Process ids in the groups at and below the given folders of cgroup hierarchies. */
export function processesInGroups(folders: readonly string[]): Set<number> {
  const pids = new Set<number>();
  for (const folder of folders) {
    for (const line of read(() => readFileSync(join(folder, "cgroup.procs"), "utf8"))?.split("\n") ?? []) if (line !== "") pids.add(Number(line));
    for (const inner of groupsIn(folder)) for (const pid of processesInGroups([inner])) pids.add(pid);
  }
  return pids;
}

export function groupsIn(folder: string): string[] {
  const entries = read(() => readdirSync(folder, { withFileTypes: true })) ?? [];
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
}

/** Process ids in any of the namespaces, given as their links read: `net:[4026532177]`. */
export function processesInNamespaces(namespaces: ReadonlySet<string>): Set<number> {
  const pids = new Set<number>();
  const kinds = new Set([...namespaces].map((namespace) => namespace.slice(0, namespace.indexOf(":"))));
  for (const entry of namespaces.size === 0 ? [] : readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    for (const kind of kinds) {
      const link = read(() => readlinkSync(`/proc/${entry}/ns/${kind}`));
      if (link !== undefined && namespaces.has(link)) pids.add(Number(entry));
    }
  }
  return pids;
}

/** Kills what `find` finds until it finds nothing more: what forks meanwhile is found the next time. */
export async function killUntilGone(find: () => Iterable<number>, limitMs: number): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += 20) {
    const found = [...find()].map(processOf).filter((ref) => ref !== undefined);
    if (found.some((ref) => ref.pid === process.pid))
      throw new CcError("BAD_USAGE", "this runs inside the lab that it is to take down; leave the host's shell first");
    if (found.length === 0) return;
    if (waitedMs >= limitMs) throw new CcError("INTERNAL", `processes of the lab do not end: ${found.map((ref) => ref.pid).join(", ")}`);
    for (const ref of found) signalProcess(ref, "SIGKILL");
    await pause(20);
  }
}

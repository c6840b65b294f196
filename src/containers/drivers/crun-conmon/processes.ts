import { readFileSync } from "node:fs";
import type { ContainerId } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";

/** Whether conmon of this container still runs. A pid alone may be somebody else's by now: its command line tells. */
export function monitorPid(pidFile: string, id: ContainerId): number | undefined {
  const pid = pidIn(pidFile);
  if (pid === undefined) return undefined;
  const words = textOf(`/proc/${pid}/cmdline`).split("\0");
  return words[words.indexOf("--cid") + 1] === id ? pid : undefined;
}

function pidIn(pidFile: string): number | undefined {
  const text = textOf(pidFile).trim();
  return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined;
}

/** When a process was started, in clock ticks since boot: with its pid, its identity. Undefined for who is gone, zombies too. */
export function startTicks(pid: number): string | undefined {
  return ticksIn(textOf(`/proc/${pid}/stat`));
}

/** The same of the text of a /proc/PID/stat. */
export function ticksIn(text: string): string | undefined {
  // The name (field 2) may contain spaces and brackets; what follows the last bracket may not.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** The hard limit of open files of this process. */
export function openFilesMax(): number {
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(textOf("/proc/self/limits"))?.[1];
  return hard === undefined ? 1024 : Number(hard);
}

/** Of /proc and the run folder, which are memory: a look takes microseconds, handing it to another thread and back takes milliseconds when many wait. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes(errorCode(error))) return "";
    throw error;
  }
}

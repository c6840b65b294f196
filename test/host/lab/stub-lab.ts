import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { processOf } from "../../../nodes/lab/processes.ts";

// A lab with stand-ins for peer and cc, of this process's own.
const top = join(import.meta.dirname, "../../..");
export const main = join(top, "nodes/lab/main.ts");
export const name = `test-lab-${process.pid}-${processOf(process.pid)?.startTicks}`;
const folder = join(top, ".lab", name);
export const env = { ...process.env, CC_LAB_PROGRAMS: join(import.meta.dirname, "stub") };

export type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };
export const lab = (...words: string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    execFile(process.execPath, [main, "--name", name, ...words], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, stdout, stderr });
    });
  });
export const status = async () => JSON.parse((await lab("status", "--json")).stdout);
export const ping = async (host: number, address: string): Promise<boolean> =>
  (await lab("exec", String(host), "--", "busybox", "ping", "-c1", "-W1", address)).code === 0;

/** Everything on the machine that mentions this lab. */
export function traces(tag: string): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(folder));
  const links = readdirSync("/sys/class/net").filter((link) => link.includes(tag));
  const groups = readdirSync("/sys/fs/cgroup")
    .flatMap((root) => [`/sys/fs/cgroup/${root}/cc-lab-${tag}`, `/sys/fs/cgroup/cc-lab-${tag}`])
    .filter(existsSync);
  const processes = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && commandLine(pid).includes(folder));
  return [...mounts, ...links, ...groups, ...processes, ...(existsSync(folder) ? [folder] : [])];
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    // Gone since the listing.
    return "";
  }
}

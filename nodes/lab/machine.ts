import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CcError, type CommandOutcome } from "../../src/base/index.ts";
import { createCommandRunner, errorCode } from "../../src/host/index.ts";
import { cgroupRoots, type Mount, mountsBelow, parseMountInfo } from "./mounts.ts";
import { groupsIn, type ProcessRef, processOf } from "./processes.ts";

/** The lab's effects on the machine: scripts, long-lived programs, cgroups, mounts, loop devices, locks. */
const runner = createCommandRunner();
const SCRIPT_MS = 30_000;
/** No proxy of the machine's stands between parts of a lab. */
const NO_PROXY = { NO_PROXY: "*", no_proxy: "*" };

/** Runs a program; one that fails is a fault here, with the end of what it said. */
export async function run(
  argv: readonly string[],
  options: { readonly signal?: AbortSignal; readonly timeoutMs?: number; readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<CommandOutcome> {
  const outcome = await runner.run(argv, { timeoutMs: SCRIPT_MS, ...options, env: { ...NO_PROXY, ...options.env } });
  if (outcome.exitCode !== 0) {
    const said = `${outcome.stderr}${outcome.stdout}`.trim().split("\n").slice(-12).join("\n");
    throw new CcError("INTERNAL", `${argv[0] === "sh" ? "a set-up script" : argv.slice(0, 3).join(" ")} failed (${outcome.exitCode}): ${said}`);
  }
  return outcome;
}

export function runScript(script: string, signal?: AbortSignal): Promise<CommandOutcome> {
  return run(["sh", "-ec", script], signal === undefined ? {} : { signal });
}

export const readMounts = (): Mount[] => parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8"));

export const readCgroupRoots = (): string[] => cgroupRoots(readMounts());

export function makeGroup(path: string): void {
  for (const root of readCgroupRoots()) mkdirSync(join(root, path), { recursive: true });
}

/** Removes a group with all below it, in every hierarchy, also those that the lab itself puts nothing in. */
export async function removeGroup(path: string): Promise<void> {
  const roots = readMounts().filter((mount) => mount.type === "cgroup" || mount.type === "cgroup2");
  for (const root of roots) await removeGroupFolder(join(root.point, path));
}

async function removeGroupFolder(folder: string): Promise<void> {
  for (const inner of groupsIn(folder)) await removeGroupFolder(inner);
  for (let tries = 0; ; tries += 1) {
    try {
      rmdirSync(folder);
      return;
    } catch (error) {
      if (errorCode(error) === "ENOENT") return;
      // The kernel takes a moment after the last process of a group.
      if (errorCode(error) !== "EBUSY" || tries >= 100) throw error;
      await pause(20);
    }
  }
}

/** Unmounts all at and below a folder, in this mount namespace. */
export async function unmountBelow(folder: string): Promise<void> {
  for (let round = 0; round < 5; round += 1) {
    const points = mountsBelow(readMounts(), folder);
    if (points.length === 0) return;
    for (const point of points) await runner.run(["umount", "-l", point]);
  }
  throw new CcError("INTERNAL", `something is still mounted below ${folder}`);
}

/** Lets go of loop devices whose file is below a folder: those that were not mounted detach by themselves never. */
export async function detachLoops(folder: string): Promise<void> {
  for (const device of readdirSync("/sys/block").filter((name) => name.startsWith("loop"))) {
    if (loopFile(device)?.startsWith(`${folder}/`) === true) await runner.run(["losetup", "-d", `/dev/${device}`]);
  }
}

function loopFile(device: string): string | undefined {
  try {
    return readFileSync(`/sys/block/${device}/loop/backing_file`, "utf8").trim();
  } catch (error) {
    if (["ENOENT", "ENXIO", "ENODEV"].includes(errorCode(error))) return undefined;
    throw error;
  }
}

/** Starts a program that outlives this one, in a session of its own, its output added to files. */
export function startProgram(
  argv: readonly string[],
  files: { readonly stdout: string; readonly stderr: string; readonly cwd: string },
): { readonly child: ChildProcess; readonly ref: ProcessRef } {
  const [program = "", ...args] = argv;
  const stdout = openSync(files.stdout, "a", 0o600);
  const stderr = openSync(files.stderr, "a", 0o600);
  const child = spawn(program, args, { cwd: files.cwd, detached: true, stdio: ["ignore", stdout, stderr], env: programEnvironment() });
  closeSync(stdout);
  closeSync(stderr);
  child.unref();
  const ref = child.pid === undefined ? undefined : processOf(child.pid);
  if (ref === undefined) throw new CcError("INTERNAL", `${program} can't be started`);
  return { child, ref };
}

/** Peers and registries see none of the caller's settings (proxies, tokens, npm's). */
export function programEnvironment(): Record<string, string> {
  const path = process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  return { PATH: path, HOME: process.env["HOME"] ?? "/root", LC_ALL: "C.UTF-8", ...NO_PROXY };
}

/**
 * Holds a name on this machine while `work` runs; another process that wants it waits. An abstract socket is the lock:
 * it leaves no file, and the kernel frees it with its owner.
 */
export async function withLock<T>(name: string, work: () => Promise<T>, limitMs = 120_000): Promise<T> {
  const server = createServer();
  for (let waitedMs = 0; ; waitedMs += 100) {
    const got = await new Promise<boolean>((resolve, reject) => {
      server.once("error", (error) => (errorCode(error) === "EADDRINUSE" ? resolve(false) : reject(error)));
      server.listen({ path: `\0cc-lab-${name}` }, () => resolve(true));
    });
    server.removeAllListeners("error");
    if (got) break;
    if (waitedMs === 1_000) console.error("lab: waiting for another lab command");
    if (waitedMs >= limitMs) throw new CcError("TIMEOUT", "another lab command has been at work for too long");
    await pause(100);
  }
  try {
    return await work();
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

/** What a lab can't be made without, in words; undefined when all is there. */
export function whatIsMissing(): string | undefined {
  if (process.getuid?.() !== 0) return "a lab needs root (namespaces, bridges, mounts): run this as root";
  if (readCgroupRoots().length === 0) return "no cgroup hierarchy is mounted below /sys/fs/cgroup";
  if (!existsSync("/proc/self/ns/net")) return "this kernel has no network namespaces";
  return undefined;
}

/** The registry's program: the system's, or the one that scripts/setup has fetched. */
export function registryProgram(top: string): string {
  const own = join(top, ".tools/docker-registry/usr/bin/docker-registry");
  return existsSync(own) ? own : "docker-registry";
}

/** The home router's program, the same way. */
export function routerProgram(top: string): string {
  const own = join(top, ".tools/miniupnpd-nftables/usr/sbin/miniupnpd");
  return existsSync(own) ? own : "miniupnpd";
}

/** `net:[4026531840]` of this process: never a namespace of the lab's, whatever a file may be bound to. */
export const ownNamespace = (kind: "net" | "mnt" | "uts"): string => readlinkSync(`/proc/self/ns/${kind}`);

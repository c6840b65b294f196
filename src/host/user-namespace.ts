import { spawn } from "node:child_process";
import { mkdir, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type CommandRunner } from "../base/index.ts";
import { commandEnvironment } from "./command-environment.ts";
import { errorCode, killGroup } from "./command-runner.ts";

/** A run of ids: `containerId + n` inside is `hostId + n` on the host, for n below `size`. */
export type IdMap = { readonly containerId: number; readonly hostId: number; readonly size: number };

/**
 * The host ids of a host's containers: container id 0 is host id 0x70000000 (1,879,048,192), and so on for 2^24 ids.
 * It lies above what useradd's subordinate ids (from 100,000), LXD (1,000,000 to 1,001,000,000) and systemd-nspawn
 * (524,288 to 1,879,048,191) take, and below 2^31, where programs with signed ids break. It is wide because images
 * with ids above 65,535 exist; ids that nobody has cost nothing. All containers of a host share it.
 */
export const DEFAULT_ID_RANGE = { uidBase: 0x7000_0000, gidBase: 0x7000_0000, size: 2 ** 24 } as const;

export type UserNamespaceInit = {
  /** Folder for the pin, on a file system that is gone after a reboot. Made when missing. */
  readonly runDir: string;
  readonly commands: CommandRunner;
  readonly uidBase?: number;
  readonly gidBase?: number;
  readonly size?: number;
};

/** The user namespace that the containers of one host share, kept open by a bind mount of its ns file. */
export interface UserNamespacePin {
  /** The mounted ns file: for `nsenter --user=PATH -S 0 -G 0` and crun's `{ type: "user", path }`. */
  readonly path: string;
  readonly uidMap: IdMap;
  readonly gidMap: IdMap;
  /** Resolves when the namespace is there: made, or found from an earlier run of the peer. May be called often. */
  ready(): Promise<void>;
  /** Takes the pin away. The namespace itself lives on while processes or mounts use it. For tearing a host down, not for stopping a peer. */
  close(): Promise<void>;
}

/** Magic number of nsfs (linux/magic.h): a path of this type is a pinned namespace. */
const NSFS_MAGIC = 0x6e73_6673;
const HOLDER_MS_MAX = 10_000;

export function createUserNamespacePin(init: UserNamespaceInit): UserNamespacePin {
  const { runDir, commands } = init;
  const size = init.size ?? DEFAULT_ID_RANGE.size;
  const uidMap: IdMap = { containerId: 0, hostId: init.uidBase ?? DEFAULT_ID_RANGE.uidBase, size };
  const gidMap: IdMap = { containerId: 0, hostId: init.gidBase ?? DEFAULT_ID_RANGE.gidBase, size };
  const path = join(runDir, "userns");
  let made: Promise<void> | undefined;

  async function ensure(): Promise<void> {
    await mkdir(runDir, { recursive: true, mode: 0o755 });
    if (await isPinned(path)) return checkMapping();
    await writeFile(path, "");
    await pinNew(path, uidMap, gidMap, commands);
    await checkMapping();
  }

  async function checkMapping(): Promise<void> {
    const seen = await commands.run(["nsenter", `--user=${path}`, "-S", "0", "-G", "0", "cat", "/proc/self/uid_map", "/proc/self/gid_map"]);
    const wanted = [uidMap, gidMap].map(mapLine).join("\n");
    const found = seen.stdout
      .trim()
      .split("\n")
      .map((line) => line.trim().split(/\s+/).join(" "))
      .join("\n");
    if (seen.exitCode !== 0) throw new CcError("INTERNAL", `the user namespace at ${path} cannot be entered: ${seen.stderr.trim()}`);
    if (found === wanted) return;
    throw new CcError(
      "INTERNAL",
      `containers on this host use the id mapping "${found.replace("\n", '" and "')}", the configuration says "${wanted.replace("\n", '" and "')}"; set it back, or remove all containers and reboot`,
    );
  }

  return {
    path,
    uidMap,
    gidMap,
    ready() {
      made ??= ensure().catch((error: unknown) => {
        made = undefined;
        throw error;
      });
      return made;
    },
    async close() {
      await made?.catch(() => undefined);
      made = undefined;
      if (await isPinned(path)) {
        const outcome = await commands.run(["umount", path]);
        if (outcome.exitCode !== 0) throw new CcError("INTERNAL", `the user namespace at ${path} cannot be released: ${outcome.stderr.trim()}`);
      }
      await rm(path, { force: true });
    },
  };
}

const mapLine = (map: IdMap): string => `${map.containerId} ${map.hostId} ${map.size}`;

async function isPinned(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/**
 * A process holds the new namespace while its maps are written and its ns file is mounted, then ends. The maps are
 * written by us, from outside: `unshare --map-users` would ask for entries in /etc/subuid.
 */
async function pinNew(path: string, uidMap: IdMap, gidMap: IdMap, commands: CommandRunner): Promise<void> {
  const holder = spawn("setpriv", ["--pdeathsig", "KILL", "unshare", "--user", "sh", "-c", "echo ok; read end"], {
    env: commandEnvironment(process.env),
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = new Promise<void>((resolve) => {
    holder.once("exit", () => resolve());
    holder.once("error", () => resolve());
  });
  const timer = setTimeout(() => killGroup(holder), HOLDER_MS_MAX);
  try {
    const said = await Promise.race([new Promise<string>((resolve) => holder.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()))), ended]);
    if (said !== "ok") throw new CcError("INTERNAL", "this host cannot make user namespaces; see /proc/sys/user/max_user_namespaces");
    await writeFile(`/proc/${holder.pid}/uid_map`, `${mapLine(uidMap)}\n`);
    await writeFile(`/proc/${holder.pid}/gid_map`, `${mapLine(gidMap)}\n`);
    const mounted = await commands.run(["mount", "--bind", `/proc/${holder.pid}/ns/user`, path]);
    if (mounted.exitCode !== 0) throw new CcError("INTERNAL", `the user namespace cannot be pinned at ${path}: ${mounted.stderr.trim()}`);
  } finally {
    clearTimeout(timer);
    killGroup(holder);
    await ended;
  }
}

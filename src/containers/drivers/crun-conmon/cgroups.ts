import { existsSync } from "node:fs";
import { readdir, readFile, rm, rmdir, statfs } from "node:fs/promises";
import { errorCode } from "../../../host/index.ts";
import { CGROUP_FILES, type CgroupUse, readCgroupUse } from "../../metrics.ts";

const ROOT = "/sys/fs/cgroup";
/** Magic numbers of cgroup and cgroup2 (linux/magic.h). */
const CGROUP_MAGIC: ReadonlySet<number> = new Set([0x27e0eb, 0x63677270]);

/** How this machine counts and limits; read once. */
export type CgroupFacts = {
  readonly version: 1 | 2;
  /** crun refuses to create while the unified hierarchy of a hybrid set-up has controllers. */
  readonly hideUnified: boolean;
  readonly swapCounted: boolean;
};

export async function readCgroupFacts(): Promise<CgroupFacts> {
  if (existsSync(`${ROOT}/cgroup.controllers`)) return { version: 2, hideUnified: false, swapCounted: true };
  const unified = await textOf(`${ROOT}/unified/cgroup.controllers`);
  return { version: 1, hideUnified: unified.trim() !== "", swapCounted: existsSync(`${ROOT}/memory/memory.memsw.limit_in_bytes`) };
}

/** A container's cgroup on this host: counters, and its end. */
export class Cgroup {
  readonly #version: 1 | 2;
  readonly #path: string;

  constructor(facts: CgroupFacts, path: string) {
    this.#version = facts.version;
    this.#path = path;
  }

  /** Processes of it that the kernel killed for want of memory; 0 when the cgroup is gone. */
  async oomKills(): Promise<number> {
    const text = await textOf(this.#version === 2 ? `${ROOT}${this.#path}/memory.events` : `${ROOT}/memory${this.#path}/memory.oom_control`);
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  }

  /** All counters at once; zeros when the cgroup is gone. */
  async use(): Promise<CgroupUse> {
    const files =
      this.#version === 2
        ? CGROUP_FILES[2].map((file) => [file, `${ROOT}${this.#path}/${file}`] as const)
        : CGROUP_FILES[1].map(([controller, file]) => [file, `${ROOT}/${controller}${this.#path}/${file}`] as const);
    const texts = new Map(await Promise.all(files.map(async ([file, path]) => [file, await textOf(path)] as const)));
    return readCgroupUse(this.#version, (file) => texts.get(file) ?? "");
  }

  /** Every folder of it, one on version 2, one per controller on version 1. */
  async folders(): Promise<readonly string[]> {
    if (this.#version === 2) return [`${ROOT}${this.#path}`].filter(existsSync);
    const controllers = await readdir(ROOT, { withFileTypes: true });
    return controllers
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${ROOT}/${entry.name}${this.#path}`)
      .filter(existsSync);
  }

  /** Removes the (empty) folders. Those with something in it stay. */
  async remove(): Promise<void> {
    for (const folder of await this.folders()) {
      // Where the unified hierarchy is hidden, crun takes its empty mount point for a controller and leaves plain files there.
      if (await isCgroup(folder)) await rmdir(folder).catch(ignoreUsed);
      else await rm(folder, { recursive: true, force: true });
    }
  }

  /** Host pids in it. */
  async pids(): Promise<readonly number[]> {
    const texts = (await this.folders()).map(async (folder) => ((await isCgroup(folder)) ? textOf(`${folder}/cgroup.procs`) : ""));
    return [
      ...new Set(
        (await Promise.all(texts))
          .join("\n")
          .split("\n")
          .filter((line) => line !== "")
          .map(Number),
      ),
    ];
  }
}

/** A plain file of that name holds pids of long ago, which are somebody else's by now. */
async function isCgroup(folder: string): Promise<boolean> {
  try {
    return CGROUP_MAGIC.has((await statfs(folder)).type);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

function ignoreUsed(error: unknown): void {
  if (!["ENOENT", "EBUSY", "ENOTEMPTY"].includes(errorCode(error))) throw error;
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENODEV"].includes(errorCode(error))) return "";
    throw error;
  }
}

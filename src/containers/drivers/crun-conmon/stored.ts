import { readdir, readFile, rm } from "node:fs/promises";
import { CcError, type ContainerId, isContainerId } from "../../../base/index.ts";
import { errorCode, makeFolderDurably, syncFolder, writeFileDurably } from "../../../host/index.ts";
import type { Exit } from "../../runtime.ts";
import type { Paths } from "./settings.ts";

/** What is remembered of a container over the peer's death and a reboot, in container.json. */
export type Stored = {
  readonly version: 1;
  readonly runToken: string;
  /** The life of the run folder in which that start happened. */
  readonly life: string;
  readonly startedAtMs: number;
  readonly logFileBytes: number;
  readonly logFiles: number;
  readonly stdinOpen: boolean;
  /** Missing while it may run; `exit` null: nobody saw how it ended. */
  readonly ended?: { readonly exit: Exit | null };
};

/** The durable part of every container, cached: this process is the only writer. */
export class StoredContainers {
  readonly #paths: Paths;
  readonly #cache = new Map<ContainerId, Stored>();

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** Ids of which a state or a bundle lies there. */
  async list(): Promise<readonly ContainerId[]> {
    const names = await Promise.all([readdir(this.#paths.stateDir), readdir(this.#paths.runDir)]);
    return [...new Set(names.flat().filter(isContainerId))].toSorted();
  }

  async get(id: ContainerId): Promise<Stored | undefined> {
    const cached = this.#cache.get(id);
    if (cached !== undefined) return cached;
    const text = await readFile(this.#paths.stored(id), "utf8").catch((error: unknown) => {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    });
    if (text === undefined) return undefined;
    const stored = parseStored(text);
    if (stored === undefined) throw new CcError("INTERNAL", `${this.#paths.stored(id)} is damaged; look at the container's disk, then remove its folder`);
    this.#cache.set(id, stored);
    return stored;
  }

  /** Resolves once it is on the disk. */
  async put(id: ContainerId, stored: Stored): Promise<void> {
    await makeFolderDurably(this.#paths.state(id));
    await writeFileDurably(this.#paths.stored(id), JSON.stringify(stored));
    this.#cache.set(id, stored);
  }

  /** Takes back that a token was used: its process never began. Disk and log stay. */
  async forget(id: ContainerId): Promise<void> {
    this.#cache.delete(id);
    await rm(this.#paths.stored(id), { force: true });
    await syncFolder(this.#paths.state(id));
  }

  /** The record first, so that what is left after a crash is a half container and no ended one. */
  async remove(id: ContainerId): Promise<void> {
    this.#cache.delete(id);
    await rm(this.#paths.stored(id), { force: true });
    await rm(this.#paths.state(id), { recursive: true, force: true });
    await syncFolder(this.#paths.stateDir);
  }
}

export function parseStored(text: string): Stored | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Said by the caller, with the file's name.
    return undefined;
  }
  if (!isObject(value) || value["version"] !== 1) return undefined;
  const { runToken, life, startedAtMs, logFileBytes, logFiles, stdinOpen, ended } = value;
  if (typeof runToken !== "string" || typeof life !== "string" || typeof startedAtMs !== "number" || typeof stdinOpen !== "boolean") return undefined;
  if (typeof logFileBytes !== "number" || typeof logFiles !== "number") return undefined;
  const base = { version: 1, runToken, life, startedAtMs, logFileBytes, logFiles, stdinOpen } as const;
  if (ended === undefined) return base;
  if (!isObject(ended)) return undefined;
  const exit = ended["exit"];
  if (exit === null) return { ...base, ended: { exit } };
  if (!isObject(exit)) return undefined;
  const { exitCode, oom, endedAtMs } = exit;
  if (typeof exitCode !== "number" || typeof oom !== "boolean" || typeof endedAtMs !== "number") return undefined;
  return { ...base, ended: { exit: { exitCode, oom, endedAtMs } } };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

import { randomUUID } from "node:crypto";
import { chown, mkdir, readFile, writeFile } from "node:fs/promises";
import { CcError, type ContainerId } from "../../../base/index.ts";
import { errorCode, makeFolderDurably } from "../../../host/index.ts";
import { CAPABILITIES } from "../../bundle.ts";
import type { Exit } from "../../runtime.ts";
import { seccompFor } from "../../seccomp.ts";
import { Cgroup, type CgroupFacts, readCgroupFacts } from "./cgroups.ts";
import { ExitWatch } from "./exit-watch.ts";
import { OutputHistory } from "./output-history.ts";
import { openFilesMax } from "./processes.ts";
import { wrapperText } from "./scripts.ts";
import { SeccompCache } from "./seccomp-cache.ts";
import { type CrunConmonDeps, type CrunConmonSettings, DEFAULT_PATHS, Paths } from "./settings.ts";
import { Spares } from "./spares.ts";
import { StoredContainers } from "./stored.ts";

/** What all parts of the driver share. */
export type Context = {
  readonly deps: CrunConmonDeps;
  readonly settings: Required<CrunConmonSettings>;
  readonly paths: Paths;
  readonly stored: StoredContainers;
  readonly exits: ExitWatch;
  readonly seccomp: SeccompCache;
  readonly cgroups: CgroupFacts;
  readonly spares: Spares;
  readonly nofileMax: number;
  /** Names this life of the run folder; see Stored. */
  readonly life: string;
  readonly histories: Map<ContainerId, OutputHistory>;
  /** Processes that were seen running: their pid and start, so that a look is one read of /proc. */
  readonly running: Map<ContainerId, { readonly pid: number; readonly ticks: string }>;
  /** Exits that were read, with the run that they belong to: the memory counters behind them go with the cgroup. */
  readonly exitsSeen: Map<ContainerId, { readonly exit: Exit; readonly runToken: string }>;
  /** Starts in progress in this process. */
  readonly starting: Set<ContainerId>;
};

export async function openContext(deps: CrunConmonDeps, given: CrunConmonSettings): Promise<Context> {
  const settings = { ...DEFAULT_PATHS, ...given };
  const paths = new Paths(settings.stateDir, settings.runDir);
  await deps.userNamespace.ready();
  await makeFolderDurably(paths.stateDir);
  // Searchable, not readable, for the container's root on its way to its own root file system.
  await mkdir(paths.runDir, { recursive: true, mode: 0o711 });
  for (const folder of [paths.crunRoot, paths.exits]) await mkdir(folder, { recursive: true, mode: 0o700 });
  await makeDiskTemplate(deps, paths);
  const cgroups = await readCgroupFacts();
  if (cgroups.hideUnified) await writeFile(paths.wrapper, wrapperText(settings.crunPath), { mode: 0o755 });
  const spares = new Spares(deps, paths);
  await spares.clear();
  const profile: unknown = JSON.parse(await readProfile(settings.seccompProfilePath));
  const rules = seccompFor(profile, process.arch, CAPABILITIES);
  return {
    deps,
    settings,
    paths,
    stored: new StoredContainers(paths),
    exits: new ExitWatch(paths.exits),
    seccomp: await SeccompCache.open(paths.seccompCache, rules),
    cgroups,
    spares,
    nofileMax: openFilesMax(),
    life: await lifeOf(paths.life),
    histories: new Map(),
    running: new Map(),
    exitsSeen: new Map(),
    starting: new Set(),
  };
}

export function cgroupPath(context: Context, id: ContainerId): string {
  return `${context.settings.cgroupParent}/${id}`;
}

export function cgroupOf(context: Context, id: ContainerId): Cgroup {
  return new Cgroup(context.cgroups, cgroupPath(context, id));
}

/** The log of a container, by the limits of its last start; undefined for who was never started. */
export async function historyOf(context: Context, id: ContainerId): Promise<OutputHistory | undefined> {
  const known = context.histories.get(id);
  if (known !== undefined) return known;
  const stored = await context.stored.get(id);
  return stored === undefined ? undefined : openHistory(context, id, stored);
}

export function openHistory(context: Context, id: ContainerId, limits: { readonly logFileBytes: number; readonly logFiles: number }): OutputHistory {
  const known = context.histories.get(id);
  if (known !== undefined) return known;
  const history = new OutputHistory(context.paths.log(id), limits, context.deps.disk);
  context.histories.set(id, history);
  return history;
}

/** A fresh disk's content: mkfs copies it with its owners, so that nothing has to be made after the mount. */
async function makeDiskTemplate(deps: CrunConmonDeps, paths: Paths): Promise<void> {
  const { uidMap, gidMap } = deps.userNamespace;
  await mkdir(paths.diskTemplate, { recursive: true, mode: 0o755 });
  for (const folder of ["u", "w", "etc"]) {
    await mkdir(`${paths.diskTemplate}/${folder}`, { recursive: true, mode: 0o755 });
    await chown(`${paths.diskTemplate}/${folder}`, uidMap.hostId, gidMap.hostId);
  }
}

async function readProfile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new CcError("INTERNAL", `the seccomp profile ${path} cannot be read (${errorCode(error)}); install golang-github-containers-common`, {
      cause: error,
    });
  }
}

async function lifeOf(path: string): Promise<string> {
  try {
    await writeFile(path, randomUUID(), { flag: "wx" });
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
  return readFile(path, "utf8");
}

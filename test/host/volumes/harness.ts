import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { mkdtemp, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Logger, type ShellHelper, silentLogger } from "../../../src/base/index.ts";
import { createCommandRunner, createShellHelper, mountsIn, systemClock } from "../../../src/host/index.ts";
import { openLoopVolumes } from "../../../src/volumes/drivers/loop.ts";
import type { VolumeDriver } from "../../../src/volumes/index.ts";
import type { VolumesUnderTest } from "./volume-contract.ts";

const run = promisify(execFile);

/** Runs a program to its end; its standard output. */
export async function command(...argv: readonly string[]): Promise<string> {
  const [program = "", ...args] = argv;
  return (await run(program, args)).stdout;
}

export type LoopScene = VolumesUnderTest & {
  readonly folder: string;
  readonly dataDir: string;
  readonly runDir: string;
  readonly image: (id: string) => string;
  readonly openWith: (more: { readonly logger?: Logger; readonly shell?: ShellHelper }) => Promise<VolumeDriver>;
};

/** Folders for loop volumes; `shared`: another process's. `dataDir`: a file system of the test's own. */
export async function makeLoopScene(given: { readonly folder?: string; readonly dataDir?: string } = {}): Promise<LoopScene> {
  const folder = given.folder ?? (await mkdtemp(join(tmpdir(), "cc-volumes-")));
  const dataDir = given.dataDir ?? join(folder, "data");
  const runDir = join(folder, "run");
  const shells: ShellHelper[] = [];
  const openWith: LoopScene["openWith"] = async ({ logger = silentLogger, shell = createShellHelper() }) => {
    shells.push(shell);
    return openLoopVolumes({ clock: systemClock, logger, commands: createCommandRunner(), shell }, { dataDir, runDir });
  };
  const unmountAll = async (): Promise<void> => {
    for (const { path } of (await mountsIn(runDir)).toReversed()) await command("umount", path);
  };
  return {
    folder,
    dataDir,
    runDir,
    image: (id) => join(dataDir, id, "fs.img"),
    openWith,
    open: () => openWith({}),
    write: writeSynced,
    read: (mountPoint, name) => readFile(join(mountPoint, name), "utf8").catch(() => undefined),
    names: async (mountPoint) => (await readdir(mountPoint)).toSorted(),
    ownerOf: async (mountPoint) => {
      const { uid, gid, mode } = await stat(mountPoint);
      return { uid, gid, mode: mode & 0o7777 };
    },
    attached: async () => [...new Set([...(await mountsIn(runDir)).map(({ source }) => source), ...(await loopsIn(dataDir))])],
    reboot: async () => {
      await unmountAll();
      await rm(runDir, { recursive: true });
    },
    close: async () => {
      await Promise.all(shells.map((shell) => shell.close()));
      // Also after a test that failed in the middle: nothing may stay on the machine.
      await unmountAll();
      if (given.folder === undefined) await rm(folder, { recursive: true });
    },
  };
}

export async function writeSynced(mountPoint: string, name: string, text: string): Promise<void> {
  const file = await open(join(mountPoint, name), constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** `/dev/loopN` over files in the folder. */
export async function loopsIn(folder: string): Promise<readonly string[]> {
  const loops = (await readdir("/sys/block")).filter((name) => name.startsWith("loop"));
  const files = await Promise.all(loops.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, "utf8").catch(() => "")));
  return loops.filter((_, at) => files[at]?.startsWith(`${folder}/`)).map((name) => `/dev/${name}`);
}

export const allocated = async (file: string): Promise<number> => (await stat(file)).blocks * 512;

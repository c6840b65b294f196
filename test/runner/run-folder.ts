import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { detachLoops, readCgroupRoots, readMounts, removeGroup, unmountBelow } from "../../nodes/lab/machine.ts";
import { boundNamespaces } from "../../nodes/lab/mounts.ts";
import { killUntilGone, processesInGroups, processesInNamespaces, processOf } from "../../nodes/lab/processes.ts";

const PREFIX = "cc-tests-";
const KILL_MS = 10_000;

/**
 * Makes the folder that this run's tests have for their temporary files: its name says who made it. What tests left that could not end
 * themselves (kill -9, power) lies in such a folder, and is taken away by the next run.
 */
export async function makeRunFolder(): Promise<string> {
  for (const name of readdirSync(tmpdir())) if (isLeft(name)) await removeRunFolder(join(tmpdir(), name));
  const folder = join(tmpdir(), `${PREFIX}${process.pid}-${processOf(process.pid)?.startTicks}`);
  // Containers' users find their own folders in it, and nobody lists it.
  mkdirSync(folder, { mode: 0o711 });
  return folder;
}

function isLeft(name: string): boolean {
  const match = name.startsWith(PREFIX) ? /^(\d+)-(\d+)$/.exec(name.slice(PREFIX.length)) : null;
  return match !== null && processOf(Number(match[1]))?.startTicks !== match[2];
}

/** With the processes of its containers and of the namespaces that are pinned in it, its mounts, loop devices and cgroups. */
export async function removeRunFolder(folder: string): Promise<void> {
  const groups = existsSync(folder) ? readdirSync(folder).map(testGroup) : [];
  const namespaces = new Set(boundNamespaces(readMounts(), folder).values());
  const inGroups = groups.flatMap((group) => readCgroupRoots().map((root) => join(root, group)));
  await killUntilGone(() => [...processesInGroups(inGroups), ...processesInNamespaces(namespaces)], KILL_MS);
  await unmountBelow(folder);
  await detachLoops(folder);
  for (const group of groups) await removeGroup(group);
  rmSync(folder, { recursive: true, force: true });
}

/** The cgroup of a test's containers, by its folder's name. */
export const testGroup = (folderName: string): string => `/cc-test-${folderName.slice(-6).toLowerCase()}`;

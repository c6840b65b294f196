import type { Stats } from "node:fs";
import { chmod, link, lstat, mkdir, readdir, rm, rmdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { CcError, type CommandOutcome } from "../../base/index.ts";
import { errorCode, type StreamingCommandRunner } from "../../host/index.ts";
import type { LayerNeeds } from "../layer-gate.ts";
import { badLayer } from "../tar-member.ts";
import { bytesBelow, insideOf, makeOpaque, makeWhiteouts, TAR, tarError } from "./unpack-layer.ts";

export type BindTask = {
  /** The unpacked layer. Beside it are put `FOLDER.below` and the like, for a moment. */
  readonly folder: string;
  readonly needs: LayerNeeds;
  /** Folders of all layers below it, lowest first. */
  readonly below: readonly string[];
  readonly userns: string;
};

const COPY_MS_MAX = 3_600_000;
const READ = [
  "tar",
  "-c",
  "-f",
  "-",
  "--format=posix",
  "--numeric-owner",
  "--sparse",
  "--xattrs",
  "--xattrs-include=*",
  "--no-recursion",
  "--null",
  "--verbatim-files-from",
  "-T",
  "-",
];

type Layer = BindTask & { readonly merged: string; readonly commands: StreamingCommandRunner };

/**
 * Gives a layer what it takes from those below it, seen as the kernel stacks them: the owners and modes of folders that it
 * does not name, the files that it links to, and of a layer that hides all others their names. To be called in a mount
 * namespace of its own. Throws CcError IMAGE_PULL_FAILED or NO_ROOM.
 */
export async function bindLayer(task: BindTask, commands: StreamingCommandRunner): Promise<void> {
  const { folder, needs } = task;
  if (task.below.length === 0) {
    const [link] = needs.links;
    if (link !== undefined) throw brokenLink(link);
    return;
  }
  const lower = `${folder}.below`;
  const merged = `${folder}.merged`;
  await mkdir(lower);
  await mkdir(merged);
  // Links of one letter or two: mount options have to fit into a page.
  await Promise.all(task.below.map((path, at) => symlink(path, join(lower, String(at)))));
  await mkdir(join(lower, "e"));
  const names = [...task.below.keys()].reverse().join(":");
  succeed(await commands.run(["mount", "-i", "-t", "overlay", "overlay", "-o", `ro,lowerdir=${names}:e`, merged], { cwd: lower }));
  try {
    await bind({ ...task, merged, commands });
  } finally {
    succeed(await commands.run(["umount", merged]));
    await rmdir(merged);
    await rm(lower, { recursive: true });
  }
}

async function bind(layer: Layer): Promise<void> {
  const { folder, needs, merged } = layer;
  if (needs.hidesAll) await hideAll(layer);
  const folders = new Set(needs.implied);
  if (needs.links.length > 0) await linkBelow(layer, folders);
  if (needs.touched !== "") await untar(layer, Buffer.from(needs.touched, "latin1"));
  const same: string[] = [];
  for (const path of folders) if ((await seen(merged, path))?.isDirectory() === true) same.push(path);
  if (same.length > 0) await copyUp(layer, same, folder);
}

/** Files that the layer links to are copied into it, as the kernel would; `folders` gets those that had to be made for it. */
async function linkBelow(layer: Layer, folders: Set<string>): Promise<void> {
  const { folder, needs, merged } = layer;
  const targets = new Set<string>();
  for (const entry of needs.links) {
    const found = await seen(merged, entry.target);
    if (found === undefined || found.isDirectory()) throw brokenLink(entry);
    targets.add(entry.target);
  }
  const copies = `${folder}.copies`;
  await mkdir(copies);
  await chmod(copies, 0o777);
  await copyUp(layer, [...targets], copies);
  for (const target of targets) if (await makeRoom(layer, target, folders)) await link(bytesBelow(copies, target), bytesBelow(folder, target));
  for (const { path, target } of needs.links) {
    const at = bytesBelow(folder, path);
    // An entry of the same name that came before in the archive.
    await rm(at, { recursive: true, force: true });
    await link(bytesBelow(copies, target), at);
  }
  await rm(copies, { recursive: true });
}

/** Makes the folders on the way to a lower file; false where this layer hides it or has something else there. */
async function makeRoom({ folder }: Layer, target: string, folders: Set<string>): Promise<boolean> {
  const parts = target.split("/");
  const missing: string[] = [];
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const path = parts.slice(0, depth).join("/");
    const own = await lstat(bytesBelow(folder, path)).catch(absent);
    if (own === undefined) missing.push(path);
    else if (!own.isDirectory()) return false;
  }
  for (const path of missing.slice(0, -1)) {
    await mkdir(bytesBelow(folder, path));
    folders.add(path);
  }
  return missing.length > 0;
}

/** Copies files, and folders without what is in them, from the layers below, with owners, modes, times and attributes. */
async function copyUp({ merged, userns, commands }: Layer, paths: readonly string[], into: string): Promise<void> {
  const names = Buffer.from(paths.map((path) => `./${path}\0`).join(""), "latin1");
  // Each shell goes to its folder as the host's root, since parents of these folders are closed to others.
  const script = `set -f; nsenter "$2" -S 0 -G 0 ${READ.join(" ")} | { cd "$1" && shift && exec nsenter "$1" -S 0 -G 0 ${TAR.join(" ")}; }`;
  const source = Readable.from([names], { objectMode: false });
  const outcome = await commands.feed(["sh", "-c", script, "sh", into, `--user=${userns}`], source, { cwd: merged, timeoutMs: COPY_MS_MAX });
  if (outcome.exitCode !== 0 || outcome.stderr !== "") throw tarError(outcome.stderr, outcome.exitCode);
}

async function hideAll({ folder, merged, commands }: Layer): Promise<void> {
  const own = new Map<string, boolean>();
  const entries = async (path: string): Promise<[string, boolean][]> =>
    (await readdir(path, { withFileTypes: true, encoding: "latin1" })).map((entry) => [entry.name, entry.isDirectory()]);
  for (const [name, isFolder] of await entries(folder)) own.set(name, isFolder);
  const lower = await entries(merged);
  const hidden = lower.flatMap(([name]) => (own.has(name) ? [] : [name]));
  const opaque = lower.flatMap(([name]) => (own.get(name) === true ? [name] : []));
  if (hidden.length > 0) await makeWhiteouts(folder, hidden, commands);
  if (opaque.length > 0) await makeOpaque(folder, opaque, commands);
}

/** What is at a path of the layers below; nothing behind links, which could lead out of them. */
async function seen(merged: string, path: string): Promise<Stats | undefined> {
  const parts = path.split("/");
  for (let depth = 1; depth < parts.length; depth += 1) {
    const parent = await lstat(bytesBelow(merged, parts.slice(0, depth).join("/"))).catch(absent);
    if (parent?.isDirectory() !== true) return undefined;
  }
  return lstat(bytesBelow(merged, path)).catch(absent);
}

async function untar({ folder, commands, userns }: Layer, archive: Buffer): Promise<void> {
  const outcome = await commands.feed([...insideOf(userns), ...TAR], Readable.from([archive], { objectMode: false }), { cwd: folder, timeoutMs: COPY_MS_MAX });
  if (outcome.exitCode !== 0) throw tarError(outcome.stderr, outcome.exitCode);
}

function succeed(outcome: CommandOutcome): void {
  if (outcome.exitCode !== 0) throw new CcError("INTERNAL", `the layers of an image cannot be stacked: ${outcome.stderr.trim()}`);
}

function brokenLink({ path, target }: { readonly path: string; readonly target: string }): CcError {
  return badLayer(`${path} is a hard link to ${target}, which is no file of the image`);
}

function absent(error: unknown): undefined {
  if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
  throw error;
}

/** All that can be said of the files below a folder, to compare what two unpackers made of the same image. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** By path (bytes as latin1 text): one line each, equal where the files are. */
export type Snapshot = ReadonlyMap<string, string>;

/**
 * `idBase` is taken off owners. `inside`: argv before the program that reads attributes, which a user namespace shows in
 * its own way.
 */
export async function snapshot(folder: string, options: { readonly idBase: number; readonly inside: readonly string[] }): Promise<Snapshot> {
  const lines = new Map<string, string>();
  const inodes = new Map<number, string>();
  const attributes = await attributesBelow(folder, options.inside);
  const at = (path: string): Buffer => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(path, "latin1")]);

  async function add(path: string): Promise<void> {
    const file = at(path);
    const stat = await lstat(file, { bigint: true });
    const mode = Number(stat.mode);
    const isFolder = (mode & 0o170000) === 0o040000;
    const content = stat.isFile()
      ? `${stat.size} ${createHash("sha256")
          .update(await readFile(file))
          .digest("hex")
          .slice(0, 16)}`
      : "";
    const target = stat.isSymbolicLink() ? `-> ${(await readlink(file, "latin1")) as string}` : "";
    let same = "";
    if (!isFolder && stat.nlink > 1n) {
      same = `= ${inodes.get(Number(stat.ino)) ?? path}`;
      inodes.set(Number(stat.ino), inodes.get(Number(stat.ino)) ?? path);
    }
    const owner = `${Number(stat.uid) - options.idBase}:${Number(stat.gid) - options.idBase}`;
    lines.set(path, [mode.toString(8), owner, stat.mtimeNs, content, target, same, attributes.get(path) ?? ""].join(" ").trimEnd());
    if (!isFolder) return;
    const names = await readdir(file, "latin1");
    for (const name of names.sort()) await add(path === "." ? name : `${path}/${name}`);
  }

  await add(".");
  return lines;
}

async function attributesBelow(folder: string, inside: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const [program = "", ...args] = [...inside, "getfattr", "-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "."];
  const { stdout } = await run(program, args, { cwd: folder, encoding: "latin1", maxBuffer: 64 * 1024 ** 2 });
  const found = new Map<string, string>();
  for (const block of stdout.split("\n\n")) {
    const [head = "", ...values] = block.trim().split("\n");
    const path = head.replace(/^# file: /, "").replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    if (path !== "") found.set(path, values.sort().join(" "));
  }
  return found;
}

/** What differs, in words; empty when nothing does. */
export function differences(ours: Snapshot, theirs: Snapshot): readonly string[] {
  return [...new Set([...ours.keys(), ...theirs.keys()])].sort().flatMap((path) => {
    const [a, b] = [ours.get(path) ?? "is not there", theirs.get(path) ?? "is not there"];
    return a === b ? [] : [`${path}\n  ours:   ${a}\n  theirs: ${b}`];
  });
}

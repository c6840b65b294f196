import { mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errorCode } from "./command-runner.ts";

const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** Writes to one path go one after another: they share the name of the temporary file. */
const writes = new Map<string, Promise<void>>();

/**
 * Replaces the file as a whole: after a crash or power cut it is the old one or the new one, and once this has
 * resolved it is the new one. `mode` is set whatever the umask says; default 0600. A writer that was killed leaves at
 * most `.NAME.new` beside it, which the next write of that path replaces.
 */
export function writeFileDurably(path: string, data: string | Uint8Array, options: { readonly mode?: number } = {}): Promise<void> {
  const before = writes.get(path) ?? Promise.resolve();
  const write = (): Promise<void> => replace(path, data, options.mode ?? FILE_MODE);
  const mine = before.then(write, write);
  writes.set(path, mine);
  const forget = (): void => {
    if (writes.get(path) === mine) writes.delete(path);
  };
  mine.then(forget, forget);
  return mine;
}

async function replace(path: string, data: string | Uint8Array, mode: number): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.new`);
  // Removed first, so that an old one's owner, mode or symbolic link cannot count.
  await rm(temporary, { force: true });
  try {
    const file = await open(temporary, "wx", mode);
    try {
      await file.chmod(mode);
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Makes renames, creations and deletions in a folder last through a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Makes a folder and what it lies in, durably; one that is there keeps its mode. */
export async function makeFolderDurably(path: string, mode: number = FOLDER_MODE): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  for (let folder = path; ; folder = dirname(folder)) {
    await syncFolder(dirname(folder));
    if (folder === first || folder === dirname(folder)) return;
  }
}

/** Removes a file durably; absent is fine. */
export async function removeFileDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  try {
    await syncFolder(dirname(path));
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}

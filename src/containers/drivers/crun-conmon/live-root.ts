import { constants } from "node:fs";
import { type FileHandle, open, readlink } from "node:fs/promises";
import { CcError } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";

/** As in the kernel: more links on one way are a loop. */
const LINKS_MAX = 40;
const DEPTH_MAX = 64;
const FILE_BYTES_MAX = 4 * 1024 ** 2;

/**
 * Text of a file of a container that runs, so that what lies on the way may be replaced at any moment: each folder is opened
 * as itself, the next part is looked up in that very folder (through /proc/self/fd, Node having no openat), and links are
 * read and followed here, as if the container's root were the host's. Nothing leads out. Empty where there is no such file.
 */
export async function textInLiveRoot(root: string, path: string): Promise<string> {
  const folders: FileHandle[] = [await open(root, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)];
  try {
    const todo = partsOf(path);
    let links = 0;
    for (let part = todo.shift(); part !== undefined; part = todo.shift()) {
      if (part === "..") {
        if (folders.length > 1) await folders.pop()?.close();
        continue;
      }
      const name = `/proc/self/fd/${folders.at(-1)?.fd}/${part}`;
      const link = await linkAt(name);
      if (link !== undefined) {
        links += 1;
        if (links > LINKS_MAX) return "";
        if (link.startsWith("/")) for (const folder of folders.splice(1)) await folder.close();
        todo.unshift(...partsOf(link));
      } else if (todo.length > 0) {
        if (folders.length >= DEPTH_MAX) return "";
        folders.push(await open(name, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW));
      } else return await textOfFile(name, path);
    }
    return "";
  } catch (error) {
    // Missing, no folder, no file, or replaced between two looks: it is not there.
    if (["ENOENT", "ENOTDIR", "ELOOP", "EISDIR", "ENXIO", "EACCES", "ENAMETOOLONG"].includes(errorCode(error))) return "";
    throw error;
  } finally {
    await Promise.all(folders.map((folder) => folder.close()));
  }
}

async function linkAt(name: string): Promise<string | undefined> {
  try {
    return await readlink(name);
  } catch (error) {
    if (errorCode(error) === "EINVAL") return undefined;
    throw error;
  }
}

async function textOfFile(name: string, path: string): Promise<string> {
  const file = await open(name, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (!found.isFile()) return "";
    if (found.size > FILE_BYTES_MAX)
      throw new CcError("BAD_REQUEST", `${path} of the container has ${found.size} bytes; users are looked up in files of at most ${FILE_BYTES_MAX}`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(found.size), 0, found.size, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await file.close();
  }
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

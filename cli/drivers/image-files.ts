import { closeSync, createReadStream, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { CcError } from "../../src/base/index.ts";
import { valueOf } from "../failure.ts";
import { indexTar, plainPath, type TarFile } from "../tar-index.ts";

/** Files of an image, in a folder or in an archive. Paths are relative, with `/`. */
export interface ImageFiles {
  /** Bytes; undefined: there is no such file. */
  size(path: string): number | undefined;
  /** A small file, whole. Throws BAD_REQUEST when it is missing or larger. */
  text(path: string, bytesMax: number): string;
  read(path: string): AsyncIterable<Uint8Array>;
  close(): void;
}

const CHUNK_BYTES = 256 * 1024;
const LINKS_MAX = 8;

function small(files: Pick<ImageFiles, "size">, where: string, path: string, bytesMax: number): void {
  const size = files.size(path);
  if (size === undefined) throw new CcError("BAD_REQUEST", `${where} has no ${path}; is it what the part before the colon says? Build or save the image again`);
  if (size > bytesMax) throw new CcError("BAD_REQUEST", `${path} in ${where} is ${size} bytes, more than it may have`);
}

export function openFolder(folder: string): ImageFiles {
  const files: ImageFiles = {
    size(path) {
      const found = statSync(join(folder, path), { throwIfNoEntry: false });
      return found?.isFile() === true ? found.size : undefined;
    },
    text(path, bytesMax) {
      small(files, folder, path, bytesMax);
      return readFileSync(join(folder, path), "utf8");
    },
    read: (path) => createReadStream(join(folder, path), { highWaterMark: CHUNK_BYTES }),
    close: () => undefined,
  };
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory() !== true)
    throw new CcError("BAD_REQUEST", `${folder} is ${found === undefined ? "not there" : "no folder"}; give the folder that holds the image`);
  return files;
}

/** An uncompressed tar archive. */
export function openArchive(file: string, shown: string): ImageFiles {
  const handle = openSync(file, "r");
  const readAt = (at: number, size: number): Buffer => {
    const buffer = Buffer.alloc(size);
    return buffer.subarray(0, readSync(handle, buffer, 0, size, at));
  };
  const index = valueOf(indexTar(readAt, shown));
  const find = (path: string): Extract<TarFile, { at: number }> | undefined => {
    let found = index.get(plainPath(path) ?? "");
    for (let links = 0; found !== undefined && "link" in found && links < LINKS_MAX; links += 1) found = index.get(found.link);
    return found !== undefined && "at" in found ? found : undefined;
  };
  const files: ImageFiles = {
    size: (path) => find(path)?.size,
    text(path, bytesMax) {
      small(files, shown, path, bytesMax);
      const found = find(path);
      return found === undefined ? "" : readAt(found.at, found.size).toString("utf8");
    },
    async *read(path) {
      const found = find(path);
      if (found === undefined || found.size === 0) return;
      yield* createReadStream(file, { start: found.at, end: found.at + found.size - 1, highWaterMark: CHUNK_BYTES });
    },
    close: () => closeSync(handle),
  };
  return files;
}

import { constants } from "node:fs";
import { chown, lstat, mkdir, open, readlink, stat } from "node:fs/promises";
import { CcError } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";

/** As in the kernel: more links on one way are a loop. */
const LINKS_MAX = 40;
const FILE_BYTES_MAX = 4 * 1024 ** 2;

/**
 * Reaches into a container's root file system from the host, as if it were the root: links, also absolute ones, are
 * followed inside it only. No process of the container runs meanwhile, so nothing changes between a look and the next.
 * Node has no openat2(RESOLVE_IN_ROOT), which would do the same in the kernel.
 */
export class RootFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /**
   * The host's path of `path`, free of links, and how many of its last parts are missing. Undefined where the way leads
   * through a file.
   */
  async resolve(path: string): Promise<{ readonly hostPath: string; readonly missing: readonly string[] } | undefined> {
    const todo = partsOf(path);
    const done: string[] = [];
    let links = 0;
    for (let part = todo.shift(); part !== undefined; part = todo.shift()) {
      if (part === "..") {
        done.pop();
        continue;
      }
      const here = `${this.#root}/${[...done, part].join("/")}`;
      const found = await lstat(here).catch((error: unknown) => {
        if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
        throw error;
      });
      if (found === undefined) return { hostPath: this.#host(done), missing: [part, ...todo] };
      if (found.isSymbolicLink()) {
        links += 1;
        if (links > LINKS_MAX) return undefined;
        const target = await readlink(here);
        if (target.startsWith("/")) done.length = 0;
        todo.unshift(...partsOf(target));
        continue;
      }
      if (todo.length > 0 && !found.isDirectory()) return undefined;
      done.push(part);
    }
    return { hostPath: this.#host(done), missing: [] };
  }

  /** Text of a regular file; empty where there is none. */
  async text(path: string): Promise<string> {
    const found = await this.resolve(path);
    if (found === undefined || found.missing.length > 0 || !(await lstat(found.hostPath)).isFile()) return "";
    const file = await open(found.hostPath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { size } = await file.stat();
      if (size > FILE_BYTES_MAX)
        throw new CcError("BAD_REQUEST", `${path} of the image has ${size} bytes; users are looked up in files of at most ${FILE_BYTES_MAX}`);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0);
      return buffer.toString("utf8", 0, bytesRead);
    } finally {
      await file.close();
    }
  }

  /** The path as the container has it, free of links. Undefined where the way leads through a file. */
  async placeOf(path: string): Promise<string | undefined> {
    const found = await this.resolve(path);
    return found === undefined ? undefined : `/${[...partsOf(this.#inside(found.hostPath)), ...found.missing].join("/")}`;
  }

  /**
   * Makes a directory with what it lies in; the last part belongs to `uid` and `gid`, those before to `rootUid` and `rootGid`
   * (host ids). Gives its path as the container has it, free of links. `what` names it in errors.
   */
  async makeDirectory(
    path: string,
    owner: { readonly uid: number; readonly gid: number; readonly rootUid: number; readonly rootGid: number },
    what: string,
  ): Promise<string> {
    const found = await this.resolve(path);
    if (found === undefined) throw new CcError("BAD_REQUEST", `${what} leads through a file or a loop of links in the image; give another`);
    if (found.missing.length === 0) {
      if (!(await stat(found.hostPath)).isDirectory()) throw new CcError("BAD_REQUEST", `${what} is a file in the image; give a directory`);
      return this.#inside(found.hostPath);
    }
    let here = found.hostPath;
    for (const [at, part] of found.missing.entries()) {
      if (part === "..") throw new CcError("BAD_REQUEST", `${what} leads through a directory that is missing; give another`);
      here = `${here}/${part}`;
      await mkdir(here, { mode: 0o755 });
      const last = at === found.missing.length - 1;
      await chown(here, last ? owner.uid : owner.rootUid, last ? owner.gid : owner.rootGid);
    }
    return this.#inside(here);
  }

  /** What `execvp` would find for a command: `found`, `missing` or `not-executable`. */
  async command(word: string, path: string, dir: string): Promise<"found" | "missing" | "not-executable"> {
    const candidates = word.includes("/")
      ? [word.startsWith("/") ? word : `${dir}/${word}`]
      : path.split(":").map((folder) => `${folder === "" ? dir : folder}/${word}`);
    let outcome: "missing" | "not-executable" = "missing";
    for (const candidate of candidates) {
      const found = await this.resolve(candidate);
      if (found === undefined || found.missing.length > 0) continue;
      const file = await lstat(found.hostPath);
      if (file.isFile() && (file.mode & 0o111) !== 0) return "found";
      outcome = "not-executable";
    }
    return outcome;
  }

  #inside(hostPath: string): string {
    return hostPath.slice(this.#root.length) || "/";
  }

  #host(parts: readonly string[]): string {
    return parts.length === 0 ? this.#root : `${this.#root}/${parts.join("/")}`;
  }
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

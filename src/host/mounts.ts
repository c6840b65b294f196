import { readdir, readFile } from "node:fs/promises";
import { errorCode } from "./command-runner.ts";

export type MountPoint = {
  readonly path: string;
  /** What is mounted: `/dev/loop3`, `overlay`. */
  readonly source: string;
  /** Of the file system itself, as the kernel has them now: `rw`, `errors=remount-ro`, `emergency_ro`. */
  readonly fileSystemOptions: readonly string[];
};

/** Mount points of this process's mount namespace that lie in `folder`, in the order of the mounts. */
export async function mountsIn(folder: string): Promise<readonly MountPoint[]> {
  const text = await readFile("/proc/self/mountinfo", "utf8");
  return text.split("\n").flatMap((line) => {
    const words = line.split(" ");
    const path = unescaped(words[4] ?? "");
    if (!path.startsWith(`${folder}/`)) return [];
    const after = words.slice(words.indexOf("-", 6) + 1);
    return [{ path, source: unescaped(after[1] ?? ""), fileSystemOptions: (after[2] ?? "").split(",") }];
  });
}

/** Loop devices (`loop3`) over the file. One that is detached shows it as long as a mount of any namespace holds it. */
export async function loopsOver(file: string): Promise<readonly string[]> {
  const loops = (await readdir("/sys/block")).filter((name) => name.startsWith("loop"));
  const files = await Promise.all(loops.map((loop) => readFile(`/sys/block/${loop}/loop/backing_file`, "utf8").catch(detached)));
  return loops.filter((_, at) => files[at]?.trim() === file);
}

/** No device, or one that goes while it is read: that says ENXIO or ENODEV. */
function detached(error: unknown): undefined {
  if (["ENOENT", "ENXIO", "ENODEV"].includes(errorCode(error))) return undefined;
  throw error;
}

const unescaped = (word: string): string => word.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

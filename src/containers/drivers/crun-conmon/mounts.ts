import { readdir, readFile, rm, rmdir } from "node:fs/promises";
import { type Clock, type Logger, type ShellHelper, sleep } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import { unmountScript } from "./scripts.ts";

/** Mount points of this process's mount namespace that lie in `folder`. */
export async function mountsBelow(folder: string): Promise<ReadonlySet<string>> {
  const text = await readFile("/proc/self/mountinfo", "utf8");
  const points = text
    .split("\n")
    .map((line) => (line.split(" ")[4] ?? "").replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))));
  return new Set(points.filter((point) => point.startsWith(`${folder}/`)));
}

const RELEASE_TRIES = 20;
const RELEASE_WAIT_MS = 50;

/** Takes down what is mounted in a bundle and waits for the loop device behind `image`: another mount namespace may hold it for a moment. */
export async function releaseMounts(
  deps: { readonly shell: ShellHelper; readonly clock: Clock; readonly logger: Logger },
  points: readonly string[],
  image: string,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const outcome = await deps.shell.run(unmountScript(points));
    const held = outcome.exitCode !== 0 || (await isLoopBacked(image));
    if (!held) return;
    if (tries === RELEASE_TRIES) {
      deps.logger.warn({ image, said: outcome.stdout.trim() }, "a container's disk is still in use by another mount namespace; it is freed when that ends");
      return;
    }
    await sleep(deps.clock, RELEASE_WAIT_MS);
  }
}

/** A detached loop device whose file is held open elsewhere still shows its backing file. */
async function isLoopBacked(image: string): Promise<boolean> {
  const loops = (await readdir("/sys/block")).filter((name) => name.startsWith("loop"));
  const files = await Promise.all(loops.map((loop) => readFile(`/sys/block/${loop}/loop/backing_file`, "utf8").catch(absent)));
  return files.some((file) => file?.trim() === image);
}

/** Removes a bundle after its mounts are gone. A mount point that is still busy makes this fail, and nothing below it is touched. */
export async function removeBundle(bundle: string, mountPoints: readonly string[]): Promise<void> {
  // rmdir and never a recursive delete for what may have a container's files mounted.
  for (const point of mountPoints) {
    await rmdir(point).catch((error: unknown) => {
      if (errorCode(error) === "ENOTDIR") return;
      absent(error);
    });
  }
  await rm(bundle, { recursive: true, force: true });
}

/** Not there, or detached while it was read: a loop device that goes meanwhile says ENXIO or ENODEV. */
function absent(error: unknown): undefined {
  if (["ENOENT", "ENXIO", "ENODEV"].includes(errorCode(error) ?? "")) return undefined;
  throw error;
}

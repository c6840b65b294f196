import { rm, rmdir } from "node:fs/promises";
import { type Clock, type Logger, type ShellHelper, sleep } from "../../../base/index.ts";
import { errorCode, loopsOver, mountsIn } from "../../../host/index.ts";
import { unmountScript } from "./scripts.ts";

/** Mount points of this process's mount namespace that lie in `folder`. */
export async function mountsBelow(folder: string): Promise<ReadonlySet<string>> {
  return new Set((await mountsIn(folder)).map(({ path }) => path));
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
    const held = outcome.exitCode !== 0 || (await loopsOver(image)).length > 0;
    if (!held) return;
    if (tries === RELEASE_TRIES) {
      deps.logger.warn({ image, said: outcome.stdout.trim() }, "a container's disk is still in use by another mount namespace; it is freed when that ends");
      return;
    }
    await sleep(deps.clock, RELEASE_WAIT_MS);
  }
}

/** Removes a bundle after its mounts are gone. A mount point that is still busy makes this fail, and nothing below it is touched. */
export async function removeBundle(bundle: string, mountPoints: readonly string[]): Promise<void> {
  // rmdir and never a recursive delete for what may have a container's files mounted.
  for (const point of mountPoints) {
    await rmdir(point).catch((error: unknown) => {
      if (!["ENOTDIR", "ENOENT"].includes(errorCode(error))) throw error;
    });
  }
  await rm(bundle, { recursive: true, force: true });
}

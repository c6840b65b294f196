import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Scene } from "./harness.ts";

/** A peer of its own process on the scene's folders (crash-child.ts), ready for orders. */
export async function spawnPeer(scene: Scene): Promise<ChildProcessWithoutNullStreams> {
  const child = spawn(process.execPath, [fileURLToPath(new URL("./crash-child.ts", import.meta.url)), scene.folder], { stdio: "pipe" });
  child.stderr.pipe(process.stderr);
  await once(child.stdout, "data");
  return child;
}

export async function killPeer(child: ChildProcessWithoutNullStreams): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { ContainerId } from "../../../src/base/index.ts";
import type { ContainerRuntime } from "../../../src/containers/index.ts";
import { killPeer, spawnPeer } from "./crash-peer.ts";
import { leftovers, makeScene, newId, outputOf, type Scene } from "./harness.ts";

const soon = (): AbortSignal => AbortSignal.timeout(30_000);

let scene: Scene;
t.before(async () => {
  scene = await makeScene();
});
t.teardown(() => scene.close());

async function nothingLeft(t: Test, runtime: ContainerRuntime): Promise<void> {
  for (const id of await runtime.list()) await runtime.remove(id);
  t.same(await leftovers(scene), [], "nothing is left");
}

t.test("killed while containers end, are settled and removed", async (t) => {
  for (let moment = 0; moment < 5; moment += 1) {
    const child = await spawnPeer(scene);
    const ids = [newId(), newId()];
    const runtime = await scene.open();
    for (const id of ids) await runtime.start(scene.spec(id, { command: ["sh", "-c", "echo x; exit 4"] }), scene.image, "t", soon());
    for (const id of ids) await runtime.waitExit(id, soon());
    await runtime.close();
    child.stdin.write(`settle ${ids[0]}\nremove ${ids[1]}\n`);
    await new Promise((resolve) => setTimeout(resolve, moment * 15));
    await killPeer(child);
    const next = await scene.open();
    t.match(await next.inspect(ids[0] as ContainerId), { kind: "ended", exit: { exitCode: 4 } }, "its exit code is not lost");
    await next.settle(ids[0] as ContainerId);
    await next.settle(ids[1] as ContainerId);
    await nothingLeft(t, next);
    await next.close();
  }
});

t.test("conmon killed: judged by what runs", async (t) => {
  const runtime = await scene.open();
  const [silent, ended] = [newId(), newId()];
  for (const id of [silent, ended]) {
    await runtime.start(scene.spec(id, { command: ["sleep", "60"] }), scene.image, "t", soon());
    process.kill(Number(await readFile(join(scene.runDir, id, "conmon.pid"), "utf8")), "SIGKILL");
  }
  const found = await runtime.inspect(ended);
  t.equal(found.kind, "running", "still runs without conmon");
  t.equal((await runtime.inspect(silent)).kind, "running");
  if (found.kind === "running") process.kill(found.pid, "SIGKILL");
  t.equal(await runtime.waitExit(ended, soon()), undefined, "nobody saw how it ended");
  t.match(await runtime.inspect(ended), { kind: "ended", exit: undefined });
  await runtime.kill(silent, "SIGKILL");
  t.equal(await runtime.waitExit(silent, soon()), undefined);
  await nothingLeft(t, runtime);
  await runtime.close();
});

t.test("a reboot: what ran has ended, nobody knows how, and its disk is kept", async (t) => {
  const before = await scene.open();
  const id = newId();
  await before.start(scene.spec(id, { command: ["sh", "-c", "echo kept >/kept; sync; sleep 60"] }), scene.image, "t", soon());
  while ((await outputOf(before, id, false)).stdout !== "" || (await readFile(join(scene.runDir, id, "rootfs/kept"), "utf8").catch(() => "")) === "")
    await new Promise((resolve) => setTimeout(resolve, 20));
  // What a reboot does: processes, mounts and the run folder are gone, the state folder stays.
  await before.kill(id, "SIGKILL");
  await before.waitExit(id, soon());
  const stored = await readFile(join(scene.stateDir, id, "container.json"), "utf8");
  await before.settle(id);
  await before.close();
  await rm(scene.runDir, { recursive: true });
  await writeFile(join(scene.stateDir, id, "container.json"), stored);
  const after = await scene.open();
  t.match(await after.inspect(id), { kind: "ended", exit: undefined, runToken: "t" });
  t.equal(await after.waitExit(id, soon()), undefined);
  await after.start(scene.spec(id, { command: ["cat", "/kept"] }), scene.image, "t", soon());
  t.equal((await after.inspect(id)).kind, "ended", "its token is used up");
  await after.start(scene.spec(id, { command: ["cat", "/kept"] }), scene.image, "t2", soon());
  t.match(await after.waitExit(id, soon()), { exitCode: 0 });
  t.equal((await outputOf(after, id)).stdout, "kept\n");
  await nothingLeft(t, after);
  await after.close();
});

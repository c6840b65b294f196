import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { ContainerId } from "../../../src/base/index.ts";
import type { ContainerRuntime } from "../../../src/containers/index.ts";
import { type Scene, leftovers, makeScene, newId, outputOf } from "./harness.ts";

const MOMENTS = 16;
const soon = (): AbortSignal => AbortSignal.timeout(30_000);

let scene: Scene;
t.before(async () => {
  scene = await makeScene();
});
t.teardown(() => scene.close());

async function peer(): Promise<ChildProcessWithoutNullStreams> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "crash-child.ts"), scene.folder], { stdio: "pipe" });
  child.stderr.pipe(process.stderr);
  await once(child.stdout, "data");
  return child;
}

async function kill(child: ChildProcessWithoutNullStreams): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

async function nothingLeft(t: Test, runtime: ContainerRuntime): Promise<void> {
  for (const id of await runtime.list()) await runtime.remove(id);
  t.same(await leftovers(scene), [], "nothing is left");
}

/** Each start writes one line `run TOKEN`, then ticks: what the container itself saw of its life. */
const script = (token: string): string => `echo run ${token}; for n in $(seq 1 40); do echo $n; usleep 3000; done`;
const whole = (token: string): string => `run ${token}\n${Array.from({ length: 40 }, (_, at) => `${at + 1}\n`).join("")}`;

t.test(`killed at ${MOMENTS} moments of a start: started once or not at all, and nothing half`, async (t) => {
  let child = await peer();
  const seen: Record<string, number> = {};
  for (let moment = 0; moment < MOMENTS; moment += 1) {
    const id = newId();
    child.stdin.write(`start ${id} t ${script("t")}\n`);
    // Spread over what a start takes on a busy machine, from before its first step to after its last.
    await new Promise((resolve) => setTimeout(resolve, moment * 20));
    await kill(child);
    const runtime = await scene.open();
    const found = await runtime.inspect(id);
    seen[found.kind] = (seen[found.kind] ?? 0) + 1;
    // The same token again: for what was started it changes nothing.
    await runtime.start(scene.spec(id, { command: ["sh", "-c", script("t")] }), scene.image, "t", soon());
    t.match(await runtime.waitExit(id, soon()), { exitCode: 0 });
    t.equal((await outputOf(runtime, id)).stdout, whole("t"), `moment ${moment}, found ${found.kind}: every line, once`);
    await nothingLeft(t, runtime);
    await runtime.close();
    child = await peer();
  }
  t.comment(JSON.stringify(seen));
  t.ok((seen["running"] ?? 0) > 0 && (seen["absent"] ?? 0) + (seen["half"] ?? 0) > 0, "early and late moments were met");
  await kill(child);
});

t.test("killed while containers end, are settled and removed", async (t) => {
  for (let moment = 0; moment < 5; moment += 1) {
    const child = await peer();
    const ids = [newId(), newId()];
    const runtime = await scene.open();
    for (const id of ids) await runtime.start(scene.spec(id, { command: ["sh", "-c", "echo x; exit 4"] }), scene.image, "t", soon());
    for (const id of ids) await runtime.waitExit(id, soon());
    await runtime.close();
    child.stdin.write(`settle ${ids[0]}\nremove ${ids[1]}\n`);
    await new Promise((resolve) => setTimeout(resolve, moment * 15));
    await kill(child);
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
  while ((await outputOf(before, id, false)).stdout !== "" || (await readFile(join(scene.runDir, id, "rootfs/kept"), "utf8").catch(() => "")) === "") await new Promise((resolve) => setTimeout(resolve, 20));
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

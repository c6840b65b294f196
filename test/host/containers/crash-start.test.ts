import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import t, { type Test } from "tap";
import type { ContainerRuntime } from "../../../src/containers/index.ts";
import { killPeer, spawnPeer } from "./crash-peer.ts";
import { leftovers, makeScene, newId, outputOf, type Scene } from "./harness.ts";

const MOMENTS = Number(process.env["CRASH_MOMENTS"] ?? 10);
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

/** Each start writes one line `run TOKEN`, then ticks: what the container itself saw of its life. */
const script = (token: string): string => `echo run ${token}; for n in $(seq 1 40); do echo $n; usleep 3000; done`;
const whole = (token: string): string => `run ${token}\n${Array.from({ length: 40 }, (_, at) => `${at + 1}\n`).join("")}`;

/** What a whole start takes on this machine, as busy as it is. */
async function measureStart(child: ChildProcessWithoutNullStreams): Promise<number> {
  const id = newId();
  const from = performance.now();
  child.stdin.write(`start ${id} t true\n`);
  await once(child.stdout, "data");
  const took = performance.now() - from;
  child.stdin.write(`remove ${id}\n`);
  await once(child.stdout, "data");
  return took;
}

t.test(`killed at ${MOMENTS} moments of a start: started once or not at all, and nothing half`, async (t) => {
  let child = await spawnPeer(scene);
  const seen: Record<string, number> = {};
  const startMs = await measureStart(child);
  for (let moment = 0; moment < MOMENTS; moment += 1) {
    const id = newId();
    child.stdin.write(`start ${id} t ${script("t")}\n`);
    // Spread from before its first step to after its last.
    await new Promise((resolve) => setTimeout(resolve, (moment / (MOMENTS - 1)) * startMs * 1.6));
    await killPeer(child);
    const runtime = await scene.open();
    const found = await runtime.inspect(id);
    seen[found.kind] = (seen[found.kind] ?? 0) + 1;
    // The same token again: for what was started it changes nothing.
    await runtime.start(scene.spec(id, { command: ["sh", "-c", script("t")] }), scene.image, "t", soon());
    t.match(await runtime.waitExit(id, soon()), { exitCode: 0 });
    t.equal((await outputOf(runtime, id)).stdout, whole("t"), `moment ${moment}, found ${found.kind}: every line, once`);
    await nothingLeft(t, runtime);
    await runtime.close();
    child = await spawnPeer(scene);
  }
  t.comment(JSON.stringify(seen));
  // On a slow machine what was started has ended before anybody looks.
  t.ok((seen["running"] ?? 0) + (seen["ended"] ?? 0) > 0 && (seen["absent"] ?? 0) + (seen["half"] ?? 0) > 0, "early and late moments were met");
  await killPeer(child);
});

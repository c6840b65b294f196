import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import type { ContainerNetworks } from "../../../src/containers/index.ts";
import { leftovers, makeScene, newId, outputOf } from "./harness.ts";

const scene = await makeScene();
t.teardown(() => scene.close());

/** A network that comes about when the test says so. */
function slowNetwork() {
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  const left: string[] = [];
  const networks: ContainerNetworks = {
    join: async () => ({ address: "10.0.0.2", nameservers: ["10.0.0.1"], search: ["shop.cc.internal"], ready }),
    members: () => [],
    leave: async (id) => void left.push(id),
  };
  return { networks, resolve, reject, left };
}

async function untilCreated(id: string): Promise<void> {
  for (let look = 0; look < 400; look += 1) {
    if (existsSync(join(scene.runDir, id, "ctr.pid"))) return;
    await pause(25);
  }
  throw new Error("the container is not created while its network comes about");
}

t.test("a container is made while its network comes about, and begins when that is there", async (t) => {
  const { networks, resolve } = slowNetwork();
  const runtime = await scene.open(networks);
  const id = newId();
  const started = runtime.start(scene.spec(id, { command: ["sh", "-c", "cat /etc/resolv.conf; sleep 60"] }), scene.image, "one", AbortSignal.timeout(60_000));
  await untilCreated(id);
  await pause(500);
  t.same(await outputOf(runtime, id, false), { stdout: "", stderr: "" }, "nothing of it runs yet");
  resolve();
  t.match(await started, { connected: Number, wait: Number, begin: Number });
  for (let look = 0; look < 400 && (await outputOf(runtime, id, false)).stdout === ""; look += 1) await pause(25);
  t.equal((await outputOf(runtime, id, false)).stdout, "nameserver 10.0.0.1\nsearch shop.cc.internal\n");
  await runtime.remove(id);
  t.same(await leftovers(scene), []);
});

t.test("a network that does not come about: nothing ran, and nothing is left", async (t) => {
  const { networks, reject, left } = slowNetwork();
  const runtime = await scene.open(networks);
  const id = newId();
  const started = runtime.start(scene.spec(id, { command: ["sh", "-c", "echo ran"] }), scene.image, "one", AbortSignal.timeout(60_000));
  await untilCreated(id);
  reject(new CcError("NO_ROOM", "the transit range is full"));
  await t.rejects(started, { code: "NO_ROOM" });
  t.ok(left.includes(id));
  t.same(await leftovers(scene), []);
});

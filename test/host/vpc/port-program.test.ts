import { readdir, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import t from "tap";
import type { PerlHelper } from "../../../src/base/index.ts";
import { createPortProgram } from "../../../src/vpc/drivers/overlay/port-program.ts";
import { idleRequest } from "../../../src/vpc/drivers/overlay/scripts.ts";
import { mkfifo, perlsOf } from "../kept-programs.ts";
import { makeVpc, probe, Scene, type TestHost } from "./harness.ts";

let scene: Scene;
let host: TestHost;
/** Whoever opens it to read waits until somebody writes. */
let gate: string;
t.before(async () => {
  scene = await Scene.open(["one"]);
  host = scene.host(0);
  gate = join(scene.folder, "gate");
  await mkfifo(gate);
});
t.teardown(() => scene.close());

const nothing = { changed: [], missing: [], failed: [] };
const pidOf = async (): Promise<number> => (await perlsOf(process.pid, "bridge_slave"))[0] ?? 0;

/** The host's program, which stands still in the middle of every port that it makes: `meanwhile` is called then. */
function standingStill(timeoutMs: number, meanwhile: () => Promise<void>): PerlHelper {
  return {
    ask: async (request, options) => {
      const lines = request.split("\n");
      const half = lines.findIndex((line) => line.includes(" master br0"));
      if (half < 0) return host.program.ask(request, options);
      const asked = host.program.ask([...lines.slice(0, half), `in ${gate}`, ...lines.slice(half)].join("\n"), { ...options, timeoutMs });
      await Promise.all([meanwhile(), asked.catch(() => undefined)]);
      return asked;
    },
    close: () => host.program.close(),
  };
}

t.test("killed in the middle of an attach, or killed because it hangs: the container is attached, and the next by another program", async (t) => {
  const vpc = makeVpc();
  const killed = async () => {
    await delay(300);
    process.kill(await pidOf(), "SIGKILL");
  };
  for (const [at, program] of [standingStill(60_000, killed), standingStill(500, async () => {})].entries()) {
    const had = await pidOf();
    await host.open(host.shell, program);
    const one = await scene.start(host, vpc, `10.0.0.${10 + 2 * at}`);
    t.same(await probe(one, [vpc.gateway]), []);
    await host.open();
    t.same(await host.overlay.converge(() => scene.network(host)), nothing);
    const next = await scene.start(host, vpc, `10.0.0.${11 + 2 * at}`);
    t.same(await probe(next, [vpc.gateway, one.address]), []);
    t.same(await host.overlay.converge(() => scene.network(host)), nothing);
    const now = await pidOf();
    t.ok(now > 0 && now !== had, "another process");
    t.same(await perlsOf(process.pid, "bridge_slave"), [now], "and one only");
  }
});

t.test("the next peer waits for a program that is still at work", async (t) => {
  const earlier = createPortProgram();
  t.teardown(() => earlier.close());
  const working = earlier.ask(`${idleRequest(join(host.runDir, "vpc"))}\nin ${gate}`);
  await delay(300);
  let isOpen = false;
  const opening = host.open().then(() => {
    isOpen = true;
  });
  await delay(1_000);
  t.notOk(isOpen);
  await writeFile(gate, "");
  t.match(await working, { exitCode: 1, stdout: /^in .*gate: / }, "what is no namespace is refused");
  await opening;
});

t.test("it is at home in its own namespace, and keeps nothing open of those where it was", async (t) => {
  const vpc = makeVpc();
  const stays = await scene.start(host, vpc, "10.0.0.10");
  const open = async () => {
    const folder = `/proc/${await pidOf()}/fd`;
    // A socket or a pipe has a number, which does not matter.
    return (await Promise.all((await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => "gone")))).sort();
  };
  const before = await open();
  for (let turn = 0; turn < 25; turn += 1) {
    const one = await scene.start(host, vpc, "10.0.0.11");
    scene.drop(one);
    await host.overlay.detach(one.id);
    await scene.run(`umount ${one.namespacePath}`);
  }
  t.same(await open(), before);
  t.equal(await readlink(`/proc/${await pidOf()}/ns/net`), await readlink("/proc/self/ns/net"));
  t.equal(await readlink(`/proc/${await pidOf()}/cwd`), "/");
  t.same(await probe(stays, [vpc.gateway]), []);
});

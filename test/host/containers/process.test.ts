import { stat } from "node:fs/promises";
import t, { type Test } from "tap";
import { asCcError } from "../../../src/base/index.ts";
import type { CrunConmon } from "../../../src/containers/index.ts";
import { imageConfig, leftovers, makeScene, newId, outputOf, runShell, type Scene } from "./harness.ts";

let scene: Scene;
let runtime: CrunConmon;
t.before(async () => {
  scene = await makeScene();
  runtime = await scene.open();
});
t.teardown(() => scene.close());

async function nothingLeft(t: Test): Promise<void> {
  for (const id of await runtime.list()) await runtime.remove(id);
  t.same(await leftovers(scene), []);
}

t.test("environment, host name, directory", async (t) => {
  const ran = await runShell(runtime, scene, "env; pwd; hostname; cat /etc/hostname /etc/resolv.conf; stat -c %U:%G:%a .", {
    name: "web",
    env: { GREETING: "hello world", FROM_IMAGE: "no" },
    dir: "/srv/made/here",
    user: "alice",
  });
  t.equal(ran.exitCode, 0, ran.stderr);
  t.match(ran.stdout, /^GREETING=hello world$/m);
  t.match(ran.stdout, /^FROM_IMAGE=no$/m);
  t.match(ran.stdout, /^HOME=\/home\/alice$/m);
  t.match(ran.stdout, /^PATH=\/bin$/m);
  t.match(ran.stdout, /^HOSTNAME=web$/m);
  t.match(ran.stdout, /^\/srv\/made\/here\nweb\nweb\nnameserver 192\.0\.2\.53\nalice:alice:755$/m);
  await nothingLeft(t);
});

t.test("users", async (t) => {
  t.match((await runShell(runtime, scene, "id")).stdout, "uid=0(root) gid=0(root)\n");
  t.match((await runShell(runtime, scene, "id", { user: "alice" })).stdout, "uid=1000(alice) gid=1001(alice) groups=10(wheel)\n");
  t.match((await runShell(runtime, scene, "id", { user: "70000:12" })).stdout, "uid=70000 gid=12\n");
  const image = { ...scene.image, config: imageConfig({ user: "alice:wheel", entrypoint: ["sh", "-c"], cmd: ["id; pwd"], workingDir: "/home" }) };
  const id = newId();
  await runtime.start(scene.spec(id), image, "t1", AbortSignal.timeout(10_000));
  t.equal((await outputOf(runtime, id)).stdout, "uid=1000(alice) gid=10(wheel)\n/home\n", "the image's own user, command and directory");
  await nothingLeft(t);
});

t.test("output and input can be opened by name, as images do whose logs are links to /dev/stdout", async (t) => {
  const words =
    "ln -s /dev/stdout /tmp/access.log; ln -s /proc/self/fd/2 /tmp/error.log; echo a >/tmp/access.log; echo b >>/tmp/error.log; echo c >/dev/stdout";
  for (const user of ["0", "alice", "70000:12"]) {
    const ran = await runShell(runtime, scene, words, { user });
    t.same([ran.exitCode, ran.stdout, ran.stderr], [0, "a\nc\n", "b\n"], `as ${user}`);
  }
  const id = newId();
  await runtime.start(scene.spec(id, { command: ["cat", "/dev/stdin"], user: "alice", stdinOpen: true }), scene.image, "t1", AbortSignal.timeout(10_000));
  const input = await runtime.stdin(id);
  await input.write(Buffer.from("typed\n"));
  await input.end();
  t.equal((await outputOf(runtime, id)).stdout, "typed\n");
  await nothingLeft(t);
  t.equal((await stat("/dev/null")).uid, 0, "what is no pipe keeps its owner");
});

t.test("a hostile image leads nowhere", async (t) => {
  // Links out of the root file system: into the host's files, were they followed there.
  const ran = await runShell(
    runtime,
    scene,
    "rm /etc/passwd; ln -s /../../../../../../etc/shadow /etc/passwd; ln -s /../../../../tmp /escape; mknod /etc/group p 2>/dev/null; rm -f /etc/group; mknod /etc/group p; echo ok",
  );
  t.equal(ran.stdout, "ok\n", ran.stderr);
  const again = scene.spec(ran.id, { command: ["sh", "-c", "pwd; id -u"], user: "0", dir: "/escape/made" });
  await runtime.start(again, scene.image, "t2", AbortSignal.timeout(10_000));
  await runtime.waitExit(ran.id, AbortSignal.timeout(10_000));
  t.match((await outputOf(runtime, ran.id)).stdout, /\/tmp\/made\n0\n$/, "made inside the container");
  const daemon = scene.spec(ran.id, { command: ["true"], user: "daemon" });
  const refused = await runtime.start(daemon, scene.image, "t3", AbortSignal.timeout(10_000)).catch(asCcError);
  t.match(refused, { code: "BAD_REQUEST", message: /knows no user "daemon"/ }, "the host's own users are none of its");
  await nothingLeft(t);
});

t.test("read-only, and an init that reaps", async (t) => {
  const ro = await runShell(runtime, scene, "touch /x; echo $?; touch /etc/hosts; echo $?; touch /dev/shm/x; echo $?", { readOnly: true });
  t.equal(ro.stdout, "1\n1\n0\n", ro.stderr);
  const init = await runShell(runtime, scene, "echo $$; (sleep 0.01 &) ; usleep 200000; ps -o pid,stat,comm; exit 9", { init: true });
  t.equal(init.exitCode, 9);
  t.match(init.stdout, /^2\n/, "the shell is not process 1");
  t.notMatch(init.stdout, / Z /, "no zombie stays");
  for (const [word, code] of [
    ["nowhere", "COMMAND_NOT_FOUND"],
    ["/etc/not-executable", "COMMAND_NOT_EXECUTABLE"],
  ] as const) {
    const refused = await runtime.start(scene.spec(newId(), { command: [word], init: true }), scene.image, "t", AbortSignal.timeout(10_000)).catch(asCcError);
    t.match(refused, { code }, `${word}, also with an init`);
  }
  await nothingLeft(t);
});

t.test("the disk is kept from start to start, and by a reboot", async (t) => {
  const ran = await runShell(runtime, scene, "echo one >/kept; sync");
  await runtime.settle(ran.id);
  await runtime.start(scene.spec(ran.id, { command: ["cat", "/kept"] }), scene.image, "t2", AbortSignal.timeout(10_000));
  await runtime.waitExit(ran.id, AbortSignal.timeout(10_000));
  t.match((await outputOf(runtime, ran.id)).stdout, /one\n$/);
  await nothingLeft(t);
});

t.test("signals by name", async (t) => {
  for (const signal of ["SIGUSR1", "SIGHUP", "SIGRTMIN+3"]) {
    const id = newId();
    await runtime.start(
      scene.spec(id, { command: ["sh", "-c", `trap 'exit 50' ${signal === "SIGRTMIN+3" ? "37" : signal.slice(3)}; echo ready; sleep 20 & wait`] }),
      scene.image,
      "t",
      AbortSignal.timeout(10_000),
    );
    for await (const chunk of runtime.logs(id, { from: 0, follow: true, signal: AbortSignal.timeout(5_000) })) if (chunk.data.length > 0) break;
    await runtime.kill(id, signal);
    t.match(await runtime.waitExit(id, AbortSignal.timeout(5_000)), { exitCode: 50 }, signal);
  }
  await nothingLeft(t);
});

t.test("many at once", async (t) => {
  const ids = Array.from({ length: 8 }, newId);
  await Promise.all(ids.map((id, at) => runtime.start(scene.spec(id, { command: ["sh", "-c", `exit ${at}`] }), scene.image, "t", AbortSignal.timeout(30_000))));
  const exits = await Promise.all(ids.map((id) => runtime.waitExit(id, AbortSignal.timeout(10_000))));
  t.same(
    exits.map((exit) => exit?.exitCode),
    ids.map((_, at) => at),
  );
  await Promise.all(ids.map((id) => runtime.remove(id)));
  await nothingLeft(t);
});

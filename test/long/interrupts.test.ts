import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { layoutOf } from "../../nodes/lab/layout.ts";
import { eventually, type TestLab, withLab } from "../e2e/lab.ts";
import { newTraces, readTraces } from "../e2e/traces.ts";

type Container = { readonly id: string; readonly phase: string; readonly name: string };
type Ended = { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly stdout: string; readonly stderr: string };
const TOP = join(import.meta.dirname, "../..");
const BALLAST_BYTES = 24 * 1024 ** 2;
const DEAF = ["--", "sh", "-c", "trap '' INT; echo ready; while :; do sleep 0.2; done"];

withLab("Ctrl-C, and peers that go away, at every stage of a run", { hosts: 3, zones: "a,a,a" }, async (t, lab) => {
  const image = await lab.image();
  const list = (host = 1): Promise<Container[]> => lab.json<Container[]>(["ps", "--all"], { host });
  const nothingLeft = async (): Promise<void> => {
    // What was sent before the interruption may arrive after it.
    await pause(300);
    const all = await list(3);
    if (all.length > 0) await lab.cc(["rm", "--force", ...all.map(({ id }) => id)]);
    for (const host of [1, 2, 3]) {
      const look = `ls /run/cc/containers ${lab.folder}/hosts/h${host}/data/containers 2>/dev/null; sed 's, ,\\n,g' /proc/self/mounts`;
      await eventually(`nothing is left on host ${host}`, async () => !/\bc[a-z2-7]{20}\b/.test((await lab.on(host, "sh", "-c", look)).stdout));
    }
  };
  for (const host of [1, 2, 3]) t.equal((await lab.cc(["run", "--rm", "--host", `h${host}`, "--image", image, "true"])).code, 0);

  await t.test("during a pull: the container is told once it runs; three leave it to itself, and a removal ends the pull", async (t) => {
    const big = await lab.bigImage("big", BALLAST_BYTES);
    throttleRegistry(lab, ["add", "dev", "eth0", "root", "tbf", "rate", "10mbit", "burst", "64k", "latency", "500ms"]);
    const run = await lab.start(["run", "--host", "h2", "--image", big, "--", "sleep", "1000"]);
    const ended = endOf(run);
    const [one] = await eventually("it is being pulled", async () => {
      const all = await list();
      return all[0]?.phase === "pulling" && all;
    });
    run.kill("SIGINT");
    await pause(500);
    t.equal(run.exitCode, null, "one is kept for the container");
    run.kill("SIGINT");
    await pause(100);
    run.kill("SIGINT");
    const end = await ended;
    t.equal(end.code, 130, end.stderr);
    t.match(end.stderr, new RegExp(`detached; ${one?.id} goes on: cc logs -f .* cc stop`));
    t.equal((await list())[0]?.phase, "pulling", "it goes on");
    t.equal((await lab.cc(["rm", "--force", one?.id ?? ""])).code, 0);
    await eventually("no pull is left", async () =>
      (await lab.on(2, "sh", "-c", `ls ${lab.folder}/hosts/h2/data/images/*; ps -eo args | grep -c "[s]kopeo.*${lab.tag}"`)).stdout.endsWith("0\n"),
    );
    throttleRegistry(lab, ["del", "dev", "eth0", "root"]);
    await nothingLeft();
  });

  await t.test("while it is being placed, attached or not: at most one container, and it is whole", async (t) => {
    const startedMs = performance.now();
    t.equal((await lab.cc(["run", "--detach", "--image", image, "--", "sleep", "1000"])).code, 0);
    const wholeMs = performance.now() - startedMs;
    for (const [at, part] of [0.3, 0.5, 0.65, 0.8, 0.9, 1].entries()) {
      const ms = Math.round(part * wholeMs);
      const words = ["run", ...(at % 2 === 0 ? ["--detach"] : []), "--name", `early-${at}`, "--image", image, "--", "sleep", "1000"];
      const run = await lab.start(words, { host: 1 + (at % 3) });
      const ended = endOf(run);
      await pause(ms);
      run.kill("SIGINT");
      // An attached one that runs by now has passed it on: the first process of a container ignores what it does not handle.
      const late = pause(2_000).then(() => run.kill("SIGTERM") && run.kill("SIGKILL"));
      const end = await ended;
      t.ok(end.code === 0 || end.code === 130 || end.signal !== null, `after ${ms} ms: ${end.code ?? end.signal} ${end.stderr}`);
      t.notMatch(end.stderr, /^ +at /m, "no stack");
      await late;
    }
    await pause(1_000);
    const all = await list(2);
    t.equal(new Set(all.map(({ name, id }) => name || id)).size, all.length, "none twice");
    t.same(
      all.filter(({ phase }) => phase !== "running"),
      [],
      "each runs",
    );
    await nothingLeft();
  });

  await t.test("while a peer does not answer, with --detach: what is left open is said", async (t) => {
    const pid = String(await lab.peerPid(1));
    await lab.on(1, "kill", "-STOP", pid);
    try {
      const run = await lab.start(["run", "--detach", "--image", image, "--", "sleep", "1000"], { host: 1 });
      const ended = endOf(run);
      await pause(2_500);
      run.kill("SIGINT");
      t.match(await ended, { code: 130, stdout: "", stderr: /SIGINT before the container was placed; .* look with cc ps/ });
    } finally {
      await lab.on(1, "kill", "-CONT", pid);
    }
    await eventually("all is as it was", async () =>
      (await lab.json<{ state: string }[]>(["host", "list"], { host: 1 })).every(({ state }) => state === "alive"),
    );
    await nothingLeft();
  });

  await t.test("during its output: the process gets it; three within two seconds leave it to itself", async (t) => {
    const run = await lab.start(["run", "--name", "deaf", "--host", "h3", "--image", image, ...DEAF], { host: 2 });
    const ended = endOf(run);
    await said(run, "ready");
    for (let press = 0; press < 3; press += 1) {
      t.equal(run.exitCode, null);
      run.kill("SIGINT");
      await pause(150);
    }
    const end = await ended;
    t.match(end, { code: 130, stderr: /detached; .* goes on/ });
    t.match(
      (await list()).find(({ name }) => name === "deaf"),
      { phase: "running" },
    );
    await nothingLeft();
  });

  await t.test("the peer that cc is attached through is killed, and does not come back within 30 s", async (t) => {
    for (const holder of [2, 1]) {
      const run = await lab.start(["run", "--name", `orphan-${holder}`, "--host", `h${holder}`, "--image", image, ...DEAF], { host: 1 });
      const ended = endOf(run);
      await said(run, "ready");
      await lab.on(1, "kill", "-9", String(await lab.peerPid(1)));
      const end = await ended;
      t.equal(end.code, 125, `its container is on h${holder}: ${end.stderr}`);
      t.match(end.stderr, /^Error \[PEER_UNREACHABLE\]: the connection was lost .*; (c[a-z2-7]{20}) goes on; cc logs -f \1 follows it$/m);
      await lab.must("restart", "1");
      await eventually("the container runs on", async () => (await list(1)).some(({ name, phase }) => name === `orphan-${holder}` && phase === "running"));
    }
    await nothingLeft();
  });

  await t.test("the host that has the container loses its peer", async (t) => {
    const run = await lab.start(["run", "--name", "held", "--host", "h2", "--image", image, ...DEAF], { host: 1 });
    const ended = endOf(run);
    await said(run, "ready");
    await lab.on(2, "kill", "-9", String(await lab.peerPid(2)));
    const end = await ended;
    t.equal(end.code, 125, end.stderr);
    t.match(end.stderr, /^Error \[(HOST|PEER)_UNREACHABLE\]: .*goes on/m);
    await lab.must("restart", "2");
    await nothingLeft();
  });

  await t.test("a lab's making is interrupted", async (t) => {
    for (const stage of ["underlay and registry", "cc-peer init on h1", "cc host invite"]) await interruptUp(t, lab, stage);
  });
});

/** SIGINT to the whole group, as a terminal sends it, at a line that `up` says. */
async function interruptUp(t: Parameters<Parameters<typeof withLab>[2]>[0], lab: TestLab, stage: string): Promise<void> {
  const name = `${lab.name.slice(0, 36)}-up`;
  const layout = layoutOf(TOP, name);
  if (!layout.ok) throw new Error(layout.message);
  const before = readTraces();
  const up = spawn(join(TOP, "scripts/lab"), ["--name", name, "up", "--hosts", "2", "--no-build"], { detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const ended = endOf(up);
  await said(up, stage, "stderr");
  process.kill(-(up.pid ?? 0), "SIGINT");
  const end = await ended;
  t.equal(end.code, 130, `${stage}: ${end.stderr}`);
  const ours = [layout.value.folder, name, layout.value.tag];
  await eventually(`nothing is left of what was interrupted at "${stage}"`, async () => newTraces(before, readTraces(), ours).ours.length === 0, 5_000).catch(
    () => undefined,
  );
  t.same(newTraces(before, readTraces(), ours).ours, [], `${stage}: nothing is left`);
  t.notOk(existsSync(layout.value.folder), "nor its folder");
}

/** The registry's leg is no host's: its namespace is entered from the machine. */
function throttleRegistry(lab: TestLab, words: readonly string[]): void {
  execFileSync("nsenter", [`--net=${lab.folder}/ns/net-registry`, "tc", "qdisc", ...words]);
}

function endOf(child: ChildProcess): Promise<Ended> {
  const text = { stdout: "", stderr: "" };
  child.stdout?.on("data", (data) => (text.stdout += String(data)));
  child.stderr?.on("data", (data) => (text.stderr += String(data)));
  return new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal, ...text })));
}

/** Waits until a program has said something. */
function said(child: ChildProcess, what: string, on: "stdout" | "stderr" = "stdout"): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    child[on]?.on("data", (data) => {
      text += String(data);
      if (text.includes(what)) resolve();
    });
    child.once("close", (code) => reject(new Error(`ended with ${code} before it said "${what}": ${text}`)));
  });
}

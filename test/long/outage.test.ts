import type { ChildProcess } from "node:child_process";
import { hash } from "node:crypto";
import { eventually, withLab } from "../e2e/lab.ts";

type Container = {
  readonly id: string;
  readonly name: string;
  readonly phase: string;
  readonly hostName: string;
  readonly hostReachable: boolean;
  readonly exitCode?: number;
};
type Host = { readonly name: string; readonly state: string };
const LINES = 400;
const TICKS = ["--", "sh", "-c", "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.1; done"];

withLab("peers and hosts that die, stores that are lost", { hosts: 3, zones: "a,a,a" }, async (t, lab) => {
  const image = await lab.image();
  const one = async (name: string, host = 1): Promise<Container | undefined> => (await lab.json<Container[]>(["status", name], { host }))[0];
  const runsAt = async (name: string, host: number): Promise<void> => {
    const run = await lab.cc(["run", "--detach", "--name", name, "--host", `h${host}`, "--image", image, ...TICKS]);
    if (run.code !== 0) throw new Error(run.stderr);
    await eventually(`${name} runs`, async () => (await one(name))?.phase === "running");
  };

  await t.test("attached output goes on through an accepting peer killed, one cut off, and the holder's restarted", async (t) => {
    const urls = await Promise.all([1, 2, 3].map(async (host) => (await lab.environment(host))["CC_ENDPOINT_URL"] ?? ""));
    const endpoints = (...hosts: number[]) => ({ env: { CC_ENDPOINT_URL: hosts.map((host) => urls[host - 1]).join(",") } });
    const script = `n=0; while [ $n -lt ${LINES} ]; do n=$((n+1)); echo line $n; echo other $n >&2; sleep 0.02; done; exit 9`;
    const run = followed(await lab.start(["run", "--name", "writer", "--host", "h2", "--image", image, "--", "sh", "-c", script], endpoints(1, 2, 3)));
    await eventually("its first lines", async () => run.stdout.includes("line 5\n"));
    const logs = followed(await lab.start(["logs", "-f", "--timestamps", "writer"], endpoints(3, 1, 2)));
    await eventually("the same elsewhere", async () => logs.stdout.includes(" line 5\n"));
    await lab.must("cut", "3");
    await lab.run("exec", "1", "--", "kill", "-9", String(await lab.peerPid(1)));
    const atKill = run.stdout.length;
    await eventually("output through another", async () => run.stdout.length > atKill + 100);
    await lab.must("restart", "1");
    await lab.must("restart", "2");
    t.equal(await run.done, 9, run.stderr.slice(-500));
    t.equal(await logs.done, 0, logs.stderr.slice(-500));
    await lab.must("heal");
    const all = (word: string): string => Array.from({ length: LINES }, (_, at) => `${word} ${at + 1}\n`).join("");
    t.equal(sha256(run.stdout), sha256(all("line")), `stdout whole: ${run.stdout.length} of ${all("line").length} bytes`);
    t.equal(sha256(run.stderr), sha256(all("other")), `stderr whole: ${run.stderr.length} bytes, ${run.stderr.slice(-200)}`);
    const untimed = logs.stdout.replaceAll(/^\d{4}-\d\d-\d\dT[\d:.]+Z /gm, "");
    t.equal(sha256(untimed), sha256(all("line")), `the log whole, each line with one time: ${untimed.length} bytes`);
    t.equal((await lab.cc(["rm", "writer"])).code, 0);
    await eventually("all see all again", async () => (await lab.json<Host[]>(["host", "list"], { host: 1 })).every(({ state }) => state === "alive"), 30_000);
  });

  await t.test("a peer killed: its containers go on, and every line is there once", async (t) => {
    await runsAt("steady", 2);
    await runsAt("brief", 2);
    const pid = await lab.peerPid(2);
    await lab.run("exec", "2", "--", "kill", "-9", String(pid));
    const short = await one("brief", 1);
    t.equal(short?.hostName, "h2");
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    await lab.must("restart", "2");
    await eventually(
      "it is back and knows its containers",
      async () => (await lab.json<Host[]>(["host", "list"], { host: 2 })).every(({ state }) => state === "alive"),
      30_000,
    );
    t.equal((await one("steady", 3))?.phase, "running");
    const lines = (await lab.cc(["logs", "steady"], { host: 3 })).stdout.trim().split("\n");
    t.same(
      lines,
      lines.map((_, at) => `tick ${at + 1}`),
      "no line lost, none twice",
    );
    t.ok(lines.length > 20, `${lines.length} lines`);
    t.equal((await lab.cc(["rm", "--force", "brief"])).code, 0);
  });

  await t.test("a store deleted: refilled from the neighbours, and every container goes on", async (t) => {
    const before = await lab.json<Container[]>(["ps", "--all"], { host: 1 });
    const pid = await lab.peerPid(2);
    await lab.run("exec", "2", "--", "kill", "-9", String(pid));
    await lab.must("exec", "2", "--", "rm", "-rf", `${lab.folder}/hosts/h2/data/store`);
    await lab.must("restart", "2");
    await eventually(
      "it knows all again",
      async () => {
        const after = await lab.json<Container[]>(["ps", "--all"], { host: 2 });
        return JSON.stringify(after.map(({ id, phase }) => [id, phase])) === JSON.stringify(before.map(({ id, phase }) => [id, phase]));
      },
      30_000,
    );
    await eventually(
      "host 1 reaches it again",
      async () => (await lab.json<Host[]>(["host", "list"], { host: 1 })).every(({ state }) => state === "alive"),
      30_000,
    );
    const logs = await lab.cc(["logs", "steady"], { host: 1 });
    t.equal(logs.code, 0, logs.stderr);
    const lines = logs.stdout.trim().split("\n");
    t.same(
      lines,
      lines.map((_, at) => `tick ${at + 1}`),
      "the container never noticed",
    );
  });

  await t.test("one of three hosts down", async (t) => {
    await runsAt("elsewhere", 1);
    await lab.must("kill", "2");
    await eventually(
      "it is held unreachable",
      async () => (await lab.json<Host[]>(["host", "list"], { host: 3 })).some(({ name, state }) => name === "h2" && state === "unreachable"),
      20_000,
    );
    for (const host of [1, 3]) {
      t.equal((await lab.cc(["run", "--rm", "--image", image, "echo", "still"], { host })).stdout, "still\n", `run through host ${host}`);
      const list = await lab.cc(["ps"], { host });
      t.match(list.stdout, /elsewhere/);
      t.match(list.stderr, /h2/, "the list says whose part may be old");
      t.match(await one("steady", host), { hostName: "h2", hostReachable: false });
      t.match((await lab.cc(["logs", "elsewhere"], { host })).stdout, /tick 1/);
      t.match(await lab.cc(["logs", "steady"], { host }), { code: 1, stderr: /HOST_UNREACHABLE/ });
      t.match(await lab.cc(["start", "steady"], { host }), { code: 1, stderr: /HOST_UNREACHABLE/ });
      const metrics = await lab.cc(["metrics", "steady", "elsewhere"], { host });
      t.match(metrics, { code: 1, stdout: /^Name: +elsewhere$/m, stderr: /^Error \[HOST_UNREACHABLE\]: steady: its host h2 cannot be reached$/m });
    }
    t.equal((await lab.cc(["rm", "--force", "steady"], { host: 3 })).code, 0, "a removal needs nobody");
    await lab.must("start", "2");
    await eventually(
      "what was removed stays removed when its host returns",
      async () => {
        // Who called it before the power cut may hold its old hardware address for some seconds.
        const said = await lab.cc(["ps", "--all", "--json"], { host: 2 });
        const list: Container[] = said.code === 0 ? JSON.parse(said.stdout) : [];
        return list.length > 0 && list.every(({ name }) => name !== "steady") && list.some(({ name }) => name === "elsewhere");
      },
      40_000,
    );
    await eventually(
      "and nothing of it lies there",
      async () => (await lab.on(2, "sh", "-c", "ls /run/cc/containers 2>/dev/null | grep -c ^c")).stdout.trim() === "0",
      40_000,
    );
  });
});

const sha256 = (text: string): string => hash("sha256", text);

/** What a process writes, as it comes, and its exit code. */
function followed(child: ChildProcess): { stdout: string; stderr: string; readonly done: Promise<number | null> } {
  const done = new Promise<number | null>((resolve) => child.once("close", resolve));
  const seen = { stdout: "", stderr: "", done };
  for (const stream of ["stdout", "stderr"] as const)
    child[stream]?.setEncoding("utf8").on("data", (text: string) => {
      seen[stream] += text;
    });
  return seen;
}

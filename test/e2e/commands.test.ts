import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, withLab } from "./lab.ts";

type Container = {
  readonly id: string;
  readonly name: string;
  readonly phase: string;
  readonly wanted: string;
  readonly host: string;
  readonly hostName: string;
  readonly exitCode?: number;
  readonly restarts: number;
  readonly env: Readonly<Record<string, string>>;
};
type Inspection = { readonly status: Container; readonly spec: object; readonly created: object; readonly claims: readonly object[] };
type Host = { readonly id: string; readonly name: string; readonly state: string };
const HOSTS = [1, 2, 3];
const FOREVER = ["--", "sh", "-c", "trap 'exit 0' TERM; echo begun; while :; do sleep 0.2; done"];

withLab("every command through each of three peers", { hosts: 3, zones: "a,a,b" }, async (t, lab) => {
  const image = await lab.image();
  const only = async (item: string, host: number): Promise<Container | undefined> => (await lab.json<Container[]>(["status", item], { host }))[0];

  for (const host of HOSTS) {
    await t.test(`through host ${host}`, async (t) => {
      const name = `job-${host}`;
      const ran = await lab.cc(["run", "--detach", "--name", name, "--label", "team=web", "--env", "COLOUR=blue", "--image", image, ...FOREVER], { host });
      t.equal(ran.code, 0, ran.stderr);
      const id = ran.stdout.trim();
      t.match(id, /^c[a-z2-7]{20}$/, "run --detach prints the id alone");
      await eventually(`${name} runs`, async () => (await only(name, host))?.phase === "running");
      t.equal((await only(id, host))?.env["COLOUR"], "blue", "its environment is shown to an admin");

      t.match((await lab.cc(["ps"], { host })).stdout, new RegExp(`^${id} +${name} `, "m"));
      t.equal((await lab.json<Container[]>(["ps"], { host })).filter((one) => one.name === name).length, 1);
      t.match(await eventually("its output", async () => (await lab.cc(["logs", name], { host })).stdout), /^begun$/m);
      const metrics = await lab.cc(["metrics", name], { host });
      t.match(metrics, { code: 0, stdout: /^CPU: +[\d.]+ % of a core, [\d.]+ s so far \(1024 shares\)$/m }, metrics.stderr);
      t.match(metrics.stdout, /^Memory: +[\d.]+ [KM]iB of 512 MiB$/m);
      t.match((await lab.cc(["logs", "--timestamps", "--tail", "1", name], { host })).stdout, /^\d{4}-\d\d-\d\dT[\d:.]+Z begun$/m);

      const script = "echo $COLOUR $MORE $(id -u) $(pwd); echo err >&2; exit 3";
      const ran2 = await lab.cc(["exec", "--env", "MORE=yes", "--user", "1000", "--dir", "/tmp", name, "--", "sh", "-c", script], { host });
      t.match(ran2, { code: 3, stdout: "blue yes 1000 /tmp\n", stderr: "err\n" });
      t.match(await lab.cc(["exec", "-i", id, "wc", "-c"], { host, input: "x".repeat(3_000_000) }), { code: 0, stdout: "3000000\n" });
      t.match(await lab.cc(["exec", name, "no-such"], { host }), { code: 127, stdout: "", stderr: /^Error \[COMMAND_NOT_FOUND\]: [^\n]+\n$/ });
      t.match(await lab.cc(["exec", name, "/etc/passwd"], { host }), { code: 126, stdout: "", stderr: /^Error \[COMMAND_NOT_EXECUTABLE\]: [^\n]+\n$/ });
      t.match(await lab.cc(["exec", "--dir", "/none", name, "true"], { host }), { code: 125, stderr: /^Error \[BAD_REQUEST\]: --dir [^\n]+\n$/ });
      t.match(await lab.cc(["exec", "-t", name, "sh"], { host }), { code: 125, stderr: /^Error \[NOT_YET\]: [^\n]+\n$/ });
      t.equal((await lab.cc(["exec", name], { host })).code, 2);
      const [inspected] = await lab.json<Inspection[]>(["inspect", name], { host });
      t.match(inspected, { status: { id, phase: "running" }, spec: { image, env: { COLOUR: "blue" }, labels: { team: "web" } } });
      t.match(inspected, { created: { call: "Run", keyName: "admin" }, claims: [{ epoch: 1, warrant: "award", counts: true }] });

      const waiting = lab.cc(["wait", name], { host });
      t.equal((await lab.cc(["stop", name], { host })).stdout, `${name}\n`);
      t.match(await waiting, { code: 0, stdout: "0\n" }, "its end is waited for");
      t.match(await lab.cc(["exec", name, "true"], { host }), { code: 125, stderr: /^Error \[NOT_RUNNING\]: [^\n]+cc start/ });
      const stopped = await only(id, host);
      t.match(stopped, { phase: "ended", wanted: "stopped", exitCode: 0 }, "the process had its TERM");
      t.same(await lab.json(["metrics", id], { host }), [{ id, name, host: stopped?.host, hostName: stopped?.hostName, phase: "ended", running: false }]);
      t.equal((await lab.cc(["stop", name], { host })).code, 0, "stopping twice is stopping once");

      t.equal((await lab.cc(["start", name], { host })).code, 0);
      t.match(await lab.cc(["exec", name, "echo", "hello"], { host }), { code: 0, stdout: "hello\n" }, "a start is waited for");
      await eventually(`${name} runs again`, async () => (await only(name, host))?.phase === "running");
      t.equal((await lab.cc(["restart", name], { host })).code, 0);
      await eventually(`${name} was restarted`, async () => {
        const log = (await lab.cc(["logs", name], { host })).stdout;
        return log.match(/^begun$/gm)?.length === 3;
      });

      const busy = await lab.cc(["rm", name], { host });
      t.equal(busy.code, 1);
      t.match(busy.stderr, /^Error \[CONFLICT\]: .*cc stop/m);
      t.equal((await lab.cc(["rm", "--force", name], { host })).code, 0);
      t.equal((await lab.cc(["rm", id], { host })).code, 0, "removing twice is removing once");
      const gone = await lab.cc(["status", id], { host });
      t.equal(gone.code, 1);
      t.match(gone.stderr, /^Error \[NOT_FOUND\]/m);
    });
  }

  await t.test("an attached run: input, signals, exit status, pipes", async (t) => {
    const counted = await lab.cc(["run", "--rm", "-i", "--image", image, "--", "wc", "-c"], { input: "x".repeat(200_000), host: 2 });
    t.match(counted, { code: 0, stdout: "200000\n" }, "standard input arrives whole");
    t.equal((await lab.cc(["run", "--rm", "--image", image, "/no/such/program"], { host: 3 })).code, 127);
    t.equal((await lab.cc(["run", "--rm", "--image", image, "/etc/passwd"], { host: 3 })).code, 126);

    const child = await lab.start([
      "run",
      "--rm",
      "--image",
      image,
      "--",
      "sh",
      "-c",
      "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done",
    ]);
    const [text, code] = await new Promise<[string, number | null]>((resolve) => {
      let seen = "";
      child.stdout?.on("data", (data: Buffer) => {
        if (!seen.includes("ready") && `${seen}${data}`.includes("ready")) child.kill("SIGINT");
        seen += String(data);
      });
      child.on("close", (status) => resolve([seen, status]));
    });
    t.equal(text, "ready\ncaught\n", "Ctrl-C reaches the process");
    t.equal(code, 5);
  });

  await t.test("whoever leaves a command that was run in a container, the command ends", async (t) => {
    t.equal((await lab.cc(["run", "--detach", "--name", "left", "--host", "h2", "--image", image, ...FOREVER])).code, 0);
    await eventually("it runs", async () => (await only("left", 1))?.phase === "running");
    const running = async (): Promise<boolean> => (await lab.cc(["exec", "left", "sh", "-c", "ps | grep -q 'sleep 77[7]'"], { host: 2 })).code === 0;
    for (const host of HOSTS) {
      // A signal is for the process alone; who leaves takes all with it.
      const script = host === 2 ? "exec sleep 777" : "sleep 777 & sleep 777";
      const child = await lab.start(["exec", "-i", "left", "--", "sh", "-c", script], { host });
      const code = new Promise((resolve) => child.on("close", resolve));
      // More than anything on the way holds: what stands behind it has to come through all the same.
      child.stdin?.on("error", () => undefined);
      child.stdin?.write(Buffer.alloc(8_000_000));
      await eventually("it is there", running);
      if (host === 1) child.kill("SIGKILL");
      else if (host === 2) child.kill("SIGTERM");
      else await lab.must("restart", "3");
      t.match(await code, host === 1 ? null : host === 2 ? 143 : 125, `through host ${host}`);
      await eventually("it is gone", async () => !(await running()), 15_000);
    }
    t.match(await lab.cc(["wait", "left", "--timeout", "1s"], { host: 3 }), { code: 1, stdout: "", stderr: /^Error \[TIMEOUT\]: left / });
    t.equal((await lab.cc(["rm", "--force", "left"])).code, 0);
  });

  await t.test("metrics of containers on several hosts at once, and watched", async (t) => {
    const spin = ["--", "sh", "-c", "while :; do :; done"];
    const dd = ["--", "sh", "-c", "dd if=/dev/zero of=/taken bs=1M count=16 2>/dev/null; sync; sleep 1000"];
    for (const [name, host, command] of [
      ["spinning", "h1", spin],
      ["writing", "h2", dd],
      ["idle", "h3", ["sleep", "1000"]],
    ] as const)
      t.equal((await lab.cc(["run", "--detach", "--name", name, "--host", host, "--image", image, ...command])).code, 0);
    const names = ["spinning", "writing", "idle"];
    type Metrics = { name: string; hostName: string; running: boolean; cpu: { percent: number | null }; disk: { usedBytes: number; writtenBytes: number } };
    for (const host of HOSTS) {
      const all = await eventually(`all of it, through host ${host}`, async () => {
        const read = await lab.json<Metrics[]>(["metrics", ...names], { host });
        return read.every(({ running, cpu }) => running && cpu.percent !== null) && (read[1]?.disk.writtenBytes ?? 0) > 16 * 1024 ** 2 && read;
      });
      t.same(
        all.map(({ name, hostName }) => [name, hostName]),
        [
          ["spinning", "h1"],
          ["writing", "h2"],
          ["idle", "h3"],
        ],
        "in the order asked",
      );
      const [spinning, writing, idle] = all;
      // How much of a core it gets depends on what else the machine does.
      const [busy, still] = [spinning?.cpu.percent ?? 0, idle?.cpu.percent ?? 100];
      t.ok(busy > 1 && still < busy / 2, `${busy} % against ${still} %`);
      t.ok((writing?.disk.usedBytes ?? 0) > 16 * 1024 ** 2 && (idle?.disk.usedBytes ?? 0) < 1024 ** 2);
    }
    const watching = await lab.start(["metrics", ...names, "--watch", "--interval", "200ms"], { host: 2 });
    let seen = "";
    watching.stdout?.on("data", (data: Buffer) => {
      seen += String(data);
    });
    await eventually("three rounds", async () => seen.match(/ spinning /g)?.length === 3);
    watching.kill("SIGINT");
    t.equal(seen.match(/^TIME /gm)?.length, 1, "one head");
    t.match(seen, / spinning +h1 +running +\d+\.\d % /);
    t.match(await lab.cc(["metrics", "nobody", "idle"]), { code: 1, stdout: /^Name: +idle$/m, stderr: /^Error \[NOT_FOUND\]: .*nobody/ });
    t.equal((await lab.cc(["rm", "--force", ...names])).code, 0);
  });

  await t.test("the gRPC client of README", async (t) => {
    const program = join(import.meta.dirname, "../../examples/grpc-client.ts");
    for (const host of HOSTS) {
      const client = (more: Record<string, string> = {}) => lab.program(process.execPath, [program, image, "echo", "by gRPC"], { ...more }, host);
      const outcome = await client();
      const id = /^ran (c[a-z2-7]{20}) on \S+$/m.exec(outcome.stdout)?.[1] ?? "";
      t.equal(outcome.code, 0, outcome.stderr);
      t.equal(await eventually("its output", async () => (await lab.cc(["logs", id], { host })).stdout || undefined), "by gRPC\n");
      t.match((await client()).stdout, new RegExp(`^${id}  -  [a-z]+  on h\\d$`, "m"), "the second time it lists the first");
      const token = (await lab.environment(host))["CC_ACCESS_TOKEN"] ?? "";
      const stranger = await client({ CC_ACCESS_TOKEN: token.replace(/\.[a-z2-7]{32}$/, `.${"a".repeat(32)}`) });
      t.match(stranger, { code: 1, stdout: "", stderr: /WRONG_MESH.*nothing was sent/ });
    }
    const all = await lab.json<Container[]>(["ps", "--all"]);
    t.equal((await lab.cc(["rm", "--force", ...all.map(({ id }) => id)])).code, 0);
  });

  await t.test("what a container is given", async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "cc-e2e-"));
    writeFileSync(join(folder, "env"), "# a comment\nFROM_FILE=yes\n");
    const run = (...words: string[]) => lab.cc(["run", "--rm", "--image", image, ...words], { host: 2 });
    t.equal((await run("--user", "1000:1000", "id", "-u")).stdout, "1000\n");
    t.equal((await run("--dir", "/made/here", "pwd")).stdout, "/made/here\n");
    t.equal((await run("--env-file", join(folder, "env"), "--", "sh", "-c", "echo $FROM_FILE")).stdout, "yes\n");
    t.match((await run("--read-only", "--", "sh", "-c", "touch /x")).stderr, /Read-only/);
    t.equal(
      (await run("--memory", "64m", "--", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | head -1"))
        .stdout,
      `${64 * 1024 ** 2}\n`,
    );
    t.equal((await run("--init", "--", "sh", "-c", "cat /proc/1/comm")).stdout.trim().length > 0, true);
    const retried = await lab.cc(["run", "--detach", "--name", "again", "--restart", "on-failure", "--image", image, "--", "sh", "-c", "exit 3"]);
    t.equal(retried.code, 0, retried.stderr);
    await eventually("it was started again and again", async () => ((await only("again", 3))?.restarts ?? 0) >= 2);
    t.equal((await lab.cc(["rm", "--force", "again"])).code, 0);
  });

  await t.test("hosts and keys", async (t) => {
    for (const host of HOSTS) {
      const hosts = await lab.json<Host[]>(["host", "list"], { host });
      t.same(
        hosts.map((one) => [one.name, one.state]),
        [
          ["h1", "alive"],
          ["h2", "alive"],
          ["h3", "alive"],
        ],
        `asked at host ${host}`,
      );
    }
    const made = await lab.cc(["key", "create", "--role", "viewer", "--name", "eve"], { host: 2 });
    t.equal(made.code, 0, made.stderr);
    const settings = Object.fromEntries([...made.stdout.matchAll(/(CC_\w+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value]));
    for (const host of HOSTS) {
      await eventually(`her key is known at host ${host}`, async () => (await lab.cc(["ps"], { host, env: settings })).code === 0);
      t.match(await lab.cc(["exec", "x", "true"], { host, env: settings }), { code: 125, stderr: /^Error \[FORBIDDEN\]: .*operator/ });
      const refused = await lab.cc(["run", "--image", image, "true"], { host, env: settings });
      t.equal(refused.code, 125);
      t.match(refused.stderr, /^Error \[FORBIDDEN\]: .*operator/m);
      t.match(await lab.cc(["metrics", "nobody"], { host, env: settings }), { code: 1, stderr: /NOT_FOUND/ }, "metrics are for viewers too");
    }
    t.equal((await lab.cc(["key", "revoke", "eve"], { host: 3 })).code, 0);
    for (const host of HOSTS) {
      await eventually(`her key is refused at host ${host}`, async () => /KEY_REVOKED/.test((await lab.cc(["ps"], { host, env: settings })).stderr));
    }
  });

  await t.test("what is not there yet says so in one line", async (t) => {
    for (const words of [["host", "drain", "h1"], ["events"], ["doctor"]]) {
      const outcome = await lab.cc(words);
      t.equal(outcome.code, 1, words.join(" "));
      t.match(outcome.stderr, /^Error \[NOT_YET\]: [^\n]+\n$/, words.join(" "));
    }
  });
});

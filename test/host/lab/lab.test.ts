import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { processOf } from "../../../nodes/lab/processes.ts";

// The lab's own mechanics, with stand-ins for peer and cc: what it makes, its faults, and that nothing of it stays.
const top = join(import.meta.dirname, "../../..");
const main = join(top, "nodes/lab/main.ts");
const name = `test-lab-${process.pid}-${processOf(process.pid)?.startTicks}`;
const folder = join(top, ".lab", name);
const env = { ...process.env, CC_LAB_PROGRAMS: join(import.meta.dirname, "stub") };

type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };
const lab = (...words: string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    execFile(process.execPath, [main, "--name", name, ...words], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, stdout, stderr });
    });
  });
const status = async () => JSON.parse((await lab("status", "--json")).stdout);
const ping = async (host: number, address: string): Promise<boolean> =>
  (await lab("exec", String(host), "--", "busybox", "ping", "-c1", "-W1", address)).code === 0;

/** Everything on the machine that mentions this lab. */
function traces(tag: string): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(folder));
  const links = readdirSync("/sys/class/net").filter((link) => link.includes(tag));
  const groups = readdirSync("/sys/fs/cgroup")
    .flatMap((root) => [`/sys/fs/cgroup/${root}/cc-lab-${tag}`, `/sys/fs/cgroup/cc-lab-${tag}`])
    .filter(existsSync);
  const processes = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && commandLine(pid).includes(folder));
  return [...mounts, ...links, ...groups, ...processes, ...(existsSync(folder) ? [folder] : [])];
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    // Gone since the listing.
    return "";
  }
}

const fromMachine = (address: string): Promise<string> =>
  new Promise((resolve) => {
    execFile("busybox", ["nc", "-w", "3", address, "7443"], { timeout: 10_000 }, (_, stdout) => resolve(stdout));
  });

t.teardown(() => lab("down"));

t.test("up, faults, kill, start, restart, down", async (t) => {
  const up = await lab("up", "--hosts", "2", "--zones", "a,b");
  t.equal(up.code, 0, up.stderr);
  const first = await status();
  t.match(first, {
    phase: "up",
    hosts: [
      { name: "h1", zone: "a", state: "running" },
      { name: "h2", zone: "b", state: "running" },
    ],
  });
  const [h1, h2] = first.hosts;
  t.equal((await lab("up", "--hosts", "2", "--zones", "a,b")).code, 0, "up twice is up");
  t.equal((await lab("up", "--hosts", "3")).code, 1, "another shape is refused while it is up");

  t.match(await lab("exec", "1", "--", "sh", "-c", "hostname; ls /sys/class/net; exit 7"), { code: 7, stdout: "h1\neth0\nlo\n" });
  t.ok((await lab("env", "--host", "2")).stdout.includes(`CC_ENDPOINT_URL=https://${h2.address}:7443`));
  t.equal((await lab("image", "hello")).stdout, `${first.registry}/hello:latest\n`);
  t.equal(
    (await lab("exec", "1", "--", "busybox", "wget", "-qO-", `http://${first.registry}/v2/hello/tags/list`)).stdout,
    '{"name":"hello","tags":["latest"]}\n',
    "hosts reach it",
  );

  t.ok(await ping(1, h2.address));
  await lab("cut", "1", "2", "--one-way");
  t.notOk(await ping(1, h2.address), "what h1 sends to h2 is lost");
  t.ok(await ping(1, first.registry.split(":")[0]), "and nothing else");
  await lab("heal");
  await lab("cut", "1");
  t.notOk(await ping(1, first.registry.split(":")[0]), "cut off from all");
  await lab("heal");
  t.ok(await ping(1, h2.address));

  await lab("restart", "1");
  const restarted = await status();
  t.not(restarted.hosts[0].pid, h1.pid);
  t.equal(restarted.hosts[0].processes, 3, "both peers' children: what outlives a peer stays with its restart");
  await lab("kill", "1");
  t.match((await status()).hosts[0], { state: "dead", processes: 0 }, "and dies with its host");
  t.equal((await lab("restart", "1")).code, 1, "a dead host has no peer to restart");
  t.equal((await lab("start", "1")).code, 0);
  t.match((await status()).hosts[0], { state: "running", address: h1.address, peer: h1.peer });

  t.equal((await lab("down")).code, 0);
  t.same(traces(first.tag), []);
  t.equal((await lab("down")).code, 0, "down twice is down");
});

t.test("hosts behind a home router: out to the others, nobody in, and faults across it", async (t) => {
  const up = await lab("up", "--hosts", "3", "--home", "2");
  t.equal(up.code, 0, up.stderr);
  const { tag, router, hosts, registry } = await status();
  const [h1, h2, h3] = hosts;
  t.match([h1, h2, h3], [{ zone: "a", home: false }, { zone: "home", home: true }, { home: true }]);
  t.match(router, { runs: true, only: undefined });
  t.equal((await lab("up", "--hosts", "3", "--zones", "a,home,home")).code, 1, "the same zones without a router are another lab");
  const reach = (host: number, address: string): Promise<Outcome> => lab("exec", String(host), "--", "busybox", "nc", "-w", "3", address, "7443");

  t.equal((await reach(3, h1.address)).stdout, "h1\n", "from home to the others");
  t.equal((await reach(3, h2.address)).stdout, "h2\n", "at home");
  t.not((await reach(1, h3.address)).code, 0, "not from the others to the home");
  t.not((await reach(1, router.address)).code, 0, "nor where nothing is mapped");
  t.match((await lab("exec", "3", "--", "busybox", "wget", "-qO-", `http://${registry}/v2/`)).code, 0, "the registry");
  t.equal(await fromMachine(h3.address), "h3\n", "the machine itself looks in, so that its cc reaches every peer");

  const map = ["exec", "3", "--", process.execPath, join(import.meta.dirname, "map-port.ts"), router.gateway, h3.address, "7443"];
  t.equal((await lab(...map)).code, 0);
  t.same(JSON.parse((await lab("router", "mappings", "--json")).stdout), [{ protocol: "tcp", externalPort: 7443, address: h3.address, port: 7443 }]);
  t.equal((await reach(1, router.address)).stdout, "h3\n", "what is mapped is reached");
  await lab("cut", "1", "3", "--one-way");
  t.not((await reach(1, router.address)).code, 0);
  t.not((await reach(3, h1.address)).code, 0, "answers of h1 are packets of h1");
  t.ok(await ping(2, h1.address), "and nothing else");
  await lab("heal");

  t.equal((await lab("router", "restart", "--only", "pcp")).code, 0);
  t.same(JSON.parse((await lab("router", "mappings", "--json")).stdout), [], "a router that lost power has forgotten all");
  t.match((await status()).router, { runs: true, only: "pcp" });
  await lab("router", "stop");
  t.match((await status()).router, { runs: false });
  t.notOk(await ping(3, h1.address), "no way out");
  t.ok(await ping(3, h2.address), "the home itself goes on");
  t.equal((await lab("router", "start")).code, 0);
  await lab("kill", "3");
  t.equal((await lab("start", "3")).code, 0);
  t.ok(await ping(3, h1.address), "a host that comes back is behind it again");
  t.equal((await lab("down")).code, 0);
  t.same(traces(tag), []);
});

t.test("an up that is cut off anywhere leaves nothing that down, or the next up, does not remove", async (t) => {
  let tag = "";
  for (const [delayMs, signal] of [
    [600, "SIGKILL"],
    [1_200, "SIGINT"],
    [1_600, "SIGKILL"],
    [2_200, "SIGKILL"],
  ] as const) {
    const child: ChildProcess = spawn(process.execPath, [main, "--name", name, "up", "--hosts", "2"], { env, stdio: "ignore" });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    await pause(delayMs);
    child.kill(signal);
    await ended;
  }
  t.equal((await lab("up", "--hosts", "2")).code, 0, "up after halves of it");
  tag = (await status()).tag;
  const down = spawn(process.execPath, [main, "--name", name, "down"], { env, stdio: "ignore" });
  const cutOff = new Promise((resolve) => down.once("exit", resolve));
  await pause(450);
  down.kill("SIGKILL");
  await cutOff;
  t.equal((await lab("down")).code, 0, "a down that was cut off goes on");
  t.same(traces(tag), []);
});

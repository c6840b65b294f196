import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { env, lab, main, name, ping, status, traces } from "./stub-lab.ts";

// The lab's own mechanics, with stand-ins for peer and cc: what it makes, its faults, and that nothing of it stays.
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

import { execFileSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import t, { type Test } from "tap";
import type { CrunConmon } from "../../../src/containers/index.ts";
import { leftovers, makeScene, newId, runShell, type Scene } from "./harness.ts";

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

t.test("sees no process, device or setting of the host, and mounts nothing", async (t) => {
  const hostSetting = await readFile("/proc/sys/kernel/hostname", "utf8");
  const ran = await runShell(
    runtime,
    scene,
    [
      "echo procs $(ls /proc | grep -c '^[0-9]')",
      "ping -c1 127.0.0.1 >/dev/null && echo loopback",
      "echo net $(ls /sys/class/net)",
      "echo devs $(find /dev -type b | wc -l) $(ls /dev | tr '\\n' ' ')",
      'try() { if "$@" >/dev/null 2>&1; then echo "DONE $*"; else echo "refused $1"; fi; }',
      "try mount -t tmpfs none /tmp; try mount -t proc none /tmp; try mount -o remount,rw /sys; try umount /proc",
      "try unshare -Ur true; try unshare -m true; try chroot / mount -t tmpfs none /tmp",
      "try sysctl -w kernel.hostname=owned; try sh -c 'echo 1 >/proc/sys/vm/drop_caches'; try sh -c 'echo b >/proc/sysrq-trigger'; try sh -c 'echo x >/sys/kernel/uevent_helper'",
      "try mknod /tmp/disk b 7 0; try dmesg; try swapon /tmp; try insmod /tmp/x; try reboot -f; try hostname owned; try sh -c 'echo 0 >/sys/fs/cgroup/memory/memory.limit_in_bytes'; try sh -c 'cat /proc/kcore | head -c1 | grep .'",
      "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status",
      "cat /proc/self/uid_map",
    ].join("\n"),
  );
  t.equal(ran.exitCode, 0, ran.stderr);
  t.match(ran.stdout, /^procs [1-4]$/m);
  t.match(ran.stdout, /^loopback$/m);
  t.match(ran.stdout, /^net lo$/m, "the network devices of the host are not there");
  t.match(ran.stdout, /^devs 0 /m, "no disk");
  t.notMatch(ran.stdout, /^DONE/m);
  t.match(ran.stdout, /^CapEff:\s+00000000a80425fb$/m, "Docker's capabilities");
  t.match(ran.stdout, /^NoNewPrivs:\s+1$/m);
  t.match(ran.stdout, /^Seccomp:\s+2$/m);
  t.match(ran.stdout, /^\s+0\s+1879048192\s+16777216$/m);
  t.equal(await readFile("/proc/sys/kernel/hostname", "utf8"), hostSetting);
  await nothingLeft(t);
});

t.test("root inside is nobody outside, and has no files but its own", async (t) => {
  const id = newId();
  await runtime.start(scene.spec(id, { command: ["sleep", "30"] }), scene.image, "t", AbortSignal.timeout(10_000));
  const found = await runtime.inspect(id);
  const pid = found.kind === "running" ? found.pid : process.pid;
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  t.match(status, /^Uid:\t1879048192\t1879048192/m);
  for (const name of ["net", "pid", "mnt", "ipc", "uts", "cgroup", "user"]) {
    t.not(
      execFileSync("readlink", [`/proc/${pid}/ns/${name}`]).toString(),
      execFileSync("readlink", [`/proc/self/ns/${name}`]).toString(),
      `own ${name} namespace`,
    );
  }
  await runtime.kill(id, "SIGKILL");
  await nothingLeft(t);
});

t.test("the filter is the same when it comes compiled", async (t) => {
  const probe = "unshare -Ur true 2>&1; grep Seccomp_filters /proc/self/status; grep Seccomp: /proc/self/status";
  const first = await runShell(runtime, scene, probe);
  const second = await runShell(runtime, scene, probe);
  t.match(first.stdout, /Operation not permitted/);
  t.equal(first.stdout, second.stdout);
  await nothingLeft(t);
});

t.test("a fork bomb stays in its limit", async (t) => {
  const ran = await runShell(runtime, scene, "n=0; while [ $n -lt 200 ]; do sleep 5 & n=$((n+1)); done; echo all", { pidsMax: 20 });
  t.match(ran.stderr, /can't fork|Resource temporarily unavailable/);
  t.notMatch(ran.stdout, /all/);
  await nothingLeft(t);
});

t.test("a memory hog is ended, and said to be", async (t) => {
  const hog = await runShell(runtime, scene, "exec tail /dev/zero", { memoryBytes: 32 * 1024 ** 2 });
  t.match(hog, { exitCode: 137, oom: true });
  const shm = await runShell(runtime, scene, "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; echo $?", { memoryBytes: 32 * 1024 ** 2 });
  t.notMatch(shm.stdout, /^0$/m, "memory files count too");
  const own = await runShell(runtime, scene, "exit 137");
  t.match(own, { exitCode: 137, oom: false }, "an exit code of its own is no lack of memory");
  await nothingLeft(t);
});

t.test("a disk filler fills its own", async (t) => {
  const ran = await runShell(
    runtime,
    scene,
    "df -k / | tail -1; dd if=/dev/zero of=/fill bs=1M count=200 2>&1 | head -1; ls -l /fill >/dev/null; dd if=/dev/zero of=/etc/hosts bs=1M count=200 2>&1 | head -1; dd if=/dev/zero of=/dev/fill bs=1M count=100 2>&1 | head -1",
    {
      diskBytes: 32 * 1024 ** 2,
      memoryBytes: 256 * 1024 ** 2,
    },
  );
  t.equal(ran.stdout.match(/No space left/g)?.length, 3, ran.stdout);
  const size = Number(/^overlay\s+(\d+)/m.exec(ran.stdout)?.[1]);
  t.ok(size > 20_000 && size < 32_769, `df shows the limit: ${size} KiB`);
  await nothingLeft(t);
});

t.test("the smallest limits still start", async (t) => {
  const ran = await runShell(runtime, scene, "echo small", { memoryBytes: 16 * 1024 ** 2, diskBytes: 16 * 1024 ** 2, pidsMax: 4, cpuShares: 2 });
  t.equal(ran.stdout, "small\n", ran.stderr);
  await nothingLeft(t);
});

t.test("limits are the kernel's", async (t) => {
  const id = newId();
  await runtime.start(
    scene.spec(id, { command: ["sleep", "30"], memoryBytes: 48 * 1024 ** 2, cpuShares: 300, pidsMax: 33 }),
    scene.image,
    "t",
    AbortSignal.timeout(10_000),
  );
  const v2 = (await readdir("/sys/fs/cgroup")).includes("cgroup.controllers");
  const read = (controller: string, file: string): Promise<string> =>
    readFile(`/sys/fs/cgroup${v2 ? "" : `/${controller}`}${scene.cgroupParent}/${id}/${file}`, "utf8");
  t.equal((await read("memory", v2 ? "memory.max" : "memory.limit_in_bytes")).trim(), String(48 * 1024 ** 2));
  t.equal((await read("memory", v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes")).trim(), v2 ? "0" : String(48 * 1024 ** 2));
  t.equal((await read("pids", "pids.max")).trim(), "33");
  if (!v2) t.equal((await read("cpu", "cpu.shares")).trim(), "300");
  await nothingLeft(t);
});

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import t from "tap";
import type { ContainerId } from "../../../src/base/index.ts";
import type { ContainerMetrics, ContainerSpec } from "../../../src/containers/index.ts";
import { leftovers, makeScene, newId } from "./harness.ts";

const MIB = 1024 ** 2;
const scene = await makeScene();
t.teardown(() => scene.close());
const runtime = await scene.open();

/** Starts a shell line and gives a reading once it has said `ready`. */
async function readingOf(script: string, more: Partial<ContainerSpec> = {}): Promise<{ id: ContainerId; read: () => Promise<ContainerMetrics> }> {
  const id = newId();
  await runtime.start(scene.spec(id, { command: ["sh", "-c", script], ...more }), scene.image, "t1", AbortSignal.timeout(20_000));
  let said = "";
  for await (const chunk of runtime.logs(id, { from: 0, follow: true, signal: AbortSignal.timeout(20_000) })) {
    said += Buffer.from(chunk.data).toString();
    if (said.includes("ready\n")) break;
  }
  if (!said.includes("ready\n")) throw new Error(`it said ${said}`);
  const read = async (): Promise<ContainerMetrics> => {
    const metrics = await runtime.metrics(id);
    if (metrics === undefined) throw new Error("it does not run");
    return metrics;
  };
  return { id, read };
}

t.test("an idle one, and the limits that it was given", async (t) => {
  const { id, read } = await readingOf("echo ready; sleep 60");
  const first = await read();
  t.match(first, {
    memory: { limitBytes: 64 * MIB, oomKills: 0 },
    pids: { current: 1, limit: 64 },
    cpu: { limitCores: 0, throttledSeconds: 0 },
    interfaces: [],
  });
  t.ok(first.memory.usedBytes > 0 && first.memory.usedBytes < 16 * MIB, `${first.memory.usedBytes} bytes of memory`);
  t.ok(first.disk.limitBytes > 28 * MIB && first.disk.limitBytes <= 32 * MIB, `${first.disk.limitBytes} bytes of disk`);
  t.ok(first.disk.usedBytes < MIB, `${first.disk.usedBytes} of them used`);
  const startedMs = performance.now();
  for (let at = 0; at < 50; at += 1) await read();
  t.comment(`a reading takes ${((performance.now() - startedMs) / 50).toFixed(2)} ms`);
  const last = await read();
  t.ok(last.monotonicMs > first.monotonicMs && last.cpu.usedSeconds - first.cpu.usedSeconds < 0.05, "readings cost the container nothing");
  await runtime.kill(id, "SIGKILL");
  await runtime.waitExit(id, AbortSignal.timeout(20_000));
  t.equal(await runtime.metrics(id), undefined, "what has ended uses nothing");
  await runtime.settle(id);
  t.equal(await runtime.metrics(id), undefined);
  await runtime.remove(id);
  t.equal(await runtime.metrics(id), undefined, "nor does what is not there");
});

t.test("processor, memory, disk and processes move by what was taken", async (t) => {
  const { id, read } = await readingOf(
    `
    echo ready
    read -r _
    dd if=/dev/zero of=/dev/shm/taken bs=1M count=16 2>/dev/null
    dd if=/dev/urandom of=/taken bs=1M count=8 2>/dev/null; sync
    for n in 1 2 3 4 5; do sleep 60 & done
    echo taken
    read -r _
    while :; do :; done`,
    { stdinOpen: true },
  );
  const before = await read();
  const input = await runtime.stdin(id);
  await input.write(Buffer.from("\n"));
  for await (const chunk of runtime.logs(id, { from: 0, follow: true, signal: AbortSignal.timeout(20_000) }))
    if (Buffer.from(chunk.data).toString().includes("taken")) break;
  const after = await read();
  const memory = after.memory.usedBytes - before.memory.usedBytes;
  t.ok(memory >= 15 * MIB && memory < 24 * MIB, `16 MiB of memory taken, ${(memory / MIB).toFixed(1)} counted`);
  t.ok(after.memory.peakBytes >= after.memory.usedBytes, "the peak is not below");
  const disk = after.disk.usedBytes - before.disk.usedBytes;
  t.ok(disk >= 8 * MIB && disk < 8.5 * MIB, `8 MiB of disk taken, ${(disk / MIB).toFixed(2)} counted`);
  const written = after.disk.writtenBytes - before.disk.writtenBytes;
  t.ok(written >= 8 * MIB && written < 10 * MIB, `8 MiB written, ${(written / MIB).toFixed(2)} counted, though they went through the page cache`);
  t.equal(after.pids.current - before.pids.current, 5);

  await input.write(Buffer.from("\n"));
  const found = await runtime.inspect(id);
  const pid = found.kind === "running" ? found.pid : 0;
  // The loop is the shell itself, of which the kernel keeps its own account, in ticks of 10 ms.
  const ownSeconds = (): number => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const from = { use: await read(), own: ownSeconds() };
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const to = { use: await read(), own: ownSeconds() };
  const elapsedS = (to.use.monotonicMs - from.use.monotonicMs) / 1_000;
  const [usedS, ownS] = [to.use.cpu.usedSeconds - from.use.cpu.usedSeconds, to.own - from.own];
  t.ok(usedS > 0 && usedS < 1.05 * elapsedS, `${usedS.toFixed(2)} s of CPU in ${elapsedS.toFixed(2)} s`);
  t.ok(Math.abs(usedS - ownS) < 0.1, `the process itself counts ${ownS.toFixed(2)} s`);
  await runtime.remove(id);
});

t.test("the traffic of a disk is a run's own, whatever its loop device did for others before", async (t) => {
  const words = "dd if=/dev/urandom of=/taken bs=1M count=8 2>/dev/null; sync; echo ready; sleep 60";
  const first = await readingOf(words);
  t.ok((await first.read()).disk.writtenBytes >= 8 * MIB);
  await runtime.kill(first.id, "SIGKILL");
  await runtime.waitExit(first.id, AbortSignal.timeout(20_000));
  const again = scene.spec(first.id, { command: ["sleep", "60"] });
  await runtime.start(again, scene.image, "t2", AbortSignal.timeout(20_000));
  const { writtenBytes = Number.NaN } = (await runtime.metrics(first.id))?.disk ?? {};
  t.ok(writtenBytes < MIB, `${writtenBytes} bytes, at the second start of the same`);
  await runtime.remove(first.id);
  // The device that became free is the next one's.
  const next = await readingOf("echo ready; sleep 60");
  const { disk } = await next.read();
  t.ok(disk.writtenBytes < MIB && disk.readBytes < 8 * MIB, `${disk.writtenBytes} bytes written, ${disk.readBytes} read`);
  await runtime.remove(next.id);
});

t.test("network: the interfaces of its own namespace, read from outside", async (t) => {
  const { id, read } = await readingOf("echo ready; sleep 60");
  const inside = (script: string): void => {
    execFileSync("nsenter", [`--net=${scene.runDir}/${id}/net`, "bash", "-euc", script], { stdio: ["ignore", "pipe", "pipe"] });
  };
  inside(`
    echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
    ip link add eth0 type veth peer name far
    ip addr add 10.9.9.1/24 dev eth0
    ip link set far up; ip link set eth0 up
    ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:02 dev eth0`);
  const before = (await read()).interfaces;
  t.same(before.map(({ name }) => name).toSorted(), ["eth0", "far"]);
  // UDP of 1,000 bytes each, with their heads: 1,042.
  inside(`body=$(printf '%01000d' 0); for n in 1 2 3 4 5; do printf %s "$body" > /dev/udp/10.9.9.2/9; done`);
  const after = (await read()).interfaces;
  const moved = (name: string) => {
    const [from, to] = [before, after].map((list) => list.find((each) => each.name === name));
    if (from === undefined || to === undefined) throw new Error(`no ${name}`);
    return {
      received: [to.receivedPackets - from.receivedPackets, to.receivedBytes - from.receivedBytes],
      sent: [to.sentPackets - from.sentPackets, to.sentBytes - from.sentBytes],
    };
  };
  t.same(moved("eth0"), { received: [0, 0], sent: [5, 5 * 1_042] });
  t.same(moved("far"), { received: [5, 5 * 1_042], sent: [0, 0] });
  await runtime.remove(id);
});

t.test("memory that it may not have: the kernel's kills are counted", async (t) => {
  const { id, read } = await readingOf("echo ready; while :; do (tail /dev/zero >/dev/null 2>&1); sleep 0.1; done", { memoryBytes: 16 * MIB });
  let kills = 0;
  for (let looks = 0; looks < 100 && kills === 0; looks += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    kills = (await read()).memory.oomKills;
  }
  t.ok(kills > 0, `${kills} kills`);
  await runtime.remove(id);
});

t.test("nothing is left", async (t) => t.same(await leftovers(scene), []));

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { CrunConmon, OutputChunk } from "../../../src/containers/index.ts";
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

const SMALL = { logFileBytes: 64 * 1024, logFiles: 2 };
const soon = (): AbortSignal => AbortSignal.timeout(60_000);

t.test("the oldest part of a long log goes, positions stay", async (t) => {
  const id = newId();
  // About 5 MB of log, kept: 128 KiB.
  await runtime.start(scene.spec(id, { command: ["sh", "-c", "seq 1 80000; sleep 30"], ...SMALL }), scene.image, "t", soon());
  let last = "";
  let end = 0;
  for await (const chunk of runtime.logs(id, { from: 0, follow: true, signal: soon() })) {
    last = Buffer.from(chunk.data).toString();
    end = chunk.position;
    if (last.endsWith("80000\n")) break;
  }
  t.ok(end > 4_000_000, `the position counts everything: ${end}`);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const folder = join(scene.stateDir, id, "log");
  let blocks = 0;
  for (const name of await readdir(folder)) {
    const file = await stat(join(folder, name));
    blocks += (file.blocks * 512) / file.nlink;
  }
  t.ok(blocks < 200_000, `the disk is given back: ${blocks} bytes`);
  const kept: OutputChunk[] = [];
  for await (const chunk of runtime.logs(id, { from: 0, follow: false, signal: soon() })) kept.push(chunk);
  const lines = Buffer.concat(kept.map((chunk) => chunk.data))
    .toString()
    .trimEnd()
    .split("\n")
    .map(Number);
  const first = lines[0] ?? 0;
  t.same(
    lines,
    Array.from({ length: 80_000 - first + 1 }, (_, at) => first + at),
    `whole lines from ${first} to the last, none missing`,
  );
  t.ok(lines.length > 1_000 && lines.length < 3_000);
  t.equal(kept.at(-1)?.position, end);
  for await (const chunk of runtime.logs(id, { from: 1, follow: false, signal: soon() })) {
    t.ok((chunk.lostBytes ?? 0) > 3_500_000, "who resumes at what is gone is told how much");
    break;
  }
  runtime = await reopened();
  let again = "";
  for await (const chunk of runtime.logs(id, { from: 0, follow: false, signal: soon() })) again += Buffer.from(chunk.data).toString();
  t.same(again.trimEnd().split("\n").map(Number), lines, "the same after the peer's return");
  await nothingLeft(t);
});

async function reopened(): Promise<CrunConmon> {
  await runtime.close();
  return scene.open();
}

t.test("conmon's own rotation loses nothing while the peer is there", async (t) => {
  // 45 MB of log: over the 32 MiB at which conmon begins a new file.
  const id = newId();
  await runtime.start(
    scene.spec(id, {
      command: ["sh", "-c", "dd if=/dev/zero bs=8000 count=5500 2>/dev/null | tr '\\0' x; echo; echo the end"],
      logFileBytes: 64 * 1024 ** 2,
      logFiles: 1,
      memoryBytes: 128 * 1024 ** 2,
    }),
    scene.image,
    "t",
    soon(),
  );
  let bytes = 0;
  let lost = 0;
  let text = "";
  for await (const chunk of runtime.logs(id, { from: 0, follow: true, signal: soon() })) {
    bytes += chunk.data.length;
    text = (text + Buffer.from(chunk.data).toString("latin1")).slice(-20);
    lost += chunk.lostBytes ?? 0;
  }
  t.equal(lost, 0);
  t.equal(bytes, 5_500 * 8_000 + 1 + "the end\n".length);
  t.match(text, /the end\n$/);
  await nothingLeft(t);
});

t.test("a line without an end, in bounded pieces; bytes that are no text", async (t) => {
  const ran = newId();
  await runtime.start(scene.spec(ran, { command: ["sh", "-c", "head -c 300000 /dev/zero; printf '\\377\\000\\001'"] }), scene.image, "t", soon());
  const pieces: Uint8Array[] = [];
  for await (const chunk of runtime.logs(ran, { from: 0, follow: true, signal: soon() })) pieces.push(Buffer.from(chunk.data));
  t.ok(pieces.every((piece) => piece.length <= 63 * 1024));
  const whole = Buffer.concat(pieces);
  t.equal(whole.length, 300_003);
  t.same([...whole.subarray(-3)], [255, 0, 1]);
  await nothingLeft(t);
});

t.test("a reader that stops reading holds nothing up, and goes on where it was", async (t) => {
  const id = newId();
  await runtime.start(scene.spec(id, { command: ["sh", "-c", "seq 1 50000"] }), scene.image, "t", soon());
  const reader = runtime.logs(id, { from: 0, follow: true, signal: soon() })[Symbol.asyncIterator]();
  await reader.next(); // Where it begins.
  const first = await reader.next();
  t.match(await runtime.waitExit(id, soon()), { exitCode: 0 }, "the container went on");
  let text = first.done === true ? "" : Buffer.from(first.value.data).toString();
  for (let next = await reader.next(); next.done !== true; next = await reader.next()) text += Buffer.from(next.value.data).toString();
  t.equal(text, Array.from({ length: 50_000 }, (_, at) => `${at + 1}\n`).join(""));
  await nothingLeft(t);
});

t.test("what is written reaches its reader within milliseconds", async (t) => {
  const id = newId();
  await runtime.start(scene.spec(id, { command: ["cat"], stdinOpen: true }), scene.image, "t", soon());
  const input = await runtime.stdin(id);
  const reader = runtime.logs(id, { from: 0, follow: true, signal: soon() })[Symbol.asyncIterator]();
  await reader.next(); // Where it begins.
  const took: number[] = [];
  for (let turn = 0; turn < 20; turn += 1) {
    const from = performance.now();
    await input.write(Buffer.from(`${turn}\n`));
    const got = await reader.next();
    took.push(performance.now() - from);
    t.equal(got.done === true ? "" : Buffer.from(got.value.data).toString(), `${turn}\n`);
  }
  const median = took.toSorted((a, b) => a - b)[10] ?? 0;
  t.comment(`round trip through the container: median ${median.toFixed(1)} ms, least ${Math.min(...took).toFixed(1)} ms`);
  t.ok(Math.min(...took) < 20);
  await reader.return?.();
  await input.end();
  await nothingLeft(t);
});

t.test("a crash loop does not leave a file a run", async (t) => {
  const ran = await runShell(runtime, scene, "echo 0");
  for (let run = 1; run <= 4; run += 1) {
    await runtime.start(scene.spec(ran.id, { command: ["echo", String(run)] }), scene.image, `r${run}`, soon());
    await runtime.waitExit(ran.id, soon());
  }
  let text = "";
  for await (const chunk of runtime.logs(ran.id, { from: 0, follow: false, signal: soon() })) text += Buffer.from(chunk.data).toString();
  t.equal(text, "0\n1\n2\n3\n4\n");
  t.ok((await readdir(join(scene.stateDir, ran.id, "log"))).length <= 2);
  await nothingLeft(t);
});

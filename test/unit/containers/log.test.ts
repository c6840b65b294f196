import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { takeLines } from "../../../src/containers/drivers/crun-conmon/output-reader.ts";
import { beginScript, diskScript, monitorScript, networkScript, overlayLower, unmountScript } from "../../../src/containers/drivers/crun-conmon/scripts.ts";
import { parseStored } from "../../../src/containers/drivers/crun-conmon/stored.ts";
import { continuesSegment, endOf, planOldest, segmentBase, segmentBytesMax, segmentName } from "../../../src/containers/log-history.ts";
import { LogLineReader } from "../../../src/containers/log-lines.ts";

const AT = "2026-01-02T03:04:05.678901234+01:00";
const AT_MS = Date.parse("2026-01-02T03:04:05.678+01:00");
const take = (text: string | Buffer, sinceMs = 0) => takeLines(new LogLineReader(), Buffer.from(text), 100, sinceMs);
const texts = (text: string | Buffer) => take(text).chunks.map((chunk) => `${chunk.stream}:${Buffer.from(chunk.data).toString()}`);

t.test("lines of conmon's log", async (t) => {
  t.same(texts(`${AT} stdout F hello\n${AT} stderr F oops\n`), ["stdout:hello\n", "stderr:oops\n"]);
  t.same(texts(`${AT} stdout P par\n${AT} stdout F tial\n${AT} stdout F \n`), ["stdout:partial\n\n"], "parts get no line end, empty lines do");
  t.same(take(`${AT} stdout F x\n`).chunks[0]?.atMs, AT_MS);
  t.equal(take(`${AT} stdout F x\n`).position, 100 + AT.length + 12);
  t.same(take(`${AT} stdout F x\n${AT} stdout F unfin`).position, 100 + AT.length + 12, "an unfinished line waits");
  t.same(take(`${AT} stdout F x\n`, AT_MS + 1).chunks, [], "older than asked for");
  t.same(texts(`rubbish\n\0\0\0\n${AT} stdout X no\n${AT} nowhere F no\n${AT}\n${AT} stdout F yes\n`), ["stdout:yes\n"], "what is no line is passed over");
});

t.test("lines of one stream and one millisecond travel together, a frame at most", async (t) => {
  const line = `${AT} stdout F ${"x".repeat(8_000)}\n`;
  const chunks = take(line.repeat(30)).chunks;
  t.ok(chunks.length < 10 && chunks.every((chunk) => chunk.data.length <= 63 * 1024));
  t.equal(
    chunks.reduce((sum, chunk) => sum + chunk.data.length, 0),
    30 * 8_001,
  );
});

t.test("whatever the bytes and however they are cut, the same output in bounded steps", async (t) => {
  const line = fc.oneof(
    fc.string().map((text) => `${AT} stdout F ${text.replaceAll("\n", "")}\n`),
    fc.string().map((text) => `${AT} stderr P ${text.replaceAll("\n", "")}\n`),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), fc.nat(200), (lines, cut) => {
      const bytes = Buffer.from(lines.join(""));
      const whole = take(bytes);
      const first = take(bytes.subarray(0, cut));
      const rest = takeLines(new LogLineReader(), bytes.subarray(first.position - 100), first.position, 0);
      const all = (chunks: readonly { data: Uint8Array }[]): string => Buffer.concat(chunks.map((chunk) => chunk.data)).toString("latin1");
      return all(whole.chunks) === all(first.chunks) + all(rest.chunks) && rest.position === whole.position;
    }),
  );
  t.same(take(Buffer.alloc(70_000, "x")).position, 100 + 70_000, "bytes without an end are damage and no reason to wait");
});

t.test("history: segments by position, the oldest part goes", async (t) => {
  const limits = { logFileBytes: 100, logFiles: 3 };
  t.equal(endOf([]), 0);
  t.equal(
    endOf([
      { base: 0, sizeBytes: 10 },
      { base: 10, sizeBytes: 5 },
    ]),
    15,
  );
  t.equal(planOldest(300, 0, limits), 0);
  t.equal(planOldest(301, 0, limits), 100);
  t.equal(planOldest(1_050, 100, limits), 800);
  t.equal(planOldest(350, 200, limits), 200);
  t.equal(planOldest(250, 0, { logFileBytes: 100, logFiles: 1 }), 200);
  fc.assert(
    fc.property(fc.nat(1e6), fc.nat(1e6), fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 9 }), (end, oldest, logFileBytes, logFiles) => {
      const planned = planOldest(Math.max(end, oldest), oldest, { logFileBytes, logFiles });
      return planned >= oldest && planned <= Math.max(end, oldest) && Math.max(end, oldest) - planned <= logFileBytes * logFiles;
    }),
  );
  t.equal(segmentBase(segmentName(12_345)), 12_345);
  t.equal(segmentBase("current"), undefined);
  t.equal(segmentBytesMax({ logFileBytes: 1, logFiles: 1 }), 32 * 1024 ** 2);
  t.notOk(continuesSegment({ base: 0, sizeBytes: 20 * 1024 ** 2 }, limits));
  t.ok(continuesSegment({ base: 0, sizeBytes: 5 }, limits));
});

t.test("commands as text", async (t) => {
  t.same(overlayLower(["/var/lib/l/aa", "/var/lib/l/bb", "/var/lib/l/sub/cc"]), { folder: "/var/lib/l", lower: "sub/cc:bb:aa" });
  t.same(overlayLower(["/a/x", "/b/y"]), { folder: "/", lower: "b/y:a/x" });
  t.throws(() => overlayLower(["/a/x:y"]), /cannot be named/);
  t.equal(
    diskScript({
      image: "/s/disk.img",
      first: { format: "/r/.disk" },
      mountPoint: "/r/c/disk",
      rootfs: "/r/c/rootfs",
      layers: ["/l/a", "/l/b"],
      diskMounted: false,
    }),
    [
      "set -e",
      "mkfs.ext4 -q -F -m0 -O ^has_journal,^resize_inode -E lazy_itable_init=1,nodiscard -d /r/.disk /s/disk.img",
      "mount -i -t ext4 -o loop,nosuid,nodev /s/disk.img /r/c/disk",
      "cd /l",
      "mount -i -t overlay overlay -o nosuid,nodev,lowerdir=b:a,upperdir=/r/c/disk/u,workdir=/r/c/disk/w /r/c/rootfs",
    ].join("\n"),
  );
  t.match(diskScript({ image: "/s/d", first: "check", mountPoint: "/m", rootfs: "/f", layers: ["/l/a"], diskMounted: false }), /e2fsck -p \/s\/d/);
  t.notMatch(diskScript({ image: "/s/d", first: "check", mountPoint: "/m", rootfs: "/f", layers: ["/l/a"], diskMounted: true }), /loop|mkfs/);
  t.match(networkScript("/u", "/t"), /nsenter --user=\/u -S 0 -G 0 unshare -n/);
  t.match(
    monitorScript({
      id: "c",
      bundle: "/b",
      conmon: "/c",
      runtime: "/w",
      crunRoot: "/r",
      exits: "/e",
      log: "/l",
      logBytesMax: 9,
      stdin: true,
    }),
    /--runtime \/w .*--log-size-max 9 --stdin/,
  );
  // With true as crun, and as conmon a shell that says what conmon says about this very process.
  const folder = mkdtempSync(join(tmpdir(), "cc-script-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const [name, said] of [
    ["spaced", `{"data": ${process.pid}}`],
    ["tight", `{"data":${process.pid}}`],
  ] as const) {
    const conmon = join(folder, name);
    writeFileSync(conmon, `#!/bin/sh\necho '${said}' >&3\n`, { mode: 0o755 });
    const paths = { id: "c", bundle: folder, runtime: "/w", crunRoot: "/r", exits: "/e", log: "/l", logBytesMax: 9, stdin: false };
    const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    const printed = execFileSync("sh", ["-c", monitorScript({ ...paths, conmon })], { encoding: "utf8" });
    t.match(printed, new RegExp(`^\\{"data": ?${process.pid}\\}\nstat ${process.pid} \\(.*\n$`));
    const begin = beginScript({ id: "c", pid: process.pid, crun: "/bin/true", crunRoot: "/r", stdin: false, owner });
    t.equal(execFileSync("sh", ["-c", begin], { encoding: "utf8" }), "started\n");
  }
  t.match(unmountScript(["/a", "/b"]), /umount \/a \/b[\s\S]*umount \/a[\s\S]*umount \/b/);
});

t.test("container.json: whole or nothing", async (t) => {
  const whole = { version: 1, runToken: "t", life: "l", startedAtMs: 1, logFileBytes: 2, logFiles: 3, stdinOpen: false };
  t.same(parseStored(JSON.stringify(whole)), whole);
  t.match(parseStored(JSON.stringify({ ...whole, ended: { exit: { exitCode: 1, oom: false, endedAtMs: 5 } } })), { ended: { exit: { exitCode: 1 } } });
  t.match(parseStored(JSON.stringify({ ...whole, ended: { exit: null } })), { ended: { exit: null } });
  for (const bad of [
    "",
    "{",
    "[]",
    "null",
    "{}",
    JSON.stringify({ ...whole, version: 2 }),
    JSON.stringify({ ...whole, runToken: 5 }),
    JSON.stringify({ ...whole, ended: 3 }),
    JSON.stringify({ ...whole, ended: { exit: {} } }),
  ]) {
    t.equal(parseStored(bad), undefined, bad);
  }
  fc.assert(fc.property(fc.json(), (text) => parseStored(text) === undefined || text.includes("runToken")));
});

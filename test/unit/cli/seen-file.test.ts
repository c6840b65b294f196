import { execFile } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { makeFolder } from "../../../cli/drivers/files.ts";
import { seenFile } from "../../../cli/drivers/seen-file.ts";
import { SEEN_FILE_BYTES_MAX, SEEN_MAX } from "../../../cli/seen.ts";

const folder = mkdtempSync(join(tmpdir(), "cc-seen-"));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const write = (key: string, versionMajor = 1) => ({ key, versionMajor, versionMinor: 0, host: "h".repeat(52) });

t.test("a torn line costs itself only, and the file stays small", async (t) => {
  const seen = seenFile(join(folder, "a/b"), "m");
  const file = join(folder, "a/b/seen-m.jsonl");
  seen.add([write("one")]);
  appendFileSync(file, '["torn');
  seen.add([write("two")]);
  t.same(
    seen.read().map(({ key }) => key),
    ["one", "two"],
  );
  for (let at = 0; at < 500; at += 1) seen.add([write(`key-${at}`)]);
  t.same(
    seen.read().map(({ key }) => key),
    Array.from({ length: SEEN_MAX }, (_, at) => `key-${500 - SEEN_MAX + at}`),
  );
  t.ok(statSync(file).size <= SEEN_FILE_BYTES_MAX + 1024);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(statSync(join(folder, "a/b")).mode & 0o777, 0o700);
  t.same(readdirSync(join(folder, "a/b")), ["seen-m.jsonl"], "nothing else is left");
});

t.test("a rewrite that was killed holds nobody up for ever", async (t) => {
  const seen = seenFile(join(folder, "killed"), "m");
  seen.add([write("first")]);
  const mark = join(folder, "killed/seen-m.jsonl.rewriting");
  mkdirSync(mark);
  for (let at = 0; at < 400; at += 1) seen.add([write(`key-${at}`)]);
  t.equal(seen.read().at(-1)?.key, "key-399", "writes go on meanwhile");
  utimesSync(mark, new Date(0), new Date(0));
  seen.add([write("late")]);
  seen.add([write("later")]);
  t.notOk(existsSync(mark));
  t.ok(statSync(join(folder, "killed/seen-m.jsonl")).size <= SEEN_FILE_BYTES_MAX);
  t.equal(seen.read().at(-1)?.key, "later");
});

t.test("processes at once, over many rewrites, lose nothing of their last", async (t) => {
  const where = join(folder, "many");
  const program = `
    import { seenFile } from ${JSON.stringify(join(import.meta.dirname, "../../../cli/drivers/seen-file.ts"))};
    const seen = seenFile(${JSON.stringify(where)}, "m");
    for (let at = 1; at <= 300; at += 1) seen.add([{ key: "of-" + process.argv[1], versionMajor: at, versionMinor: 0, host: "h".repeat(52) }]);
  `;
  const names = ["a", "b", "c", "d"];
  await Promise.all(
    names.map(
      (name) =>
        new Promise<void>((resolve, reject) =>
          execFile(process.execPath, ["--input-type=module", "--eval", program, name], (error) => (error === null ? resolve() : reject(error))),
        ),
    ),
  );
  const read = seenFile(where, "m").read();
  t.same(
    read.map(({ key, versionMajor }) => `${key} ${versionMajor}`).sort(),
    names.map((name) => `of-${name} 300`),
  );
});

t.test("a folder that cannot be made is refused, not tried for ever", async (t) => {
  t.throws(() => makeFolder("/proc/nowhere/at/all"), { code: "ENOENT" });
  seenFile("/proc/nowhere", "m").add([write("x")]);
  t.same(seenFile("/proc/nowhere", "m").read(), []);
});

import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import t from "tap";
import { type ShellHelper, sleep } from "../../../src/base/index.ts";
import {
  createCommandRunner,
  createPerlHelper,
  createShellHelper,
  makeFolderDurably,
  removeFileDurably,
  systemClock,
  systemRandom,
  writeFileDurably,
} from "../../../src/host/index.ts";

const commands = createCommandRunner();

/** A zombie is dead: whoever reaps it does so in its own time. */
async function isAlive(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return text !== undefined && !/\) [ZX] /.test(text);
}

async function untilDead(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 100 && (await isAlive(pid)); tries += 1) await sleep(systemClock, 20);
  return !(await isAlive(pid));
}

t.test("commands: outcome, input, folder, environment, bounds", async (t) => {
  t.same(await commands.run(["sh", "-c", "echo out; echo err >&2; exit 3"]), { exitCode: 3, stdout: "out\n", stderr: "err\n" });
  t.equal((await commands.run(["cat"], { input: "given" })).stdout, "given");
  t.equal((await commands.run(["true"], { input: "x".repeat(1_000_000) })).exitCode, 0, "unread input is no error");
  t.equal((await commands.run(["sh", "-c", "pwd; echo $X"], { cwd: "/", env: { X: "1" } })).stdout, "/\n1\n");
  t.equal((await commands.run(["head", "-c", "5000000", "/dev/zero"], { outputBytesMax: 1_000 })).stdout.length, 1_000);
  t.equal((await commands.run(["sh", "-c", "kill -TERM $$"])).exitCode, 143);
  t.equal((await commands.run(["printf", "%s", "$HOME;`id`"])).stdout, "$HOME;`id`", "there is no shell");
  await t.rejects(commands.run(["no-such-program-here"]), { code: "INTERNAL", message: /no-such-program-here cannot be run on this host \(ENOENT\)/ });
});

t.test("commands: at the time limit and on abort the whole group dies before the call rejects", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "cc-host-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const script = `sleep 60 & echo $! > ${folder}/pid; wait`;
  await t.rejects(commands.run(["sh", "-c", script], { timeoutMs: 300 }), { code: "TIMEOUT", message: "sh did not end within 300 ms" });
  t.ok(await untilDead(Number(await readFile(join(folder, "pid"), "utf8"))));
  const controller = new AbortController();
  const running = commands.run(["sh", "-c", script], { signal: controller.signal });
  setTimeout(() => controller.abort(new DOMException("stop", "AbortError")), 200);
  await t.rejects(running, { name: "AbortError", message: "stop" });
  t.ok(await untilDead(Number(await readFile(join(folder, "pid"), "utf8"))));
  await t.rejects(commands.run(["true"], { signal: controller.signal }), { name: "AbortError" });
});

t.test("commands: a daemon that keeps the pipes does not keep the caller", async (t) => {
  const began = performance.now();
  const outcome = await commands.run(["sh", "-c", "sleep 5 & echo $!"]);
  t.ok(performance.now() - began < 3_000);
  process.kill(Number(outcome.stdout), "SIGKILL");
});

t.test("commands: streams into programs", async (t) => {
  const million = (): Readable => Readable.from(Array.from({ length: 100 }, () => Buffer.alloc(10_000, 120)));
  t.equal((await commands.feed(["wc", "-c"], million())).stdout.trim(), "1000000");
  t.equal((await commands.feed(["head", "-c", "3"], million())).stdout, "xxx", "a program that stops reading is fine");
  const broken = new Readable({
    read() {
      this.destroy(new Error("source broke"));
    },
  });
  await t.rejects(commands.feed(["cat"], broken), { message: "source broke" });
});

t.test("shell helper: scripts in order, apart from one another", async (t) => {
  const shell = createShellHelper();
  t.teardown(() => shell.close());
  t.same(await shell.run("echo out; echo err >&2; exit 3"), { exitCode: 3, stdout: "out\nerr\n", stderr: "" });
  const many = await Promise.all([
    shell.run("cd /; X=1; set -e; pwd; echo -n $$"),
    shell.run('pwd; echo "[$X]"; false; echo on'),
    shell.run("cat; echo ended"),
    shell.run("if"),
    shell.run("printf 'no newline'"),
  ]);
  const pid = many[0]?.stdout.split("\n")[1];
  t.same(
    many.map(({ stdout }) => stdout),
    [`/\n${pid}`, `${process.cwd()}\n[]\non\n`, "ended\n", many[3]?.stdout, "no newline"],
  );
  t.match(many[3], { exitCode: 2, stdout: /[Ss]yntax error/ });
  t.equal((await shell.run("echo -n $$")).stdout, pid, "one shell all along");
  t.equal((await shell.run("head -c 300000 /dev/zero | tr '\\0' x")).stdout.length, 300_000);
  t.equal((await shell.run("echo 'it''s' \"$(printf '@@%s' 0)\"")).stdout, "its @@0\n");
});

t.test("shell helper: killed at its time limit and on abort, then there again", async (t) => {
  const shell = createShellHelper();
  t.teardown(() => shell.close());
  const pidOf = async (helper: ShellHelper): Promise<number> => Number((await helper.run("echo $$")).stdout);
  const first = await pidOf(shell);
  const waiting = shell.run("sleep 60", { timeoutMs: 200 });
  const behind = shell.run("echo behind");
  const left = new AbortController();
  const leaves = shell.run("echo never", { signal: left.signal });
  left.abort(new DOMException("left", "AbortError"));
  await t.rejects(leaves, { name: "AbortError" }, "one that still waits leaves the queue");
  await t.rejects(waiting, { code: "TIMEOUT" });
  t.equal((await behind).stdout, "behind\n", "the next script runs in a new shell");
  t.ok(await untilDead(first));
  const controller = new AbortController();
  const aborted = shell.run("sleep 60", { signal: controller.signal });
  setTimeout(() => controller.abort(new DOMException("stop", "AbortError")), 100);
  await t.rejects(aborted, { name: "AbortError", message: "stop" });
  const dying = shell.run("kill -KILL $$");
  await t.rejects(dying, { code: "INTERNAL", message: /ended in the middle/ });
  t.equal((await shell.run("echo again")).stdout, "again\n");
});

t.test("shell helper: closed, it takes nothing more and is gone; it dies with its process", async (t) => {
  const shell = createShellHelper();
  const pid = Number((await shell.run("echo $$")).stdout);
  await shell.close();
  await shell.close();
  t.ok(await untilDead(pid));
  await t.rejects(shell.run("true"), { code: "CANCELLED" });
  const source = new URL("../../../src/host/index.ts", import.meta.url).pathname;
  const script = `import { createShellHelper } from "${source}"; const h = createShellHelper(); console.log((await h.run("echo $$")).stdout); process.kill(process.pid, "SIGKILL");`;
  const outcome = await commands.run([process.execPath, "--input-type=module", "-e", script]);
  t.ok(await untilDead(Number(outcome.stdout)));
});

t.test("perl helper: answers in order, killed at its time limit, there again; it dies with its process", async (t) => {
  const perl = createPerlHelper('sub answer { my $asked = shift; sleep 60 if $asked eq "sleep"; exit 3 if $asked eq "exit"; (length $asked, "$$\\n$asked") }');
  t.teardown(() => perl.close());
  const requests = ["one", "tw\u00f6\n\n", "", "x".repeat(300_000)];
  const answers = await Promise.all(requests.map((request) => perl.ask(request)));
  const pid = answers[0]?.stdout.split("\n")[0];
  t.same(
    answers.map(({ exitCode, stdout }) => [exitCode, stdout]),
    requests.map((request) => [Buffer.byteLength(request), `${pid}\n${request}`]),
  );
  const hanging = perl.ask("sleep", { timeoutMs: 200 });
  const behind = perl.ask("behind");
  await t.rejects(hanging, { code: "TIMEOUT" });
  t.match((await behind).stdout, /behind$/);
  t.ok(await untilDead(Number(pid)));
  await t.rejects(perl.ask("exit"), { code: "INTERNAL", message: /ended in the middle/ });
  const last = Number((await perl.ask("")).stdout);
  await perl.close();
  t.ok(await untilDead(last));
  await t.rejects(perl.ask(""), { code: "CANCELLED" });
  const source = new URL("../../../src/host/index.ts", import.meta.url).pathname;
  const script = `import { createPerlHelper } from "${source}"; const h = createPerlHelper("sub answer { (0, $$) }"); console.log((await h.ask("")).stdout); process.kill(process.pid, "SIGKILL");`;
  const outcome = await commands.run([process.execPath, "--input-type=module", "-e", script]);
  t.ok(await untilDead(Number(outcome.stdout)));
});

t.test("files: replaced as a whole, with the mode asked for, whatever lay there", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "cc-host-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, "deep", "er", "file");
  await makeFolderDurably(join(folder, "deep", "er"));
  await makeFolderDurably(join(folder, "deep", "er"));
  t.equal((await stat(join(folder, "deep"))).mode & 0o777, 0o700);
  await writeFile(join(folder, "victim"), "kept");
  await symlink(join(folder, "victim"), join(folder, "deep", "er", ".file.new"));
  await Promise.all(Array.from({ length: 20 }, (_, at) => writeFileDurably(file, `${at}`, { mode: 0o644 })));
  t.equal(await readFile(file, "utf8"), "19", "writes of one path keep their order");
  t.equal((await stat(file)).mode & 0o777, 0o644);
  t.equal(await readFile(join(folder, "victim"), "utf8"), "kept", "a link laid in the way is not followed");
  await writeFileDurably(file, new Uint8Array([65]));
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.same(await readdir(join(folder, "deep", "er")), ["file"]);
  await t.rejects(writeFileDurably(join(folder, "absent", "x"), "x"), { code: "ENOENT" });
  await removeFileDurably(file);
  await removeFileDurably(file);
  await removeFileDurably(join(folder, "absent", "x"));
  t.same(await readdir(join(folder, "deep", "er")), []);
});

t.test("clock and chance", async (t) => {
  const began = systemClock.monotonicMs();
  await sleep(systemClock, 30);
  t.ok(systemClock.monotonicMs() - began >= 28);
  t.ok(Math.abs(systemClock.nowMs() - Date.now()) < 100);
  let fired = false;
  const cancel = systemClock.after(2 ** 33, () => {
    fired = true;
  });
  systemClock.after(1, () => (fired = true))();
  await sleep(systemClock, 20);
  cancel();
  t.equal(fired, false, "a very long wait does not end at once, a cancelled one never");
  t.equal(systemRandom.bytes(16).length, 16);
  t.ok(Array.from({ length: 100 }, () => systemRandom.below(3)).every((value) => value >= 0 && value < 3));
});

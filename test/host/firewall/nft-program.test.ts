import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import t from "tap";
import { createNftProgram, readGenerations, transact } from "../../../src/firewall/drivers/nft/program.ts";
import { createShellHelper } from "../../../src/host/index.ts";
import { perlsOf } from "../kept-programs.ts";

const shell = createShellHelper();
const program = createNftProgram();
let folder: string;
/** Two namespaces; the blank is no accident. */
let paths: readonly [string, string];
t.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "cc nft-"));
  paths = [join(folder, "one"), join(folder, "two")];
  for (const path of paths) {
    await writeFile(path, "");
    const { exitCode, stdout } = await shell.run(`unshare --net='${path}' true`);
    if (exitCode !== 0) throw new Error(stdout);
  }
});
t.teardown(async () => {
  for (const path of paths) await shell.run(`umount '${path}'`);
  await Promise.all([shell.close(), program.close()]);
  await rm(folder, { recursive: true });
});

const pidOf = async (): Promise<number> => (await perlsOf(process.pid, "transact"))[0] ?? 0;
const listed = async (path: string): Promise<string> => (await shell.run(`nsenter --net='${path}' nft list ruleset`)).stdout;
const table = (name: string, elements: readonly string[] = []): string =>
  `table inet ${name} {\n set some {\n type ipv4_addr\n${elements.length === 0 ? "" : ` elements = { ${elements.join(", ")} }\n`} }\n}\n`;
const done = { exitCode: 0, stdout: "", stderr: "" };

t.test("each in its namespace, with nft's words where it refuses", async (t) => {
  const [one, two] = paths;
  t.same(await transact(program, one, table("first")), done);
  t.same(await transact(program, two, table("second")), done);
  t.match([await listed(one), await listed(two)], [/^table inet first [\s\S]*$/, /^table inet second [\s\S]*$/]);
  t.notMatch(await listed(one), /second/);
  t.match(await transact(program, one, "add element inet first some { 10.0.0.1 }\nadd element inet absent some { 10.0.0.1 }\n"), {
    exitCode: 1,
    stdout: /No such file or directory[\s\S]*inet absent/,
  });
  t.notMatch(await listed(one), /10\.0\.0\.1/, "all or nothing");
  t.match(await transact(program, join(folder, "none"), table("third")), { exitCode: 137, stdout: /none: nft cannot be started: No such file/ });
  const many = Array.from({ length: 20_000 }, (_, at) => `10.1.${Math.floor(at / 256)}.${at % 256}`);
  t.same(await transact(program, one, table("large", many)), done, "more than a pipe holds");
  t.match(await listed(one), /10\.1\.78\.31/);
  const [own, ...others] = await readGenerations(program, [undefined, one, join(folder, "none"), two]);
  t.same([Number.isInteger(own), ...others], [true, 3, undefined, 2]);
  t.same(await readGenerations(program, [undefined]), [own]);
});

t.test("killed, it is there again, and leaves nobody behind; it keeps nothing open of where it was", async (t) => {
  const [one, two] = paths;
  await transact(program, one, "flush ruleset\n");
  const first = await pidOf();
  const [waiting] = await perlsOf(first, "transact");
  t.ok(waiting !== undefined && (await readlink(`/proc/${waiting}/ns/net`)) === (await readlink("/proc/self/ns/net")), "the next nft waits at home");
  process.kill(first, "SIGKILL");
  // What is asked before anybody has seen it may fail.
  while ((await pidOf()) === first) await delay(10);
  await delay(100);
  t.same(await transact(program, one, table("again")), done);
  t.not(await pidOf(), first);
  // Ended, whether anybody has taken notice or not.
  t.equal(await readFile(`/proc/${waiting}/cmdline`, "utf8").catch(() => ""), "");
  const open = async () => (await readdir(`/proc/${await pidOf()}/fd`)).length;
  await delay(200);
  const before = await open();
  for (let turn = 0; turn < 15; turn += 1) {
    t.same(await transact(program, turn % 2 === 0 ? one : two, table(`t${turn}`)), done);
    await readGenerations(program, [one, undefined, two]);
  }
  await delay(200);
  t.equal(await open(), before);
  t.equal(await readlink(`/proc/${await pidOf()}/ns/net`), await readlink("/proc/self/ns/net"));
});

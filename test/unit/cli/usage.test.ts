import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { COMMANDS } from "../../../cli/commands.ts";
import { installCc } from "./run-cc.ts";

t.setTimeout(180_000);
const { cc, remove } = await installCc();
t.teardown(remove);

t.test("every command has its file, its summary, an example, and help that ends well", async (t) => {
  const files: string[] = [];
  const walk = (path: string): void => {
    for (const name of readdirSync(path)) {
      if (statSync(join(path, name)).isDirectory()) walk(join(path, name));
      else files.push(join(path, name));
    }
  };
  const root = join(import.meta.dirname, "../../../cli/commands");
  walk(root);
  t.same(files.map((file) => file.slice(root.length + 1, -3).replace("/", ":")).sort(), Object.keys(COMMANDS).sort());
  const outcomes = await Promise.all(["ps", "run", "host list", "key create", "vpc create"].map((words) => cc([...words.split(" "), "--help"])));
  for (const outcome of outcomes) {
    t.equal(outcome.code, 0);
    t.match(outcome.stdout, /EXAMPLES\n {2}\$ cc /);
    t.equal(outcome.stderr, "");
  }
  for (const [id, load] of Object.entries(COMMANDS)) {
    const { default: command } = await load();
    const { summary, examples } = command as object as { summary?: string; examples?: string[] };
    t.ok(summary !== undefined && examples !== undefined && examples.length > 0, id);
    for (const example of examples ?? []) t.match(example, new RegExp(`(^|\\$\\()<%= config.bin %> ${id.replace(":", " ")}`), id);
  }
  t.match((await cc([])).stdout, /COMMANDS/);
  t.match((await cc(["help", "host", "list"])).stdout, /List the mesh's hosts/);
  t.match((await cc(["host"])).stdout, /host invite/);
  t.match((await cc(["--version"])).stdout, /^container-cloud\/\d+\.\d+\.\d+ linux-/);
});

t.test("wrong usage: exit code 2, one line, what to do", async (t) => {
  const cases: [string[], RegExp][] = [
    [["lst"], /^Error \[BAD_USAGE\]: there is no command "lst"/],
    [["host", "lst"], /did you mean cc host list\?/],
    [["ps", "--bogus"], /Nonexistent flag: --bogus \(cc ps --help\)/],
    [["ps", "extra"], /Unexpected argument: extra/],
    [["status"], /something is missing: containers +ids or names/],
    [["ps"], /CC_ENDPOINT_URL, CC_ACCESS_TOKEN, CC_SECRET_KEY are not set/],
    [["run"], /--image is missing/],
    [["run", "alpine", "ls"], /write cc run --image alpine/],
    [["run", "--image", "alpine", "--memory", "lots"], /"lots" is not a size/],
    [["run", "--image", "alpine", "--memory", "1k"], /too small/],
    [["run", "--image", "alpine", "--cpu", "0"], /CPU shares/],
    [["run", "--image", "alpine", "--name", "Web"], /not a name/],
    [["run", "--image", "alpine", "--restart", "maybe"], /to be one of: no, on-failure, always/],
    [["run", "--image", "alpine", "--env-file", "/nonexistent"], /\/nonexistent cannot be read \(ENOENT\)/],
    [["logs", "web", "--tail", "x"], /not a number of lines/],
    [["logs", "web", "--json", "-f"], /leave one out/],
    [["key", "create"], /--role is missing/],
    [["host", "invite", "--uses", "0"], /greater than or equal to 1/],
    [["--wrong", "ps"], /no command "--wrong"/],
  ];
  const outcomes = await Promise.all(cases.map(([words]) => cc(words)));
  for (const [at, [words, expected]] of cases.entries()) {
    const { code, stdout, stderr } = outcomes[at] ?? { code: -1, stdout: "", stderr: "" };
    t.equal(code, 2, words.join(" "));
    t.match(stderr, expected, words.join(" "));
    t.equal(stderr.trimEnd().split("\n").length, 1, `${words.join(" ")}: one line`);
    if (!words.includes("--json")) t.equal(stdout, "");
  }
  for (const bad of [
    { CC_ACCESS_TOKEN: "nonsense" },
    { CC_SECRET_KEY: "ccs_short" },
    { CC_SECRET_KEY: "@/nonexistent" },
    { CC_ENDPOINT_URL: "http://localhost:1" },
  ]) {
    const outcome = await cc(["ps"], { peers: ["https://127.0.0.1:1"], env: bad });
    t.equal(outcome.code, 2, JSON.stringify(bad));
    t.match(outcome.stderr, /^Error \[BAD_USAGE\]: /);
    t.notMatch(outcome.stderr, /ccs_short/, "a secret is never repeated");
  }
});

t.test("what comes later says so in one line", async (t) => {
  const cases = ["volume resize d --size 2g", "volume snapshot d --name s", "events", "doctor", "scale web --replicas 2", "host drain attic"];
  const outcomes = await Promise.all(cases.map((words) => cc(words.split(" "))));
  for (const [at, words] of cases.entries()) {
    t.equal(outcomes[at]?.code, 1, words);
    t.match(outcomes[at]?.stderr, /^Error \[NOT_YET\]: cc [a-z -]+ is not there yet; [^\n]+\n$/, words);
  }
  for (const flag of [["--replicas", "2"], ["--spread", "host"], ["-t"], ["--on-isolation", "stop"]]) {
    const outcome = await cc(["run", "--image", "alpine", ...flag, "ls"]);
    t.equal(outcome.code, 125, flag.join(" "));
    t.match(outcome.stderr, /^Error \[NOT_YET\]: --[a-z-]+ is not there yet; [^\n]+\n$/);
  }
  t.match((await cc(["run", "--image", "oci:", "ls"])).stderr, /BAD_USAGE.*names nothing/);
});

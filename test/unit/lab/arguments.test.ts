import t from "tap";
import { parseArguments } from "../../../nodes/lab/arguments.ts";

const parse = (text: string) => parseArguments(text.split(" "));
const command = (text: string) => {
  const call = parse(text);
  return call.ok ? call.value.command : call.code;
};

t.test("up: hosts and zones", async (t) => {
  t.match(parse("up"), { ok: true, value: { lab: "main", command: { command: "up", zones: ["a", "a", "a"] } } });
  t.match(command("up --hosts 5 --zones a,b"), { zones: ["a", "b", "a", "b", "a"] });
  t.match(command("up --zones=a,a,b,c"), { zones: ["a", "a", "b", "c"] });
  t.match(command("up --hosts 1 --memory 512m --disk 2GiB"), { zones: ["a"], memoryBytes: 512 * 1024 ** 2, diskBytes: 2 * 1024 ** 3 });
  t.equal(command("up --hosts 0"), "BAD_USAGE");
  t.equal(command("up --hosts 65"), "BAD_USAGE");
  t.equal(command("up --hosts 2 --zones a,b,c"), "BAD_USAGE", "more zones than hosts");
  t.equal(command("up --zones A"), "BAD_USAGE");
  t.equal(command("up --memory lots"), "BAD_SIZE");
  t.equal(command("up 3"), "BAD_USAGE");
});

t.test("up: hosts behind a home router, the last ones, in a zone of their own if none is said", async (t) => {
  t.match(command("up"), { home: 0 });
  t.match(command("up --home 1"), { zones: ["a", "a", "home"], home: 1 });
  t.match(command("up --home 4"), { zones: ["a", "home", "home", "home", "home"], home: 4 });
  t.match(command("up --hosts 5 --home 2"), { zones: ["a", "a", "a", "home", "home"] });
  t.match(command("up --home 1 --zones a,b"), { zones: ["a", "b", "a"], home: 1 });
  t.match(command("up --home 2 --zones a,b,b,b"), { zones: ["a", "b", "b", "b"], home: 2 });
  for (const text of ["up --home 3 --hosts 3", "up --home -1", "up --home some", "up --home 64"]) t.equal(command(text), "BAD_USAGE", text);
});

t.test("the home router", async (t) => {
  t.match(command("router stop"), { command: "router", action: "stop" });
  t.match(command("router start"), { action: "start", only: undefined });
  t.match(command("router restart --only pcp"), { action: "restart", only: "pcp" });
  t.match(command("router mappings"), { action: "mappings", json: false });
  t.match(command("router mappings --json"), { json: true });
  for (const text of [
    "router",
    "router fly",
    "router stop --only pcp",
    "router restart --only both",
    "router restart --json",
    "router mappings --only pcp",
    "router stop now",
  ])
    t.equal(command(text), "BAD_USAGE", text);
});

t.test("every other command", async (t) => {
  t.match(parse("--name other status --json"), { ok: true, value: { lab: "other", command: { command: "status", json: true } } });
  t.match(command("env"), { command: "env", host: 1 });
  t.match(command("env --host 3"), { host: 3 });
  t.match(command("image lib/hello:1 --from oci:d:t"), { command: "image", image: "lib/hello:1", from: "oci:d:t", withPassword: false });
  t.match(command("exec 2 -- ls --color -- x"), { command: "exec", host: 2, argv: ["ls", "--color", "--", "x"] });
  t.match(command("kill h2"), { command: "kill", host: 2 });
  t.match(command("cut 1"), { command: "cut", host: 1, other: undefined, oneWay: false });
  t.match(command("cut 1 2 --one-way"), { other: 2, oneWay: true });
  t.match(command("logs 1 -f"), { command: "logs", follow: true });
  t.match(command("registry stop"), { action: "stop" });
  t.match(command("down"), { which: "this" });
  t.match(command("down --all"), { which: "all" });
});

t.test("what is not understood is refused, never guessed", async (t) => {
  for (const text of [
    "",
    "fly",
    "kill",
    "kill x",
    "kill 1 2",
    "cut 1 1",
    "cut 1 2 3",
    "exec 1",
    "exec 1 ls",
    "image",
    "image UPPER",
    "registry",
    "env --host",
    "heal now",
    "down --force",
    "status -- x",
  ]) {
    t.equal(command(text), "BAD_USAGE", `"${text}"`);
  }
});

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { keyId, MESH, peerId } from "../identity/fixtures.ts";
import { installCc } from "./run-cc.ts";
import { type Handler, type Json, startTestPeer } from "./test-peer.ts";

const C1 = "caaaaaaaaaaaaaaaaaaaa";
const C2 = "cbbbbbbbbbbbbbbbbbbbb";
const NOW = 1_800_000_000_000;
t.setTimeout(180_000);
const { cc, folder, remove } = await installCc();
t.teardown(remove);

const container = (fields: Json): Json => ({
  id: C1,
  name: "web",
  image: "alpine",
  phase: "running",
  wanted: "running",
  host: peerId("peer 2"),
  hostName: "attic",
  zone: "attic",
  hostReachable: true,
  createdAtMs: NOW - 125_000,
  startedAtMs: NOW - 120_000,
  restart: "no",
  heardAtMs: NOW,
  ...fields,
});
const NAMES: Record<string, string> = { web: C1, db: C2, attic: peerId("peer 2"), laptop: keyId("ann") };
const resolve: Handler = (request) => {
  const names = request["names"] as string[];
  return {
    ids: names.map((name) => NAMES[name] ?? ""),
    errors: names.flatMap((name) =>
      name === "twice"
        ? [{ item: "twice", code: "NAME_AMBIGUOUS", message: "twice is the name of two containers: c1, c2" }]
        : NAMES[name] === undefined
          ? [{ item: name, code: "NOT_FOUND", message: "unknown" }]
          : [],
    ),
    notAsked: names.includes("lost") ? ["cellar"] : [],
  };
};
const change: Handler = (request) => ({
  done: request["containers"] as string[],
  copies: 2,
  wrote: [{ key: `user/attic/wanted/${C1}`, versionMajor: NOW, versionMinor: 1, host: peerId("peer 2") }],
});
const one = async (call: string, handler: Handler) => {
  const peer = await startTestPeer({ calls: { [call]: handler, Resolve: resolve } });
  t.teardown(() => peer.stop());
  return peer;
};

t.test("ps: a table for people, JSON for programs, and what may be old", async (t) => {
  const peer = await one("ListContainers", () => ({
    containers: [
      container({}),
      container({ id: C2, name: "db", phase: "ended", exitCode: 3, host: "h2", hostName: "cellar", hostReachable: false, heardAtMs: NOW - 65_000 }),
    ],
    unreachable: ["h2"],
    asOfMs: NOW,
  }));
  const table = await cc(["ps", "--all", "--label", "app=shop", "--label", "tier"], { peers: [peer] });
  t.equal(table.code, 0);
  t.equal(
    table.stdout,
    `ID                     NAME  IMAGE   PHASE       HOST    AGE\n${C1}  web   alpine  running     attic    2m\n${C2}  db    alpine  ended (3)?  cellar   2m\n`,
  );
  t.match(table.stderr, /^Warning: a host is unreachable.*cellar \(last heard 1m ago\)\n$/);
  t.match(peer.requests[0]?.body, { all: true, labels: { app: "shop", tier: "" } });
  const json = await cc(["--json", "ps"], { peers: [peer] });
  const parsed = JSON.parse(json.stdout);
  t.equal(parsed.length, 2);
  t.match(parsed[0], { id: C1, exitCode: undefined, restarts: 0, labels: {}, command: [] });
  t.equal(parsed[1].exitCode, 3);
});

t.test("a reader that takes its time gets all of a long answer", async (t) => {
  const peer = await one("ListContainers", () => ({ containers: Array.from({ length: 1_000 }, (_, at) => container({ name: `web-${at}` })), asOfMs: NOW }));
  const slow = cc.start(["ps", "--json"], { peers: [peer] });
  slow.child.stdout?.pause();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  slow.child.stdout?.resume();
  const outcome = await slow.done;
  t.equal(outcome.code, 0);
  t.equal(JSON.parse(outcome.stdout).length, 1_000);
});

t.test("an empty list, a chunked answer, a malformed one, one that is not HTTP", async (t) => {
  const empty = await startTestPeer({ calls: { ListContainers: () => ({}) }, chunked: true });
  t.teardown(() => empty.stop());
  t.same(JSON.parse((await cc(["ps", "--json"], { peers: [empty] })).stdout), []);
  for (const [answer, expected] of [
    [{ containers: "many" }, /cannot be read at ListContainers.containers/],
    [{ raw: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello" }, /not JSON/],
    [{ raw: "220 smtp ready\r\n\r\n" }, /does not answer as a peer does/],
    [{ raw: `HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(20_000)}` }, /headers are too long/],
  ] as const) {
    const peer = await one("ListContainers", () => answer);
    const outcome = await cc(["ps"], { peers: [peer] });
    t.equal(outcome.code, 1);
    t.match(outcome.stderr, expected);
  }
});

t.test("what a terminal would obey never reaches it", async (t) => {
  const peer = await one("ListContainers", () => ({ containers: [container({ name: "a\u001b[2Jb", hostName: "x\u202ey" })], asOfMs: NOW }));
  const outcome = await cc(["ps"], { peers: [peer] });
  t.notMatch(outcome.stdout, /\u001b|\u202e/);
  t.match(outcome.stdout, /a\?\[2Jb/);
});

t.test("status: facts of those found, an error for each that is not", async (t) => {
  const peer = await one("ContainerStatus", () => ({
    containers: [
      container({
        exitCode: 0,
        phase: "ended",
        command: ["sh", "-c", "echo hi"],
        labels: { app: "shop" },
        reason: "oom",
        restarts: 2,
        memoryBytes: 536_870_912,
        ports: [
          { hostPort: 8080, port: 80, protocol: "tcp", external: "203.0.113.9:8080" },
          { hostPort: 8081, port: 81, protocol: "udp", note: "the router has no room for another mapping" },
          { hostPort: 8082, port: 82, protocol: "tcp", everywhere: true },
        ],
      }),
    ],
    errors: [{ item: "nope", code: "NOT_FOUND", message: "no container has this id or name" }],
  }));
  const outcome = await cc(["status", "web", "nope"], { peers: [peer] });
  t.equal(outcome.code, 1);
  t.match(outcome.stdout, /^Id: +caaaaaaaaaaaaaaaaaaaa\n/);
  for (const line of [/\nCommand: +sh -c "echo hi"\n/, /\nExit code: +0\n/, /\nReason: +oom\n/, /\nMemory: +512 MiB\n/, /\nLabels: +app=shop\n/])
    t.match(outcome.stdout, line);
  t.match(outcome.stdout, /\nPublished: +8080\/tcp of its host to 80\nForwarded: +203\.0\.113\.9:8080\/tcp to 8080 of its host\n/);
  t.match(outcome.stdout, /\nForwarded: +8081\/udp: no, the router has no room for another mapping\n/);
  t.match(outcome.stdout, /\nPublished: +8082\/tcp of every host of the zone to 82\n(?!Forwarded)/);
  t.equal(outcome.stderr, "Error [NOT_FOUND]: nope: no container has this id or name\n");
  t.same(peer.requests[0]?.body["containers"], ["web", "nope"]);
  t.equal(JSON.parse((await cc(["status", "web", "nope", "--json"], { peers: [peer] })).stdout).length, 1);
});

t.test("stop comes back when the container has stopped, also when the peer's own wait was over before", async (t) => {
  let looks = 0;
  const peer = await startTestPeer({
    calls: {
      Stop: () => ({ done: [C1], copies: 2, pending: [C1] }),
      ContainerStatus: () => {
        looks += 1;
        return { containers: [{ id: C1, phase: looks < 2 ? "stopping" : "ended", wanted: "stopped", hostReachable: true }] };
      },
    },
  });
  t.teardown(() => peer.stop());
  t.equal((await cc(["stop", C1], { peers: [peer] })).stdout, `${C1}\n`);
  t.equal(looks, 2);
});

t.test("stop, start, restart: by id, resolved once; one token; unknown ones are errors", async (t) => {
  for (const [command, call] of [
    ["stop", "Stop"],
    ["start", "Start"],
    ["restart", "Restart"],
  ] as const) {
    const peer = await one(call, change);
    const outcome = await cc([command, "web", C2, "web", "gone", "twice"], { peers: [peer] });
    t.equal(outcome.code, 1);
    t.equal(outcome.stdout, `web\n${C2}\n`);
    t.match(outcome.stderr, /Error \[NAME_AMBIGUOUS\]: twice is the name of two.*\nError \[NOT_FOUND\]: no container has the id or name gone/);
    const [asked, done, ...more] = peer.requests;
    t.same(asked?.body["names"], ["web", "gone", "twice"]);
    t.same(done?.body["containers"], [C1, C2]);
    t.match(done?.body["token"], /^[\w-]{24}$/);
    t.same(more, []);
    t.equal(peer.connections(), 1, "both calls on one connection");
  }
  const peer = await one("Stop", change);
  const json = await cc(["stop", "web", "--timeout", "0s", "--json"], { peers: [peer] });
  t.equal(json.code, 0);
  t.match(JSON.parse(json.stdout), { done: [C1], errors: [], copies: 2 });
  t.equal(peer.requests[1]?.body["timeoutMs"], 1);
});

t.test("rm: what is gone succeeds, hosts that could not be asked are named", async (t) => {
  const peer = await one("Remove", (request) => ({ ...(change(request, peer) as Json), copies: 1 }));
  const outcome = await cc(["rm", "--force", "web", "lost"], { peers: [peer] });
  t.equal(outcome.code, 0);
  t.equal(outcome.stdout, "web\nlost\n");
  t.match(outcome.stderr, /could not be asked: cellar/);
  t.match(outcome.stderr, /copies: 1/);
  t.match(peer.requests[1]?.body, { force: true, containers: [C1] });
  const absent = await cc(["rm", "never"], { peers: [peer] });
  t.equal(absent.code, 0);
  t.equal(absent.stderr, "");
});

t.test("its own writes are shown to the next peer, reads only", async (t) => {
  const peer = await startTestPeer({ calls: { Stop: change, ListContainers: () => ({}), Resolve: resolve } });
  t.teardown(() => peer.stop());
  const env = { XDG_STATE_HOME: join(folder, "state-seen") };
  await cc(["stop", C1], { peers: [peer], env });
  await cc(["ps"], { peers: [peer], env });
  const [stopped, listed] = peer.requests.map(({ body }) => body["to"] as Json);
  t.equal(stopped?.["seen"], undefined);
  t.same(listed?.["seen"], [{ key: `user/attic/wanted/${C1}`, versionMajor: NOW, versionMinor: 1, host: peerId("peer 2") }]);
  const file = join(folder, "state-seen/container-cloud", `seen-${MESH}.jsonl`);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(
    readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line !== "").length,
    1,
  );
});

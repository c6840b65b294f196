import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Channel } from "../../../src/api/streams.ts";
import { CcError } from "../../../src/base/index.ts";
import { peerId } from "../identity/fixtures.ts";
import { installCc } from "./run-cc.ts";
import { type Json, placed, type StreamHandler, startTestPeer } from "./test-peer.ts";

t.setTimeout(180_000);
const ID = "caaaaaaaaaaaaaaaaaaaa";
const { cc, folder, remove } = await installCc();
t.teardown(remove);

const serving = async (streams: Record<string, StreamHandler>, calls = {}) => {
  const peer = await startTestPeer({ streams, calls });
  t.teardown(() => peer.stop());
  return peer;
};
const ended =
  (exitCode: number): StreamHandler =>
  (stream) => {
    stream.event(placed(ID));
    stream.event({ type: "end", exitCode });
  };
const spec = (request: Json): Json => request["spec"] as Json;

t.test("attached: output as it comes, stdout and stderr apart, and its own exit code", async (t) => {
  const peer = await serving({
    Run(stream) {
      stream.event({ type: "progress", text: "pulling" });
      stream.event(placed(ID));
      stream.stdout("one\n");
      stream.stderr("two\n");
      stream.stdout(Buffer.from([0, 255, 10]));
      stream.event({ type: "end", exitCode: 42 });
    },
  });
  const outcome = await cc(["run", "--image", "alpine", "ls", "--color", "-l", "a", "b", "a", "--json"], { peers: [peer] });
  t.equal(outcome.code, 42);
  t.equal(outcome.stdout, "one\n\u0000\ufffd\n");
  t.equal(outcome.stderr, "two\n", "no progress where there is no terminal");
  const { body = {}, headers = {} } = peer.requests[0] ?? {};
  t.same(spec(body)["command"], ["ls", "--color", "-l", "a", "b", "a", "--json"], "options end at the command, words stay in order");
  t.match(body, { attach: true, token: /^[\w-]{24}$/ });
  t.ok("cc-request" in headers, "one upgrade carries the request");
  t.equal(peer.connections(), 1);
});

t.test("what options become", async (t) => {
  const peer = await serving({ Run: ended(0) });
  const file = join(folder, "some.env");
  writeFileSync(file, "\ufeff# comment\nFROM_FILE=1 2 'x'\r\nHERE\nNOT_SET\n\nBOTH=file\n");
  const words = `run --image=ghcr.io/x/y:tag --name web -m 512m --cpu 2048 --disk 2GiB -u app:app -eA=1=2 --env HERE --env=NOT_SET -e BOTH=flag --dir /srv -l app=shop --label tier --host attic --zone attic --restart on-failure --read-only --init --stop-signal int --stop-timeout 90s --rm --log-size 3m --registry-user joe --registry-password pw`;
  const outcome = await cc([...words.split(" "), "--env-file", file, "--", "-x", "--", "y"], { peers: [peer], env: { HERE: "there" } });
  t.equal(outcome.code, 0, outcome.stderr);
  t.same(spec(peer.requests[0]?.body ?? {}), {
    image: "ghcr.io/x/y:tag",
    name: "web",
    command: ["-x", "--", "y"],
    env: { FROM_FILE: "1 2 'x'", HERE: "there", A: "1=2", BOTH: "flag" },
    user: "app:app",
    dir: "/srv",
    memoryBytes: 536_870_912,
    cpuShares: 2048,
    diskBytes: 2 ** 31,
    labels: { app: "shop", tier: "" },
    host: "attic",
    zone: "attic",
    restart: "on-failure",
    readOnly: true,
    init: true,
    stopSignal: "SIGINT",
    stopTimeoutMs: 90_000,
    removeWhenEnded: true,
    logFileBytes: 2 ** 20,
    logFiles: 3,
    registryUser: "joe",
    registryPassword: "pw",
  });
});

t.test("a request too large for a header is the stream's first frame; one larger than any is refused here", async (t) => {
  const peer = await serving({ Run: ended(0) });
  const big = "x".repeat(100_000);
  t.equal((await cc(["run", "--image", "alpine", "--env", "BIG"], { peers: [peer], env: { BIG: big } })).code, 0);
  t.equal(peer.requests[0]?.headers["cc-request"], undefined);
  t.equal((spec(peer.requests[0]?.body ?? {})["env"] as Json)["BIG"], big);
  const larger = join(folder, "large.env");
  writeFileSync(larger, `BIG=${"y".repeat(300_000)}\n`);
  const refused = await cc(["run", "--image", "alpine", "--env-file", larger], { peers: [peer] });
  t.equal(refused.code, 125);
  t.match(refused.stderr, /^Error \[TOO_LARGE\]/);
  t.equal(peer.requests.length, 1);
});

t.test("refusals: 125, and 126 and 127 for the command", async (t) => {
  const cases: [StreamHandler, number, RegExp][] = [
    [
      (stream) => stream.event({ type: "error", code: "NO_ROOM", message: "no host has room: attic: memory" }),
      125,
      /^Error \[NO_ROOM\]: no host has room: attic: memory\n$/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.event({ type: "error", code: "COMMAND_NOT_FOUND", message: "nope is not in the image" });
      },
      127,
      /COMMAND_NOT_FOUND/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.event({ type: "error", code: "COMMAND_NOT_EXECUTABLE", message: "no x bit" });
      },
      126,
      /COMMAND_NOT_EXECUTABLE/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.event({ type: "end", reason: "oom" });
      },
      125,
      /the container ended: oom/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.event({ type: "end", exitCode: 137, reason: "oom" });
      },
      137,
      /the container ended: oom/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        setTimeout(() => stream.socket.terminate(), 300);
      },
      125,
      new RegExp(`connection was lost.*${ID} goes on; cc logs -f ${ID}`),
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.socket.close();
      },
      125,
      /goes on/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.socket.send("text");
        stream.socket.send(Buffer.from([0x77, 1]));
        stream.event({ type: "end", exitCode: 5 });
      },
      5,
      /^$/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.socket.send(Buffer.alloc(0));
      },
      125,
      /BAD_REQUEST/,
    ],
    [
      (stream) => {
        stream.event(placed(ID));
        stream.socket.send(Buffer.from([Channel.event, 0x7b]));
      },
      125,
      /BAD_REQUEST/,
    ],
  ];
  for (const [handler, code, stderr] of cases) {
    const outcome = await cc(["run", "--image", "alpine"], { peers: [await serving({ Run: handler })] });
    t.equal(outcome.code, code, stderr.source);
    t.match(outcome.stderr, stderr);
  }
});

t.test("--json gathers an attached run into one document", async (t) => {
  const peer = await serving({
    Run(stream) {
      stream.event(placed(ID));
      stream.stdout("ou");
      stream.stderr("err");
      stream.stdout("t\n");
      stream.event({ type: "end", exitCode: 3 });
    },
  });
  const outcome = await cc(["run", "--json", "--image", "alpine"], { peers: [peer] });
  t.equal(outcome.code, 3);
  t.same(JSON.parse(outcome.stdout), { id: ID, host: peerId("peer 2"), exitCode: 3, reason: "", stdout: "out\n", stderr: "err", truncated: false });
  t.equal(outcome.stderr, "");
});

t.test("detached: the id; --explain shows every host's answer on stderr, also of a refusal", async (t) => {
  const answers = [
    { host: "h1", name: "cellar", zone: "z", kind: "refused", reason: "no room: memory" },
    { host: "h2", name: "attic", zone: "z", kind: "bid", price: 1.25, terms: { cpu: 0.5, image: 0.75 }, chosen: true },
  ];
  const peer = await serving(
    {
      Run(stream) {
        stream.event({ type: "explain", answers });
        stream.event({ type: "error", code: "NO_ROOM", message: "nobody" });
      },
    },
    { Run: () => ({ id: ID, host: "h2", copies: 1, answers, warnings: ["the image is old"] }) },
  );
  const detached = await cc(["run", "-d", "--explain", "--image", "alpine"], { peers: [peer] });
  t.equal(detached.code, 0);
  t.equal(detached.stdout, `${ID}\n`);
  t.match(
    detached.stderr,
    / +HOST +ZONE +ANSWER +PRICE +CPU +IMAGE +REASON\n\* +attic +z +bid +1\.25 +0\.5 +0\.75 +-\n-? +cellar +z +refused +- +- +- +no room: memory\n/,
  );
  t.match(detached.stderr, /Warning: the image is old\n/);
  t.match(detached.stderr, /copies: 1/);
  t.equal(peer.requests[0]?.body["attach"], undefined);
  t.match(JSON.parse((await cc(["run", "-d", "--json", "--image", "alpine"], { peers: [peer] })).stdout), { id: ID, host: "h2", copies: 1 });
  const refused = await cc(["run", "--explain", "--image", "alpine"], { peers: [peer] });
  t.equal(refused.code, 125);
  t.match(refused.stderr, /cellar[\s\S]*Error \[NO_ROOM\]/);
  const denied = await serving({}, { Run: () => new CcError("FORBIDDEN", "viewers may not") });
  t.equal((await cc(["run", "-d", "--image", "alpine"], { peers: [denied] })).code, 125);
});

t.test("logs: as written, and as one list", async (t) => {
  const peer = await serving(
    {
      Logs(stream) {
        stream.stdout("a\nb");
        stream.stderr("x\n");
        stream.stdout("c\n");
        stream.stdout("end");
        stream.event({ type: "end" });
      },
    },
    { Resolve: () => ({ ids: [ID] }) },
  );
  const outcome = await cc(["logs", "--tail", "5", "--since", "2026-01-31T12:00:00Z", "-t", "web"], { peers: [peer] });
  t.equal(outcome.code, 0);
  t.equal(outcome.stdout, "a\nbc\nend");
  t.equal(outcome.stderr, "x\n");
  t.match(peer.requests[1]?.body, { container: ID, tail: 5, sinceMs: Date.UTC(2026, 0, 31, 12), timestamps: true, follow: undefined });
  t.same(JSON.parse((await cc(["logs", ID, "--json"], { peers: [peer] })).stdout), [
    { stream: "stdout", text: "a" },
    { stream: "stderr", text: "x" },
    { stream: "stdout", text: "bc" },
    { stream: "stdout", text: "end" },
  ]);
  const failing = await serving({ Logs: (stream) => stream.event({ type: "error", code: "HOST_UNREACHABLE", message: "attic does not answer" }) });
  const failed = await cc(["logs", ID], { peers: [failing] });
  t.equal(failed.code, 1);
  t.equal(failed.stderr, "Error [HOST_UNREACHABLE]: attic does not answer\n");
});

import t from "tap";
import { Channel, INPUT_WINDOW_BYTES } from "../../../src/api/streams.ts";
import { CcError } from "../../../src/base/index.ts";
import { eventually, installCc } from "./run-cc.ts";
import { type Handler, type Stream, type StreamHandler, startTestPeer } from "./test-peer.ts";

t.setTimeout(180_000);
const ID = "caaaaaaaaaaaaaaaaaaaa";
const OTHER = "cbbbbbbbbbbbbbbbbbbbb";
const { cc, remove } = await installCc();
t.teardown(remove);

const peerOf = async (streams: Record<string, StreamHandler>, calls: Record<string, Handler> = {}, name = "peer 2") => {
  const peer = await startTestPeer({ streams, calls, name });
  t.teardown(() => peer.stop());
  return peer;
};
const signalsOf = (stream: Stream): string[] =>
  stream.frames.filter((frame) => frame.channel === Channel.control).map((frame) => JSON.parse(frame.payload.toString()).signal);

t.test("one request with the words as they stand; output apart, exit code, reason", async (t) => {
  const peer = await peerOf({
    Exec(stream) {
      stream.stdout(Buffer.from([0, 255, 10]));
      stream.stderr("err\n");
      stream.event({ type: "end", exitCode: 7, reason: "its container ended, and it with it" });
    },
  });
  const outcome = await cc(["exec", "-u", "alice", "--env", "A=b c", "-e", "FROM_HERE", "-e", "NOT_HERE", "--dir", "/srv", "web", "ls", "-l", "--", "--json"], {
    peers: [peer],
    env: { FROM_HERE: "yes" },
  });
  t.equal(outcome.code, 7);
  t.equal(outcome.stderr, "err\nthe command ended: its container ended, and it with it\n");
  t.equal(peer.requests.length, 1, "the name is not asked for before");
  const { to: _, ...request } = peer.requests[0]?.body ?? {};
  t.same(request, { container: "web", command: ["ls", "-l", "--", "--json"], env: { A: "b c", FROM_HERE: "yes" }, user: "alice", dir: "/srv" });
  const json = await cc(["exec", "--json", "web", "--", "id"], { peers: [peer] });
  t.match(JSON.parse(json.stdout), { container: "web", exitCode: 7, stderr: "err\n", truncated: false });
});

t.test("refusals, by their exit codes", async (t) => {
  for (const [code, exit] of [
    ["NOT_RUNNING", 125],
    ["FORBIDDEN", 125],
    ["COMMAND_NOT_FOUND", 127],
    ["COMMAND_NOT_EXECUTABLE", 126],
  ] as const) {
    const peer = await peerOf({ Exec: (stream) => stream.event({ type: "error", code, message: "no" }) });
    const outcome = await cc(["exec", "web", "x"], { peers: [peer] });
    t.equal(outcome.code, exit);
    t.match(outcome.stderr, new RegExp(`^Error \\[${code}\\]: no\n$`));
  }
  const peer = await peerOf({});
  t.match(await cc(["exec", "-it", "web", "sh"], { peers: [peer] }), { code: 125, stderr: /^Error \[NOT_YET\]: --tty is not there yet[^\n]*\n$/ });
  t.match(await cc(["exec", "web"], { peers: [peer] }), { code: 2, stderr: /the command to run in the container is missing/ });
  t.match(await cc(["exec", "web", "--"], { peers: [peer] }), { code: 2 });
  t.match(await cc(["exec"], { peers: [peer] }), { code: 2 });
  t.equal(peer.requests.length, 0);
});

t.test("input goes by the window, and signals overtake it", async (t) => {
  const bytesOf = (stream: Stream): number => stream.frames.reduce((sum, frame) => sum + (frame.channel === Channel.stdin ? frame.payload.length : 0), 0);
  let current: Stream | undefined;
  const peer = await peerOf({
    async Exec(stream) {
      current = stream;
      await stream.until(() => bytesOf(stream) >= INPUT_WINDOW_BYTES);
      await stream.until(() => signalsOf(stream).includes("SIGTERM"));
      t.equal(bytesOf(stream), INPUT_WINDOW_BYTES, "no more than the window while nothing is taken");
      let taken = 0;
      await stream.until(() => {
        const bytes = bytesOf(stream);
        if (bytes > taken) {
          stream.event({ type: "took", bytes: bytes - taken });
          taken = bytes;
        }
        return stream.frames.some((frame) => frame.channel === Channel.stdinEnd);
      });
      stream.stdout(String(bytesOf(stream)));
      stream.event({ type: "end", exitCode: 0 });
    },
  });
  const running = cc.start(["exec", "-i", "web", "cat"], { peers: [peer], input: Buffer.alloc(5_000_000, "x") });
  await eventually(() => current !== undefined && bytesOf(current) === INPUT_WINDOW_BYTES, "a window of input");
  running.child.kill("SIGTERM");
  t.match(await running.done, { code: 0, stdout: "5000000", stderr: "" });
  const without = await peerOf({
    Exec(stream) {
      stream.event({ type: "end", exitCode: 0 });
    },
  });
  t.equal((await cc(["exec", "web", "cat"], { peers: [without], input: "keep open" })).code, 0, "not waited for without -i");
});

t.test("a command is never asked for twice, and never left behind in silence", async (t) => {
  let begun = 0;
  const lost: StreamHandler = (stream) => {
    begun += 1;
    stream.stdout("some\n");
    setTimeout(() => stream.socket.terminate(), 50);
  };
  const peers = [await peerOf({ Exec: lost }), await peerOf({ Exec: lost }, {}, "peer 3")];
  const outcome = await cc(["exec", "web", "x"], { peers });
  t.match(outcome, { code: 125, stdout: "some\n", stderr: /^Error \[PEER_UNREACHABLE\]: the connection was lost .*the command is ended with it/ });
  t.equal(begun, 1);

  const dead = await startTestPeer({});
  await dead.stop();
  const next = await peerOf({ Exec: (stream) => stream.event({ type: "end", exitCode: 4 }) });
  t.equal((await cc(["exec", "web", "x"], { peers: [dead, next] })).code, 4, "who cannot be reached at all was not asked");

  const stubborn = await peerOf({ Exec: (stream) => stream.stdout("up\n") });
  const leaving = cc.start(["exec", "web", "x"], { peers: [stubborn] });
  await eventually(() => leaving.output().stdout === "up\n", "its first output");
  for (let at = 0; at < 3; at += 1) {
    leaving.child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.match(await leaving.done, { code: 130, stderr: /left; the command is ended/ });
});

t.test("inspect: one list, with all that came, also what this version has not heard of", async (t) => {
  const inspection = {
    status: { id: ID, name: "web", phase: "running", hostReachable: true },
    spec: { image: "alpine", volumes: [{ volume: "data", path: "/data" }], laterField: { a: 1 } },
    created: { call: "Run", key: "k1", keyName: "ann", stampedAtMs: 5 },
    claims: [{ host: "h", epoch: 1, warrant: "award", counts: true }],
  };
  const peer = await peerOf(
    {},
    { Inspect: () => ({ containers: [inspection], errors: [{ item: "x", code: "NOT_FOUND", message: "there is no container x" }] }) },
  );
  const outcome = await cc(["inspect", "web", "x"], { peers: [peer] });
  t.equal(outcome.code, 1);
  t.match(outcome.stderr, /^Error \[NOT_FOUND\]: there is no container x\n$/);
  const [shown] = JSON.parse(outcome.stdout);
  t.same(shown.spec, inspection.spec);
  t.match(shown, { status: { id: ID, exitCode: undefined }, created: { keyName: "ann" }, claims: [{ warrant: "award", counts: true }] });
  t.notOk("wanted" in shown, "nothing was asked of it since");
});

t.test("wait: each exit code in order, a limit, another peer", async (t) => {
  const state = (id: string, exitCode?: number) => ({ id, name: id, phase: "ended", ...(exitCode === undefined ? {} : { exitCode }) });
  const resolve: Handler = ({ names }) => ({ ids: (names as string[]).map((name) => ({ one: ID, two: OTHER })[name] ?? ""), errors: [] });
  let asked: unknown[] = [];
  const answers = [{}, { ended: [state(OTHER, 3)] }, { ended: [state(ID, 0)] }];
  const peer = await peerOf(
    {},
    {
      Resolve: resolve,
      Wait: ({ containers, waitMs }) => {
        asked.push([containers, waitMs]);
        return answers[asked.length - 1] ?? {};
      },
    },
  );
  t.match(await cc(["wait", "one", "two"], { peers: [peer] }), { code: 0, stdout: "0\n3\n", stderr: "" });
  t.same(asked, [
    [[ID, OTHER], 10_000],
    [[ID, OTHER], 10_000],
    [[ID], 10_000],
  ]);

  asked = [];
  const never = await peerOf({}, { Resolve: resolve, Wait: async () => new Promise((answer) => setTimeout(() => answer({ ended: [state(OTHER, 5)] }), 300)) });
  const late = await cc(["wait", "two", "one", "--timeout", "1s"], { peers: [never] });
  t.match(late, { code: 1, stdout: "5\n", stderr: /^Error \[TIMEOUT\]: one has not ended within 1s; it runs on\n$/ });

  const dropping = await peerOf({}, { Resolve: resolve, Wait: () => "drop" });
  const other = await peerOf({}, { Wait: () => ({ ended: [state(ID, 9)] }) }, "peer 3");
  t.match(await cc(["wait", "one", "--json"], { peers: [dropping, other] }), { code: 0, stdout: /"exitCode": 9/ });

  const unseen = await peerOf({}, { Resolve: resolve, Wait: () => ({ ended: [state(ID)], errors: [{ item: OTHER, code: "NOT_FOUND", message: "gone" }] }) });
  const failed = await cc(["wait", "one", "two", "three"], { peers: [unseen] });
  t.equal(failed.code, 1);
  t.equal(failed.stdout, "");
  for (const line of [/\[NOT_FOUND\]: .*three/, /\[NOT_FOUND\]: two: gone/, /\[CONTAINER_FAILED\]: nobody saw how one ended/]) t.match(failed.stderr, line);
  const refused = await peerOf({}, { Resolve: resolve, Wait: () => new CcError("FORBIDDEN", "not you") });
  t.match(await cc(["wait", "one"], { peers: [refused] }), { code: 1, stderr: /FORBIDDEN/ });
});

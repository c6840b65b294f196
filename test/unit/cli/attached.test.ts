import t from "tap";
import { Channel, INPUT_WINDOW_BYTES } from "../../../src/api/streams.ts";
import { eventually, installCc } from "./run-cc.ts";
import { type Json, placed, type Stream, type StreamHandler, startTestPeer } from "./test-peer.ts";

t.setTimeout(180_000);
const ID = "caaaaaaaaaaaaaaaaaaaa";
const { cc, remove } = await installCc();
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

t.test("standard input is passed on to its end, all of it, also to a slow reader, and never more than the window ahead of it", async (t) => {
  let [received, most] = [0, 0];
  const peer = await serving({
    async Run(stream) {
      stream.event(placed(ID));
      stream.socket.pause();
      setTimeout(() => stream.socket.resume(), 500);
      const arrived = (): number => stream.frames.reduce((sum, { channel, payload }) => sum + (channel === Channel.stdin ? payload.length : 0), 0);
      for (const isEnd = (): boolean => stream.frames.some((frame) => frame.channel === Channel.stdinEnd); !isEnd(); ) {
        await stream.until(() => isEnd() || arrived() > received);
        await new Promise((resolve) => setTimeout(resolve, 20));
        most = Math.max(most, arrived() - received);
        stream.event({ type: "took", bytes: arrived() - received });
        received = arrived();
      }
      t.ok(
        stream.frames.every((frame) => frame.payload.length <= 65_536),
        "in frames of 64 KiB at most",
      );
      stream.event({ type: "end", exitCode: 0 });
    },
  });
  const input = Buffer.alloc(8 * 1024 * 1024, "abc");
  const outcome = await cc(["run", "--image", "alpine", "-i", "cat"], { peers: [peer], input });
  t.equal(outcome.code, 0);
  t.equal(received, input.length);
  t.ok(most > 0 && most <= INPUT_WINDOW_BYTES, `${most} bytes under way at most`);
  t.equal(spec(peer.requests[0]?.body ?? {})["stdinOpen"], true);
  const without = await serving({ Run: ended(0) });
  t.equal((await cc(["run", "--image", "alpine", "cat"], { peers: [without], input: "keep open" })).code, 0, "not waited for without -i");
});

t.test("signals are passed on; three Ctrl-C leave it to itself", async (t) => {
  const signalsOf = (stream: Stream): string[] =>
    stream.frames.filter((frame) => frame.channel === Channel.control).map((frame) => JSON.parse(frame.payload.toString()).signal);
  let current: Stream | undefined;
  const peer = await serving({
    async Run(stream) {
      current = stream;
      stream.event(placed(ID));
      stream.stdout("up\n");
      await stream.until(() => signalsOf(stream).includes("SIGTERM"));
      stream.event({ type: "end", exitCode: 143 });
    },
  });
  const running = cc.start(["run", "--image", "alpine", "sleep", "1000"], { peers: [peer] });
  await eventually(() => running.output().stdout === "up\n", "its first output");
  for (const signal of ["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM"] as const) {
    running.child.kill(signal);
    await eventually(() => current !== undefined && signalsOf(current).includes(signal), signal);
  }
  t.equal((await running.done).code, 143);

  const stubborn = await serving({
    Run(stream) {
      current = stream;
      stream.event(placed(ID));
      stream.stdout("up\n");
    },
  });
  const detaching = cc.start(["run", "--image", "alpine", "sleep", "1000"], { peers: [stubborn] });
  await eventually(() => detaching.output().stdout === "up\n", "its first output");
  for (let at = 0; at < 3; at += 1) {
    detaching.child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const outcome = await detaching.done;
  t.equal(outcome.code, 130);
  t.match(outcome.stderr, new RegExp(`detached; ${ID} goes on: cc logs -f ${ID}`));

  const silent = await serving({ Run: () => undefined });
  const early = cc.start(["run", "--image", "alpine"], { peers: [silent] });
  await eventually(() => silent.requests.length > 0, "the request");
  await new Promise((resolve) => setTimeout(resolve, 200));
  early.child.kill("SIGINT");
  t.equal((await early.done).code, 130);
});

t.test("a reader that has had enough ends it quietly", async (t) => {
  const endless: StreamHandler = (stream) => {
    stream.event(placed(ID));
    const timer = setInterval(() => stream.stdout("line\n".repeat(1000)), 5);
    stream.socket.on("close", () => clearInterval(timer));
  };
  const containers = Array.from({ length: 3000 }, (_, at) => ({ id: ID, name: `n${at}`, image: "alpine", phase: "running" }));
  const peer = await serving({ Run: endless, Logs: endless }, { ListContainers: () => ({ containers }) });
  for (const [words, code] of [
    [["run", "--image", "alpine", "yes"], 141],
    [["logs", "-f", ID], 0],
    [["ps"], 0],
  ] as const) {
    const running = cc.start(words, { peers: [peer] });
    running.child.stdout?.once("data", () => running.child.stdout?.destroy());
    const outcome = await running.done;
    t.equal(outcome.code, code, words.join(" "));
    t.equal(outcome.stderr, "", "quietly");
  }
});

t.test("a slow reader of the output holds the stream back", async (t) => {
  let sent = 0;
  const peer = await serving({
    async Run(stream) {
      stream.event(placed(ID));
      const block = Buffer.alloc(60_000, "z");
      for (let at = 0; at < 1000; at += 1) {
        await new Promise<void>((resolve) => stream.socket.send(Buffer.concat([Buffer.from([Channel.stdout]), block]), () => resolve()));
        sent += block.length;
      }
      stream.event({ type: "end", exitCode: 0 });
    },
  });
  const running = cc.start(["run", "--image", "alpine", "yes"], { peers: [peer] });
  running.child.stdout?.pause();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  t.ok(sent < 30_000_000, `held back at ${sent} bytes`);
  running.child.stdout?.resume();
  const outcome = await running.done;
  t.equal(outcome.code, 0);
  t.equal(outcome.stdout.length, 60_000_000, "and nothing is lost");
});

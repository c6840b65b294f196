import t from "tap";
import { provePeer, signWith } from "../../../cli/drivers/identity.ts";
import { createPhaseBoard } from "../../../nodes/peer/phase-board.ts";
import { serveAttached, serveLogs } from "../../../nodes/peer/streams/output.ts";
import { createCloudClient } from "../../../src/api/client.ts";
import { parseEndpoints } from "../../../src/api/client-connection.ts";
import type { LogsRequest } from "../../../src/api/client-messages.ts";
import type { StreamEnd, StreamHandle } from "../../../src/api/client-stream.ts";
import { createDialer } from "../../../src/api/drivers/dialer.ts";
import { encodeJsonFrame, type FrameChannel, type StreamEvent } from "../../../src/api/streams.ts";
import { asCcError, CcError, type Clock, type ContainerId } from "../../../src/base/index.ts";
import type { ContainerRuntime, OutputChunk, ReadLogs } from "../../../src/containers/index.ts";
import { systemClock, systemRandom } from "../../../src/host/index.ts";
import { parseAccessToken, parseSecretKey } from "../../../src/identity/index.ts";
import { placed, SETTINGS, type Stream, startTestPeer, type TestPeer } from "../cli/test-peer.ts";
import { keyId, MESH } from "../identity/fixtures.ts";

t.setTimeout(120_000);
const ID = "caaaaaaaaaaaaaaaaaaaa" as ContainerId;

/** Lines whole and in parts, of both streams in turn, and one piece that its times make larger than a frame. */
const WRITTEN: readonly OutputChunk[] = (
  [
    ["stdout", "one\ntwo\n"],
    ["stderr", "oops\n"],
    ["stdout", "begun, "],
    ["stderr", "in "],
    ["stdout", "goes on, "],
    ["stderr", "parts\n"],
    ["stdout", "ended\n"],
    ["stdout", Array.from({ length: 4_000 }, (_, at) => `${at}\n`).join("")],
    ["stderr", "last words"],
    ["stdout", "bye\n"],
  ] as const
).map(([stream, text], at) => ({ stream, data: Buffer.from(text), atMs: 1_700_000_000_000 + at * 1_000, position: (at + 1) * 10_000 }));

/** A history of output, from a position on, as the real one reads it; `rotated`: what lies before is gone. */
function runtimeOf(rotated: () => number): ContainerRuntime {
  const logs = async function* (_: ContainerId, options: ReadLogs): AsyncGenerator<OutputChunk> {
    const start = options.tail === undefined ? Math.max(options.from, rotated()) : (WRITTEN.at(-1 - options.tail)?.position ?? 0);
    const lostBytes = options.from > 0 && start > options.from ? { lostBytes: start - options.from } : {};
    yield { stream: "stdout", data: new Uint8Array(), atMs: 0, position: start, ...lostBytes };
    for (const chunk of WRITTEN) if (chunk.position > start && chunk.atMs >= (options.sinceMs ?? 0)) yield chunk;
  };
  return { logs } as never;
}

type Drops = { /** After so many frames the connection of a stream is cut, one number a stream; then none is. */ readonly after: number[]; rotated?: number };

/** Peers that serve one container's output with the real code, over connections that break where they are told to. */
async function scene(drops: Drops, more: { readonly input?: (bytes: string) => void; readonly refuse?: CcError } = {}) {
  const board = createPhaseBoard();
  board.set(ID, { phase: "running", exitCode: undefined, reason: "", failure: undefined, startedAtMs: 1, progress: "" });
  const ended = (): void => board.set(ID, { phase: "ended", exitCode: 7, reason: "", failure: undefined, startedAtMs: 1, progress: "" });
  const stdin = async () => ({ write: async (bytes: Uint8Array) => more.input?.(Buffer.from(bytes).toString()), end: async () => more.input?.("<end>") });
  const parts = { board, runtime: { ...runtimeOf(() => drops.rotated ?? 0), stdin } as ContainerRuntime };
  let streams = 0;
  const sockets = new Set<Stream["socket"]>();
  const serve = async (stream: Stream, isRun: boolean, work: (channel: FrameChannel, signal: AbortSignal) => Promise<void>): Promise<void> => {
    streams += 1;
    sockets.add(stream.socket);
    if (streams > 1 && more.refuse !== undefined) return stream.event({ type: "error", code: more.refuse.code, message: more.refuse.message });
    const gone = new AbortController();
    stream.socket.on("close", () => gone.abort(new CcError("CANCELLED", "hung up")));
    const channel = channelOf(stream, drops.after.shift() ?? Number.POSITIVE_INFINITY);
    try {
      if (isRun) await channel.send(encodeJsonFrame(0x12, placed(ID)));
      await work(channel, gone.signal);
    } catch (error) {
      if (!gone.signal.aborted) stream.event({ type: "error", code: asCcError(error).code, message: asCcError(error).message });
    }
  };
  const wish = (stream: Stream) => ({ follow: false, sinceMs: 0, tail: -1, timestamps: false, from: 0, openLines: [], ...stream.request }) as never;
  const attach = { stdin: true, from: 0 };
  const handlers = {
    Run: (stream: Stream) => serve(stream, true, (channel, signal) => serveAttached(parts, ID, attach, channel, signal)),
    Attach: (stream: Stream) => serve(stream, false, (channel, signal) => serveAttached(parts, ID, { ...attach, ...stream.request } as never, channel, signal)),
    Logs: (stream: Stream) => serve(stream, false, (channel, signal) => serveLogs(parts, ID, wish(stream), channel, signal)),
  };
  const peers = await Promise.all(["peer 2", "peer 3"].map((name) => startTestPeer({ name, streams: handlers })));
  const cutAll = (): void => {
    for (const socket of sockets) socket.terminate();
  };
  return { peers, ended, cutAll, stop: () => Promise.all(peers.map((peer) => peer.stop())), streams: () => streams };
}

/** Cuts the connection after `framesMax` frames. */
function channelOf(stream: Stream, framesMax: number): FrameChannel {
  let sent = 0;
  const cut = (): never => {
    stream.socket.terminate();
    throw new CcError("CANCELLED", "cut");
  };
  return {
    async send(frame) {
      if (sent >= framesMax) cut();
      sent += 1;
      await new Promise<void>((resolve) => stream.socket.send(frame, () => resolve()));
      if (sent >= framesMax) cut();
    },
    async *frames() {
      for (let at = 0; ; at += 1) {
        await stream.until(() => stream.frames.length > at);
        const frame = stream.frames[at];
        if (frame !== undefined) yield Buffer.concat([Buffer.from([frame.channel]), frame.payload]);
      }
    },
    end: async () => undefined,
    abort: () => stream.socket.terminate(),
  };
}

/** Pauses between tries take no time, so that a test may cut hundreds of streams. */
const hasty: Clock = { ...systemClock, after: (delayMs, fire) => systemClock.after(delayMs <= 500 ? 0 : delayMs, fire) };

function clientOf(peers: readonly TestPeer[]) {
  const endpoints = parseEndpoints(peers.map(({ url }) => url).join(","));
  const [token, key] = [parseAccessToken(SETTINGS.accessToken), parseSecretKey(SETTINGS.secretKey)];
  if (!endpoints.ok || !token.ok || !key.ok) throw new Error("settings");
  const parts = { dialer: createDialer(provePeer(MESH)), clock: hasty, random: systemRandom, seen: () => [], wrote: () => undefined, warn: () => undefined };
  const sign = signWith({ keyId: keyId("ann"), mesh: MESH, signer: key.value } as never);
  return createCloudClient(parts, { endpoints: endpoints.value, mesh: MESH, sign });
}

type Seen = { stdout: string; stderr: string; events: string[]; end: StreamEnd | CcError };

async function watch(
  peers: readonly TestPeer[],
  call: "Run" | "Logs",
  request: object,
  onCommitted: (handle: StreamHandle) => void = () => undefined,
  onEvent: (event: StreamEvent) => void = () => undefined,
): Promise<Seen> {
  const seen: Seen = { stdout: "", stderr: "", events: [], end: {} };
  const client = clientOf(peers);
  try {
    seen.end = await client.stream(call as "Logs", request as LogsRequest, {
      event(event) {
        if (event.type !== "progress") seen.events.push(event.type);
        onEvent(event);
      },
      output(stream, bytes) {
        seen[stream] += Buffer.from(bytes).toString();
        return true;
      },
      committed: onCommitted,
    });
  } catch (error) {
    seen.end = asCcError(error);
  }
  client.close();
  return seen;
}

const WISHES: readonly [string, LogsRequest][] = [
  ["all of it", { container: ID, tail: -1 }],
  ["with times", { container: ID, tail: -1, timestamps: true }],
  ["the last lines", { container: ID, tail: 4 }],
  ["the last lines with times", { container: ID, tail: 9, timestamps: true }],
  ["since a time", { container: ID, tail: -1, sinceMs: 1_700_000_005_000, timestamps: true }],
];

for (const [what, wish] of WISHES) {
  t.test(`logs, ${what}: cut after every frame, each byte comes once`, async (t) => {
    const whole = await (async () => {
      const { peers, stop } = await scene({ after: [] });
      const seen = await watch(peers, "Logs", wish);
      await stop();
      return seen;
    })();
    t.ok(whole.stdout.endsWith("bye\n") && whole.stderr.includes("last words"), "the whole, uncut");
    let cuts = 0;
    for (let at = 0; ; at += 1) {
      // The second stream is cut as well, early and late: what it was about to leave out must still be left out by the third.
      const after = [at, at % 5];
      const { peers, stop, streams } = await scene({ after });
      const seen = await watch(peers, "Logs", wish);
      await stop();
      if (seen.stdout !== whole.stdout || seen.stderr !== whole.stderr || seen.end instanceof CcError) {
        t.same({ ...seen, stdout: seen.stdout.length }, { ...whole, stdout: whole.stdout.length }, `cut after ${at} frames`);
        t.equal(seen.stdout, whole.stdout);
        break;
      }
      if (streams() === 1) break;
      cuts += 1;
    }
    t.ok(cuts > 5, `${cuts} places to cut`);
  });
}

t.test("an attached run: cut after every frame, output and exit code are the container's", async (t) => {
  const expected = (stream: string): string => WRITTEN.flatMap((chunk) => (chunk.stream === stream ? [Buffer.from(chunk.data).toString()] : [])).join("");
  let cuts = 0;
  for (let at = 1; ; at += 1) {
    const { peers, ended, stop, streams } = await scene({ after: [at, 1, 4] });
    ended();
    const seen = await watch(peers, "Run", { spec: { image: "x" } });
    await stop();
    t.same(
      { out: seen.stdout === expected("stdout"), err: seen.stderr, end: seen.end },
      { out: true, err: expected("stderr"), end: { exitCode: 7 } },
      `after ${at}`,
    );
    if (streams() === 1) break;
    cuts += 1;
  }
  t.ok(cuts > 8, `${cuts} places to cut`);
});

t.test("rotated away meanwhile: said, and what is left comes once", async (t) => {
  const drops = { after: [3], rotated: 0 };
  const { peers, stop } = await scene(drops);
  const seen = await watch(peers, "Logs", { container: ID, tail: -1 }, () => {
    drops.rotated = 90_000;
  });
  await stop();
  t.ok(seen.events.includes("lost"));
  t.equal(seen.stdout.split("bye\n").length, 2);
  t.match(seen, { stdout: /^one\ntwo\nbye\n$/, stderr: "oops\n", end: {} });
});

t.test("input: what is under way at a cut ends it; what has arrived whole does not, nor does none", async (t) => {
  const run = { spec: { image: "x", stdinOpen: true } };
  const got: string[] = [];
  const half = await scene({ after: [3] }, { input: (bytes) => got.push(bytes) });
  const lost = await watch(half.peers, "Run", run, (handle) => void handle.input(Buffer.from("half")));
  await half.stop();
  t.match(lost.end, { code: "OUTCOME_UNKNOWN", message: /standard input was under way .* may not have arrived whole/ });
  t.equal(half.streams(), 1, "it is not taken up");

  let sent = "";
  const all = await scene(
    { after: [] },
    {
      input(bytes) {
        sent += bytes;
        // Once it has been told that all of it is there.
        if (bytes === "<end>") setTimeout(() => all.cutAll(), 100).unref();
      },
    },
  );
  const whole = watch(all.peers, "Run", run, (handle) => void handle.input(Buffer.from("all")).then(() => handle.inputEnd()));
  while (all.streams() < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  all.ended();
  t.match((await whole).end, { exitCode: 7 });
  t.equal(sent, "all<end>", "once");
  await all.stop();

  const none = await scene({ after: [2] }, { input: (bytes) => got.push(bytes) });
  none.ended();
  t.match((await watch(none.peers, "Run", run)).end, { exitCode: 7 }, "without any, it goes on");
  await none.stop();
});

t.test("a refusal ends the taking up, and is said", async (t) => {
  for (const [code, said] of [
    ["NOT_FOUND", /container is gone meanwhile/],
    ["FORBIDDEN", /taking it up again was refused: no more/],
  ] as const) {
    const { peers, stop, streams } = await scene({ after: [3] }, { refuse: new CcError(code, "no more") });
    t.match((await watch(peers, "Logs", { container: ID, tail: -1 })).end, { code, message: said });
    t.equal(streams(), 2);
    await stop();
  }
});

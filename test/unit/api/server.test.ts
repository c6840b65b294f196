import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import fc from "fast-check";
import t from "tap";
import { WebSocket } from "ws";
import { createAuthenticator } from "../../../nodes/peer/core/authenticate.ts";
import { Cloud } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import {
  type ApiServer,
  Channel,
  type CloudCall,
  createRateLimiter,
  encodeFrame,
  isOpenCall,
  type OpenHandlers,
  type SignedHandlers,
  startApiServer,
} from "../../../src/api/index.ts";
import { CcError, silentLogger } from "../../../src/base/index.ts";
import { ed25519Verifier, KeptActs } from "../../../src/identity/index.ts";
import { testTls } from "../cli/test-peer.ts";
import { CREATED_S, MESH, MemoryJournal, peerId } from "../identity/fixtures.ts";
import { certificate, Desk, grants } from "../state/view-fixtures.ts";
import { closed, exchange, inHeader, open, post, signed, statusOf, stream, target } from "./raw-client.ts";

/** Bytes from anybody against the real server on a real socket, with the peer's real check of signatures behind it. */
const SEED = Number(process.env["CC_TEST_SEED"] ?? 20_260_702);
const RUNS = 120;
t.setTimeout(120_000);

const folder = mkdtempSync(join(tmpdir(), "cc-api-"));
const desk = new Desk().take(certificate("peer 1"), grants("ann", "operator"), grants("vic", "viewer"));
const nowMs = (): number => CREATED_S * 1_000 + 500;
const clock = { nowMs, monotonicMs: () => performance.now(), after: () => () => undefined };
const time = { nowMs, startedAtMs: () => 0, isSure: () => true, untilSure: async () => undefined, stop: () => undefined };
const authenticator = createAuthenticator({
  self: peerId("peer 1"),
  meshId: MESH,
  time,
  verifier: ed25519Verifier,
  acts: await KeptActs.open(new MemoryJournal(), silentLogger),
  authority: () => desk.view.authority(),
});

const served: string[] = [];
const faults: unknown[] = [];
const calls = Object.keys(Cloud.method) as CloudCall[];
const handlers = Object.fromEntries(
  calls.map((call) => [
    call,
    async () => {
      served.push(call);
      return {};
    },
  ]),
);
let server: ApiServer;

t.before(async () => {
  server = await startApiServer(
    {
      signed: handlers as Partial<SignedHandlers> as SignedHandlers,
      open: handlers as Partial<OpenHandlers> as OpenHandlers,
      stream: async (call, _caller, channel) => {
        served.push(`stream ${call}`);
        for await (const frame of channel.frames()) await channel.send(frame);
      },
      authenticate: (call, headers, body) => authenticator.fromUser(call, headers, body),
      openCalls: createRateLimiter(clock, { burst: 1e6, perSecond: 1e6, callersMax: 10 }),
      log: { ...silentLogger, error: (facts) => void faults.push(facts) },
    },
    { host: "127.0.0.1", port: 0, tls: testTls("peer 1", false), socketPath: join(folder, "api.sock") },
  );
  target.port = server.port;
});

t.teardown(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function serves(): Promise<boolean> {
  const answer = await exchange(post("Hello", "{}"), false);
  return statusOf(answer) === 200;
}

t.test("a signed call is served, an unsigned one is not", async (t) => {
  const { body, headers } = signed("ListContainers", { all: true });
  t.equal(statusOf(await exchange(post("ListContainers", body, headers), false)), 200);
  t.same(served.splice(0), ["listContainers"]);
  const again = await exchange(post("ListContainers", body, headers), false);
  t.match(again, /cc-error-code: REPLAYED/i);
  for (const call of calls.filter((each) => !isOpenCall(each))) {
    const name = Cloud.method[call].name;
    t.match(await exchange(post(name, "{}"), false), /^HTTP\/1\.1 401[\s\S]*cc-error-code: UNAUTHENTICATED/i, name);
  }
  t.same(served.splice(0), []);
});

t.test("bytes that are no request", async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.uint8Array({ maxLength: 400 }),
        fc.string({ maxLength: 200 }).map((text) => Buffer.from(`POST /${text} HTTP/1.1\r\n${text}\r\n\r\n`)),
      ),
      async (bytes) => {
        const answer = await exchange(bytes);
        const status = statusOf(answer);
        if (status >= 200 && status < 400) throw new Error(answer.slice(0, 200));
        if (status === 500) throw new Error(answer.slice(0, 400));
      },
    ),
    { seed: SEED, numRuns: RUNS },
  );
  t.ok(await serves());
  t.same(served.splice(0), ["hello"]);
});

t.test("headers and bodies that are not what they say", async (t) => {
  const good = signed("ListContainers", {});
  const names = calls.map((call) => Cloud.method[call].name);
  const value = fc
    .oneof(fc.string({ maxLength: 60 }), fc.constantFrom("", ...Object.values(good.headers), "sha-256=:AAAA:", 'sig1=("content-digest");keyid="x"'))
    .map((text) => text.replaceAll(/[^\x20-\x7e]/g, "?"));
  const types = fc.constantFrom(
    "application/json",
    "application/proto",
    "application/grpc",
    "application/grpc-web+proto",
    "application/connect+json",
    "text/html",
    "multipart/form-data; boundary=x",
    "",
  );
  const bodies = fc.oneof(
    fc.json(),
    fc.json().map((text) => text.slice(0, -1)),
    fc.uint8Array({ maxLength: 200 }),
    fc.constantFrom(Buffer.from(good.body), Buffer.from(good.body).subarray(0, -3), "[".repeat(10_000), `{"to":${"{".repeat(2_000)}`, '{"__proto__":{"x":1}}'),
  );
  const headers = fc.record(
    {
      "content-type": types,
      "content-digest": value,
      "signature-input": value,
      signature: value,
      "content-encoding": fc.constantFrom("gzip", "identity", "x"),
      "connect-protocol-version": value,
      "connect-timeout-ms": value,
      "grpc-timeout": value,
      te: value,
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...names, "Nothing", "../x"), bodies, headers, async (call, body, all) => {
      const answer = await exchange(post(call, body, all as Record<string, string>), false);
      const status = statusOf(answer);
      if (status >= 500 && status !== 501) throw new Error(`${call}: ${answer.slice(0, 400)}`);
      if (/at .*\.(ts|js):\d+/.test(answer)) throw new Error(`a stack crossed the wire: ${answer}`);
    }),
    { seed: SEED, numRuns: RUNS },
  );
  const reached = served.splice(0).filter((call) => !isOpenCall(call as CloudCall));
  t.same(reached, [], "no handler of a signed call was reached");
  t.ok(await serves());
  served.splice(0);
});

t.test("too much of everything", async (t) => {
  t.match(
    await exchange(post("ListContainers", "x".repeat(300 * 1024)), false),
    /^(HTTP\/1\.1 4\d\d[\s\S]*cc-error-code: TOO_LARGE|$)/i,
    "a body above the limit",
  );
  t.match(await exchange(post("ListContainers", "{}", { "x-long": "y".repeat(64 * 1024) }), false), /^(HTTP\/1\.1 431|$)/, "headers above the limit");
  t.match(
    await exchange(post("Hello", "{}", Object.fromEntries(Array.from({ length: 3_000 }, (_, at) => [`h${at}`, "v"]))), false),
    /^(HTTP\/1\.1 (431|200)|$)/,
  );
  const before = process.memoryUsage().rss;
  const sockets = await Promise.all(
    Array.from({ length: 30 }, async () => {
      const socket = open();
      await once(socket, "secureConnect");
      // Says that much is to come, and sends as much as is taken.
      socket.write(`POST /cc.v1.Cloud/Run HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000000\r\n\r\n${"x".repeat(400 * 1024)}`);
      return socket;
    }),
  );
  await Promise.all(sockets.map((socket) => (socket.destroyed ? undefined : closed(socket, () => socket.destroy()))));
  const grownMiB = (process.memoryUsage().rss - before) / 1024 ** 2;
  t.ok(grownMiB < 150, `${Math.round(grownMiB)} MiB more after 30 that promised a gigabyte each`);
  t.ok(await serves());
  served.splice(0);
});

t.test("HTTP/2, well and badly spoken", async (t) => {
  const session = connectHttp2(`https://127.0.0.1:${server.port}`, { rejectUnauthorized: false });
  session.on("error", () => undefined);
  const stream = session.request({ ":method": "POST", ":path": "/cc.v1.Cloud/Hello", "content-type": "application/json" });
  stream.end("{}");
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  t.equal(headers[":status"], 200);
  stream.resume();
  session.destroy();
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, preface) => {
      const socket = connect({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] });
      socket.on("error", () => undefined);
      await once(socket, "secureConnect");
      if (preface) socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      socket.resume();
      socket.end(bytes);
      await closed(socket, () => socket.destroy());
    }),
    { seed: SEED, numRuns: 60 },
  );
  t.ok(await serves());
  served.splice(0);
});

t.test("streams: a signed upgrade is served, others are refused with a status", async (t) => {
  const { frames } = await stream("Logs", inHeader("Logs"), (socket) => {
    socket.send(encodeFrame(Channel.stdin, Buffer.from("echo")));
    setTimeout(() => socket.close(), 100);
  });
  t.same(
    frames.map((frame) => frame.subarray(1).toString()),
    ["echo"],
  );
  t.same(served.splice(0), ["stream Logs"]);
  t.equal((await stream("Logs", { ...inHeader("Logs"), signature: "sig1=:AAAA:" }, () => undefined)).status, 401);
  t.equal((await stream("Nothing", inHeader("Logs"), () => undefined)).status, 404);
  t.equal((await stream("Attach", inHeader("Logs"), () => undefined)).status !== undefined, true, "signed for another call");
  const { body, headers } = signed("Run", { token: "token-of-a-run" });
  await stream("Run", headers, (socket) => {
    socket.send(encodeFrame(Channel.request, body));
    setTimeout(() => socket.close(), 100);
  });
  t.same(served.splice(0), ["stream Run"], "the request as the first frame");
});

t.test("streams: frames in every order, texts, controls and broken ones", async (t) => {
  const channel = fc.constantFrom(...Object.values(Channel), 0x7f, 0xff);
  const frame = fc.oneof(
    fc.tuple(channel, fc.uint8Array({ maxLength: 50 })).map(
      ([name, payload]) =>
        (socket: WebSocket) =>
          socket.send(encodeFrame(name as Channel, payload)),
    ),
    fc.string({ maxLength: 20 }).map((text) => (socket: WebSocket) => socket.send(text)),
    fc.constantFrom<(socket: WebSocket) => void>(
      (socket) => socket.ping("x"),
      (socket) => socket.pong(),
      (socket) => socket.send(new Uint8Array()),
      (socket) => socket.close(1000),
      (socket) => socket.close(4_999, "because"),
      (socket) => socket.terminate(),
      (socket) => socket.send(Buffer.alloc(300 * 1024)),
      (socket) => socket.send("part", { fin: false }),
    ),
    // Bytes that are no frame of WebSocket at all.
    fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) => (_socket: WebSocket, raw: Socket | undefined) => void raw?.write(bytes)),
  );
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(frame, { maxLength: 6 }), async (inFirstFrame, frames) => {
      const headers = inFirstFrame ? signed("Run", { token: "token-of-a-run" }).headers : inHeader("Run");
      const { frames: got } = await stream("Run", headers, (socket, raw) => {
        for (const act of frames) if (socket.readyState === WebSocket.OPEN) act(socket, raw);
        setTimeout(() => socket.terminate(), 20);
      });
      const internal = got.find((bytes) => bytes[0] === Channel.event && bytes.includes("INTERNAL"));
      if (internal !== undefined) throw new Error(internal.toString());
    }),
    { seed: SEED, numRuns: RUNS },
  );
  served.splice(0);
  t.ok(await serves());
  served.splice(0);
});

t.test("nothing of all that was a fault of this peer", async (t) => {
  t.same(faults, []);
});

t.test("a stream that is never read and never ends holds nothing of the server's stop", async (t) => {
  const socket = new WebSocket(`wss://127.0.0.1:${server.port}/cc.v1.Cloud/Run`, { rejectUnauthorized: false, headers: signed("Run", {}).headers });
  socket.on("error", () => undefined);
  await once(socket, "open");
  const from = performance.now();
  await server.stop();
  t.ok(performance.now() - from < 2_000, "stopped at once");
  if (socket.readyState !== WebSocket.CLOSED) await once(socket, "close");
  await t.rejects(once(open(), "secureConnect").then(() => Promise.reject(new CcError("CANCELLED", "closed"))));
});

import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { formatAccessToken } from "../../../src/identity/index.ts";
import { keyId, MESH } from "../identity/fixtures.ts";
import { installCc } from "./run-cc.ts";
import { type Answer, type Json, placed, startTestPeer } from "./test-peer.ts";

t.setTimeout(180_000);
const ID = "caaaaaaaaaaaaaaaaaaaa";
const { cc, folder, remove } = await installCc();
t.teardown(remove);
const DEAD = "https://127.0.0.1:1";

const start = async (options: Parameters<typeof startTestPeer>[0]) => {
  const peer = await startTestPeer(options);
  t.teardown(() => peer.stop());
  return peer;
};
/** Answers in turn; the last one again and again. */
const inTurn = (...answers: Answer[]) => {
  let at = 0;
  return (): Answer => answers[Math.min(at++, answers.length - 1)] ?? "drop";
};

t.test("a peer of another mesh, or one that shows a certificate not its own, gets no byte", async (t) => {
  const peer = await start({ calls: { ListContainers: () => ({}) } });
  const other = await cc(["ps"], {
    peers: [peer],
    env: { CC_ACCESS_TOKEN: formatAccessToken({ keyId: keyId("ann"), meshId: "a".repeat(32) as typeof MESH }) },
  });
  t.equal(other.code, 1);
  t.match(other.stderr, /^Error \[WRONG_MESH\]: .*nothing was sent\n$/);
  t.equal(peer.bytesRead(), 0);
  const stranger = await start({ stranger: true, calls: { ListContainers: () => ({}) } });
  const outcome = await cc(["ps"], { peers: [stranger] });
  t.equal(outcome.code, 1);
  t.match(outcome.stderr, /^Error \[NOT_A_MEMBER\]: .*nothing was sent\n$/);
  t.equal(stranger.bytesRead(), 0);
  t.equal((await cc(["run", "--image", "alpine"], { peers: [stranger] })).code, 125);
  t.equal(stranger.bytesRead(), 0, "nor for a stream");
  t.equal((await cc(["ps"], { peers: [stranger, peer] })).code, 0, "the next endpoint may still be one");
});

t.test("several endpoints: the next when one cannot be reached; all named when none can", async (t) => {
  const peer = await start({
    calls: { ListContainers: () => ({}), Stop: () => ({ done: [ID], copies: 2 }) },
    streams: {
      Run: (stream) => {
        stream.event(placed(ID));
        stream.event({ type: "end", exitCode: 7 });
      },
    },
  });
  t.equal((await cc(["ps"], { peers: [DEAD, peer] })).code, 0);
  t.equal((await cc(["stop", ID], { peers: [DEAD, peer] })).code, 0);
  t.equal((await cc(["run", "--image", "alpine"], { peers: [DEAD, peer] })).code, 7);
  t.same(peer.requests.at(-1)?.body["askedBefore"], undefined, "who got nothing was not asked");
  const none = await cc(["ps"], { peers: [DEAD, "https://127.0.0.1:2"] });
  t.equal(none.code, 1);
  t.match(none.stderr, /^Error \[PEER_UNREACHABLE\]: none of 2 endpoints could be used: .*:1 cannot be reached \(ECONNREFUSED\).*:2 cannot be reached/);
  t.match((await cc(["ps"], { peers: [DEAD] })).stderr, /^Error \[PEER_UNREACHABLE\]: https:\/\/127.0.0.1:1 cannot be reached \(ECONNREFUSED\)/);
});

t.test("a server that never answers the handshake, or closes at once", async (t) => {
  const silent = createServer(() => undefined).listen(0, "127.0.0.1");
  const closing = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await Promise.all([once(silent, "listening"), once(closing, "listening")]);
  t.teardown(() => {
    silent.close();
    closing.close();
  });
  const url = (server: typeof silent): string => `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const startedMs = Date.now();
  const outcome = await cc(["ps"], { peers: [url(silent)] });
  t.equal(outcome.code, 1);
  t.match(outcome.stderr, /PEER_UNREACHABLE.*no connection within 3 s/);
  t.ok(Date.now() - startedMs < 10_000);
  t.equal((await cc(["ps"], { peers: [url(closing)] })).code, 1);
});

t.test("a read whose connection breaks is asked again, of the next or of the same", async (t) => {
  const dying = await start({ calls: { ListContainers: () => "drop" } });
  const well = await start({ name: "peer 3", calls: { ListContainers: () => ({}) } });
  t.equal((await cc(["ps"], { peers: [dying, well] })).code, 0);
  const recovering = await start({ calls: { ListContainers: inTurn("drop", {}) } });
  t.equal((await cc(["ps"], { peers: [recovering] })).code, 0);
  const outcome = await cc(["ps"], { peers: [dying] });
  t.equal(outcome.code, 1);
  t.match(outcome.stderr, /PEER_UNREACHABLE.*closed the connection before it answered/);
});

t.test("a change is sent again with the same token, a new nonce, and addressed to who is asked", async (t) => {
  const done = { done: [ID], copies: 2 };
  const dying = await start({ calls: { Stop: () => "drop" } });
  const well = await start({ name: "peer 3", calls: { Stop: () => done } });
  t.equal((await cc(["stop", ID], { peers: [dying, well] })).code, 0);
  const [first] = dying.requests;
  const [second] = well.requests;
  t.equal(first?.body["token"], second?.body["token"]);
  t.not(first?.headers["signature-input"], second?.headers["signature-input"]);
  t.match(second?.body["to"], { peer: well.id });

  const unsure = await start({
    calls: { Stop: inTurn(new CcError("OUTCOME_UNKNOWN", "the holder did not answer"), new CcError("OUTCOME_UNKNOWN", "still"), done) },
  });
  t.equal((await cc(["stop", ID], { peers: [unsure] })).code, 0, "unknown outcomes are asked again");
  t.equal(new Set(unsure.requests.map(({ body }) => body["token"])).size, 1);
  t.equal(new Set(unsure.requests.map(({ headers }) => headers["signature-input"])).size, 3);
  const refusing = await start({ calls: { Stop: () => new CcError("HOST_UNREACHABLE", "no") } });
  t.equal((await cc(["stop", ID], { peers: [refusing, well] })).code, 1, "a refusal is an answer");
  t.equal(refusing.requests.length, 1);
});

t.test("run names the peers that were asked before", async (t) => {
  const dying = await start({ streams: { Run: (stream) => stream.socket.terminate() }, calls: { Run: () => "drop" } });
  const well = await start({
    name: "peer 3",
    streams: {
      Run: (stream) => {
        stream.event(placed(ID));
        stream.event({ type: "end", exitCode: 0 });
      },
    },
    calls: { Run: () => ({ id: ID, copies: 2 }) },
  });
  for (const words of [
    ["run", "--image", "alpine"],
    ["run", "-d", "--image", "alpine"],
  ]) {
    t.equal((await cc(words, { peers: [dying, well] })).code, 0, words.join(" "));
    t.same(well.requests.at(-1)?.body["askedBefore"], [dying.id]);
    t.equal(well.requests.at(-1)?.body["token"], dying.requests.at(-1)?.body["token"]);
  }
  t.equal(
    (await cc(["run", "--image", "alpine"], { peers: [await start({ streams: { Run: inTurnStream() } })] })).code,
    9,
    "an unknown outcome of a stream is asked again",
  );
});

function inTurnStream() {
  let at = 0;
  return (stream: Parameters<NonNullable<NonNullable<Parameters<typeof startTestPeer>[0]>["streams"]>[string]>[0]): void => {
    at += 1;
    if (at === 1) return stream.event({ type: "error", code: "OUTCOME_UNKNOWN", message: "retry with the same token" });
    stream.event(placed(ID));
    stream.event({ type: "end", exitCode: 9 });
  };
}

t.test("a change of which nobody can tell the outcome says so after 30 s", async (t) => {
  const dying = await start({ calls: { Stop: () => "drop" } });
  const startedMs = Date.now();
  const outcome = await cc(["stop", ID], { peers: [dying] });
  t.equal(outcome.code, 1);
  t.match(outcome.stderr, /^Error \[OUTCOME_UNKNOWN\]: whether this was done is unknown after \d+ s/);
  const tookMs = Date.now() - startedMs;
  t.ok(tookMs > 25_000 && tookMs < 45_000, `${tookMs} ms`);
});

t.test("a clock that is off: signed once more with the peer's time, and said", async (t) => {
  const nowMs = (): number => Date.now() + 20 * 60_000;
  const peer = await start({
    nowMs,
    calls: { ListContainers: () => ({}), Stop: () => ({ done: [ID], copies: 2 }) },
    streams: {
      Run: (stream) => {
        stream.event(placed(ID));
        stream.event({ type: "end", exitCode: 0 });
      },
    },
  });
  for (const words of [["ps"], ["stop", ID], ["run", "--image", "alpine"]]) {
    const outcome = await cc(words, { peers: [peer] });
    t.equal(outcome.code, 0, words.join(" "));
    t.match(outcome.stderr, /^Warning: this machine's clock is 1(199|200) s behind the peer's/);
  }
  const large = await cc(["run", "--image", "alpine", "--env", "BIG"], { peers: [peer], env: { BIG: "x".repeat(20_000) } });
  t.equal(large.code, 0, "also where the request is the first frame");
  const hopeless = await start({ nowMs: () => Date.now() + Math.random() * 1e12, calls: {} });
  const outcome = await cc(["ps"], { peers: [hopeless] });
  t.equal(outcome.code, 1);
  t.match(outcome.stderr, /Error \[CLOCK_SKEW\]/);
  t.equal(hopeless.requests.length, 0);
});

t.test("the file of one's own writes stays small, and a broken one is no trouble", async (t) => {
  let at = 0;
  const peer = await start({
    calls: {
      ListContainers: () => ({}),
      Stop: () => ({ done: [ID], copies: 2, wrote: [{ key: `user/z/wanted/c${at++}${"x".repeat(100)}`, versionMajor: 1, versionMinor: at, host: "h" }] }),
    },
  });
  const env = { XDG_STATE_HOME: join(folder, "state") };
  const file = join(folder, "state/container-cloud", `seen-${MESH}.jsonl`);
  mkdirSync(join(folder, "state/container-cloud"), { recursive: true });
  writeFileSync(file, `not json\n[1]\n${'["k",1,1,"h"]\n'.repeat(3000)}["torn`);
  await Promise.all(Array.from({ length: 4 }, () => cc(["stop", ID], { peers: [peer], env })));
  for (let i = 0; i < 2; i += 1) await cc(["stop", ID], { peers: [peer], env });
  await cc(["ps"], { peers: [peer], env });
  const { seen = [] } = (peer.requests.at(-1)?.body["to"] ?? {}) as { seen?: Json[] };
  t.ok(seen.length >= 6 && seen.length <= 32, `${seen.length}`);
  t.ok(readFileSync(file).length < 17_000, "rewritten when it has grown");
  const unusable = { XDG_STATE_HOME: "/proc/nowhere" };
  t.equal((await cc(["stop", ID], { peers: [peer], env: unusable })).code, 0);
});

import t from "tap";
import { admit, type Look, PeerHandle, until } from "./peer-handle.ts";

const MB = 1_000_000;
const [a, b, c] = [new PeerHandle(), new PeerHandle(), new PeerHandle()];
const all = [a, b, c];
const stranger = new PeerHandle();
t.teardown(() => Promise.all([...all, stranger].map((peer) => peer.kill())));
// On a machine that does other work too: what counts is that it happens; the times are printed, and bounded loosely.
t.setTimeout(400_000);
const PATIENCE_MS = 60_000;

const looks = (peers: readonly PeerHandle[]): Promise<Look[]> => Promise.all(peers.map((peer) => peer.look()));
const allConnected = async (peers: readonly PeerHandle[]): Promise<boolean> => (await looks(peers)).every((look) => look.connected.length === peers.length - 1);
const holds = async (of: readonly PeerHandle[], peer: PeerHandle, standing: string): Promise<boolean> =>
  (await looks(of)).every((look) => look.standings[peer.id] === standing);
const heardBy = async (peer: PeerHandle, text: string): Promise<boolean> => (await peer.look()).heard.some((message) => message.text === text);
const gossips = async (from: PeerHandle, to: readonly PeerHandle[], text: string): Promise<number | undefined> =>
  until(async () => {
    await from.ask({ do: "publish", text: `${text} ${Math.random()}` });
    return (await looks(to)).every((look) => look.heard.some((message) => message.text.startsWith(text)));
  }, PATIENCE_MS);

t.test("three processes connect to each other and hold each other alive", async (t) => {
  await Promise.all(all.map((peer) => peer.start()));
  await admit(all, all);
  const tookMs = await until(() => allConnected(all), PATIENCE_MS);
  t.ok(tookMs !== undefined, `connected after ${tookMs} ms`);
  t.ok(await until(async () => (await holds([b, c], a, "alive")) && (await holds([a, c], b, "alive")) && (await holds([a, b], c, "alive")), PATIENCE_MS));
});

t.test("gossip reaches both others", async (t) => {
  t.ok(await gossips(a, [b, c], "first"));
  const before = (await looks([b, c])).map((look) => look.heard.length);
  for (let n = 0; n < 200; n += 1) {
    await b.ask({ do: "publish", text: `count ${n}` });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.ok(
    await until(
      async () => (await looks([a, c])).every((look) => look.heard.filter((message) => message.text.startsWith("count")).length === 200),
      PATIENCE_MS,
    ),
    "each once",
  );
  const delays = (await looks([a, c]))
    .flatMap((look) => look.heard.filter((message) => message.text.startsWith("count")).map((message) => message.delayMs))
    .sort((x, y) => x - y);
  t.comment(`gossip of 200: p50 ${delays[200]} ms, p99 ${delays[396]} ms`);
  t.ok(before.every((count) => count >= 1));
});

t.test("thousands of calls, one after another, many at once and large, without one error", async (t) => {
  type Report = { done: number; p50Ms: number; p99Ms: number; perSecond: number };
  const serial = await a.ask<Report>({ do: "call", peer: b.id, count: 1_000, atOnce: 1 });
  const atOnce = await a.ask<Report>({ do: "call", peer: b.id, count: 2_000, atOnce: 200 });
  const [there, back] = await Promise.all([
    b.ask<Report>({ do: "call", peer: c.id, count: 500, atOnce: 20 }),
    c.ask<Report>({ do: "call", peer: b.id, count: 500, atOnce: 20 }),
  ]);
  const large = await c.ask<Report>({ do: "call", peer: a.id, count: 12, atOnce: 4, bytes: 1_900_000 });
  t.same([serial.done, atOnce.done, there.done, back.done, large.done], [1_000, 2_000, 500, 500, 12]);
  t.comment(
    `calls: p50 ${serial.p50Ms.toFixed(2)} ms, p99 ${serial.p99Ms.toFixed(2)} ms; 200 at once ${atOnce.perSecond}/s; 1.9 MB both ways p50 ${large.p50Ms.toFixed(0)} ms`,
  );
  await t.rejects(a.ask({ do: "call", peer: b.id, count: 1, atOnce: 1, bytes: 5_000_000 }), /TOO_LARGE/);
});

t.test("a reader that pauses stops the sender, costs no memory, and other calls go on", async (t) => {
  const rssBefore = (await c.look()).rssBytes;
  const sender = (await a.look()).rssBytes;
  const pushed = a.ask<{ sentBytes: number; confirmedBytes: number; tookMs: number }>({ do: "push", peer: c.id, megabytes: 256, pauseMs: 3_000 });
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const paused = (await a.look()).streams.sentBytes;
  t.ok(paused > 0 && paused < 8 * MB, `${paused} bytes sent into the pause`);
  const calls = await a.ask<{ done: number; p99Ms: number }>({ do: "call", peer: c.id, count: 100, atOnce: 1 });
  t.equal(calls.done, 100, `calls beside the paused stream: p99 ${calls.p99Ms.toFixed(1)} ms`);
  const { sentBytes, confirmedBytes, tookMs } = await pushed;
  t.equal(confirmedBytes, sentBytes, "all arrived");
  const look = await c.look();
  t.ok(
    look.streams.pausedRssBytes - rssBefore < 60 * MB,
    `reader: ${((look.streams.pausedRssBytes - rssBefore) / MB).toFixed(0)} MB more at the end of its pause`,
  );
  t.comment(
    `stream: ${(sentBytes / 1_000 / (tookMs - 3_000)).toFixed(0)} MB/s; sender ${(((await a.look()).rssBytes - sender) / MB).toFixed(0)} MB, reader ${((look.rssBytes - rssBefore) / MB).toFixed(0)} MB more at the end`,
  );
});

t.test("a stranger gets no connection and hears nothing; admitted, it belongs; removed, it is cut off", async (t) => {
  await stranger.start();
  await admit([stranger], [...all, stranger]); // it believes itself a member
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  t.ok((await looks(all)).every((look) => !look.connected.includes(stranger.id)));
  await a.ask({ do: "publish", text: "secret" });
  t.ok(await until(() => heardBy(b, "secret"), PATIENCE_MS));
  t.same((await stranger.look()).heard, []);
  await t.rejects(stranger.ask({ do: "call", peer: a.id, count: 1, atOnce: 1 }), /PEER_UNREACHABLE/);

  await admit(all, [...all, stranger]);
  const joined = await until(() => allConnected([...all, stranger]), PATIENCE_MS);
  t.ok(joined !== undefined, `admitted and connected after ${joined} ms`);
  t.ok(await gossips(a, [stranger], "welcome"), "hears gossip");

  await admit(all, all);
  t.ok(await until(async () => (await looks(all)).every((look) => !look.connected.includes(stranger.id)), PATIENCE_MS), "connections closed");
  const heard = (await stranger.look()).heard.length;
  await a.ask({ do: "publish", text: "after the removal" });
  t.ok(await until(() => heardBy(c, "after the removal"), PATIENCE_MS));
  t.equal((await stranger.look()).heard.length, heard);
  await stranger.kill();
});

t.test("a killed process is noticed, and all is well when it is back", async (t) => {
  await c.kill();
  const noticed = await until(() => holds([a, b], c, "unreachable"), PATIENCE_MS);
  t.ok(noticed !== undefined && noticed <= 20_000, `noticed after ${noticed} ms`);
  await t.rejects(a.ask({ do: "call", peer: c.id, count: 1, atOnce: 1 }), /PEER_UNREACHABLE/);
  await c.start();
  await admit([c], all);
  const back = await until(async () => (await allConnected(all)) && (await holds([a, b], c, "alive")), PATIENCE_MS);
  t.ok(back !== undefined, `back after ${back} ms`);
  t.equal((await a.ask<{ done: number }>({ do: "call", peer: c.id, count: 500, atOnce: 10 })).done, 500, "the call session is made anew");
  t.ok(await gossips(b, [c], "again"));
});

t.test("a process that stands still is noticed though its connections stay open, and condemns nobody when it goes on", async (t) => {
  c.freeze();
  const noticed = await until(() => holds([a, b], c, "unreachable"), PATIENCE_MS);
  t.ok(noticed !== undefined && noticed <= 20_000, `noticed after ${noticed} ms`);
  t.ok(
    (await looks([a, b])).every((look) => !look.connected.includes(c.id)),
    "its connections are aborted",
  );
  c.thaw();
  t.ok(
    await until(
      async () => (await allConnected(all)) && (await holds([a, b], c, "alive")) && (await holds([c], a, "alive")) && (await holds([c], b, "alive")),
      PATIENCE_MS,
    ),
  );
  t.notOk((await c.look()).condemned.length, "it withheld its judgement");
  t.ok(await gossips(c, [a, b], "thawed"));
});

t.test("a peer that stops in order takes nobody with it", async (t) => {
  await c.ask({ do: "call", peer: a.id, count: 5, atOnce: 1 });
  await a.ask({ do: "call", peer: c.id, count: 5, atOnce: 1 });
  await c.ask({ do: "stop" });
  t.ok(await until(() => holds([a, b], c, "unreachable"), PATIENCE_MS));
  t.equal((await a.ask<{ done: number }>({ do: "call", peer: b.id, count: 50, atOnce: 1 })).done, 50);
});

/** One peer as a process of its own: a real libp2p mesh and an observer, driven by messages of the test. */
import { type PeerId, silentLogger } from "../../../src/base/index.ts";
import { createLogger, systemClock, systemRandom } from "../../../src/host/index.ts";
import { createLibp2pMesh } from "../../../src/mesh/drivers/libp2p.ts";
import { createObserver, RECORDS_TOPIC } from "../../../src/mesh/index.ts";

export type Order =
  | { readonly do: "start" }
  | { readonly do: "members"; readonly members: readonly PeerId[]; readonly addresses: Readonly<Record<string, readonly string[]>> }
  | { readonly do: "publish"; readonly text: string }
  | { readonly do: "call"; readonly peer: PeerId; readonly count: number; readonly atOnce: number; readonly bytes?: number }
  | { readonly do: "push"; readonly peer: PeerId; readonly megabytes: number; readonly pauseMs: number }
  | { readonly do: "stop" }
  | { readonly do: "look" };

const log = process.env["MESH_TEST_LOG"] === undefined ? silentLogger : createLogger({ level: "debug" });
let members: readonly PeerId[] = [];
let addresses: Readonly<Record<string, readonly string[]>> = {};
const heard: { text: string; from: string; delayMs: number }[] = [];
const streams = { sentBytes: 0, gotBytes: 0, pausedRssBytes: 0 };

const mesh = await createLibp2pMesh({
  seed: Buffer.from(process.env["MESH_TEST_SEED"] ?? "", "hex"),
  listen: [`/ip4/127.0.0.1/tcp/${process.env["MESH_TEST_PORT"] ?? "0"}`],
  admitted: (peer) => members.includes(peer),
  members: () => members,
  addresses: { addressesOf: (peer) => addresses[peer] ?? [], remember: () => undefined },
  clock: systemClock,
  random: systemRandom,
  log,
});
const observer = createObserver({
  mesh,
  members: () => members,
  facts: {
    startNumber: () => Number(process.env["MESH_TEST_START"] ?? "1"),
    highestOf: () => ({ key: "", startNumber: 0 }),
    digest: () => new Uint8Array(32),
    heard: () => undefined,
  },
  clock: systemClock,
  random: systemRandom,
  log,
});
/** Whom this peer held unreachable after it stood still. */
const condemned: PeerId[] = [];
observer.onChange((sighting) => {
  if (sighting.standing === "unreachable") condemned.push(sighting.peer);
});
mesh.subscribe(RECORDS_TOPIC, (data, from) => {
  const { text, atMs } = JSON.parse(Buffer.from(data).toString()) as { text: string; atMs: number };
  heard.push({ text, from, delayMs: Date.now() - atMs });
  return "accept";
});
mesh.handle("fetchRecords", async ({ keys }) => ({ frames: [{ payload: new Uint8Array(keys[0]?.length ?? 0) }] }));
mesh.handleStreams(async (opening, stream) => {
  const pauseMs = Number(Buffer.from(opening).toString());
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
  streams.pausedRssBytes = process.memoryUsage.rss();
  for await (const frame of stream.frames()) streams.gotBytes += frame.length;
  await stream.send(Buffer.from(String(streams.gotBytes)));
});

const percentile = (sorted: readonly number[], share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

async function carryOut(order: Order): Promise<unknown> {
  switch (order.do) {
    case "start":
      await mesh.start();
      observer.start();
      return { self: mesh.self, addresses: mesh.listenAddresses() };
    case "members":
      members = order.members;
      addresses = order.addresses;
      await mesh.membersChanged();
      return undefined;
    case "publish":
      mesh.publish(RECORDS_TOPIC, Buffer.from(JSON.stringify({ text: order.text, atMs: Date.now() })));
      return undefined;
    case "call": {
      const tookMs: number[] = [];
      const startMs = performance.now();
      const keys = ["k".repeat(order.bytes ?? 1)];
      let left = order.count;
      const worker = async (): Promise<void> => {
        while (left-- > 0) {
          const sentMs = performance.now();
          const reply = await mesh.call(order.peer, "fetchRecords", { keys }, { timeoutMs: 20_000 });
          if (reply.frames[0]?.payload.length !== (order.bytes ?? 1)) throw new Error("a reply of another length");
          tookMs.push(performance.now() - sentMs);
        }
      };
      await Promise.all(Array.from({ length: order.atOnce }, worker));
      const totalMs = performance.now() - startMs;
      tookMs.sort((x, y) => x - y);
      return { done: tookMs.length, p50Ms: percentile(tookMs, 0.5), p99Ms: percentile(tookMs, 0.99), perSecond: Math.round((tookMs.length / totalMs) * 1_000) };
    }
    case "push": {
      const stream = await mesh.openStream(order.peer, Buffer.from(String(order.pauseMs)), { timeoutMs: 5_000 });
      const frame = new Uint8Array(64 * 1024 + 1);
      const startMs = performance.now();
      streams.sentBytes = 0;
      for (let n = 0; n < order.megabytes * 16; n += 1) {
        await stream.send(frame);
        streams.sentBytes += frame.length;
      }
      await stream.end();
      let reply = "";
      for await (const answer of stream.frames()) reply += Buffer.from(answer).toString();
      return { sentBytes: streams.sentBytes, confirmedBytes: Number(reply), tookMs: performance.now() - startMs };
    }
    case "stop":
      observer.stop();
      await mesh.stop();
      return undefined;
    case "look": {
      const { user, system } = process.cpuUsage();
      return {
        connected: mesh.connected(),
        condemned,
        heard,
        streams,
        standings: Object.fromEntries(observer.all().map((sighting) => [sighting.peer, sighting.standing])),
        offsetMs: observer.medianOffsetMs(),
        rssBytes: process.memoryUsage.rss(),
        cpuMs: (user + system) / 1_000,
      };
    }
  }
}

process.on("message", (message: { readonly id: number; readonly order: Order }) => {
  carryOut(message.order).then(
    (result) => process.send?.({ id: message.id, result }),
    (error: unknown) =>
      process.send?.({
        id: message.id,
        error: error instanceof Error ? `${"code" in error ? String(error.code) : error.name}: ${error.message}` : String(error),
      }),
  );
});
process.on("disconnect", () => process.exit(0));

/**
 * Asks a name server by UDP, as a program in a container does: `dns-load.ts SERVER NAME PER-SECOND SECONDS`. Run inside a container's
 * network namespace; prints what came back as JSON.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { queryFor } from "../unit/vpc/dns-client.ts";

export type DnsLoad = { readonly sent: number; readonly answered: number; readonly tookMs: number; readonly p99Ms: number; readonly slowestMs: number };

const TICK_MS = 4;
/** What has not come by then does not come. */
const LAST_MS = 1_000;
const IDS = 65_536;

const [server = "", name = "", rate = "", seconds = ""] = process.argv.slice(2);
const [perSecond, durationMs] = [Number(rate), Number(seconds) * 1_000];
const query = queryFor(name);
const sentAtMs = new Map<number, number>();
const tookMs: number[] = [];

const socket = createSocket({ type: "udp4", recvBufferSize: 4 * 1024 * 1024, lookup: (host, _options, done) => done(null, host, 4) });
socket.on("message", (reply) => {
  const id = reply.readUInt16BE(0);
  const atMs = sentAtMs.get(id);
  // An answer: no error, and at least one record.
  if (atMs === undefined || (reply.readUInt16BE(2) & 0xf) !== 0 || reply.readUInt16BE(6) === 0) return;
  sentAtMs.delete(id);
  tookMs.push(performance.now() - atMs);
});
const bound = once(socket, "listening");
socket.bind();
await bound;
const beganMs = performance.now();
let sent = 0;
for (let nowMs = beganMs; nowMs - beganMs < durationMs; nowMs = performance.now()) {
  // A tick that came late is not made up for at once: that would be a burst which nobody sends.
  const due = Math.min(Math.ceil(((nowMs - beganMs) * perSecond) / 1_000) + 1 - sent, Math.ceil((perSecond * 5 * TICK_MS) / 1_000) + 1);
  for (let at = 0; at < due; at += 1) {
    const id = sent % IDS;
    query.writeUInt16BE(id, 0);
    sentAtMs.set(id, performance.now());
    socket.send(Buffer.from(query), 53, server, () => undefined);
    sent += 1;
  }
  await pause(TICK_MS);
}
const endedMs = performance.now();
await pause(LAST_MS);
socket.close();
tookMs.sort((a, b) => a - b);
const at = (share: number): number => Math.round(10 * (tookMs[Math.min(tookMs.length - 1, Math.floor(tookMs.length * share))] ?? Number.NaN)) / 10;
console.log(JSON.stringify({ sent, answered: tookMs.length, tookMs: Math.round(endedMs - beganMs), p99Ms: at(0.99), slowestMs: at(1) } satisfies DnsLoad));

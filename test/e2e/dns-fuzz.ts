/** Sends a name server packets that no client should send, by UDP and TCP: `dns-fuzz.ts SERVER NAME COUNT`, in a container's network namespace. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import fc from "fast-check";
import { queryFor } from "../unit/vpc/dns-client.ts";

const [server = "", name = "", count = ""] = process.argv.slice(2);
const spoilt = fc.tuple(
  fc.constantFrom(name, "x", "all.group", "2.0.7.10.in-addr.arpa"),
  fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { minLength: 1, maxLength: 8 }),
  fc.nat(60),
);

async function byTcp(bytes: Uint8Array): Promise<void> {
  const socket = connect({ host: server, port: 53 });
  socket.on("error", () => undefined); // Refused or reset: as good an answer as any.
  socket.setTimeout(1_000, () => socket.destroy());
  socket.resume();
  socket.end(bytes);
  await once(socket, "close");
}

const socket = createSocket({ type: "udp4", lookup: (host, _options, done) => done(null, host, 4) });
let replies = 0;
socket.on("message", () => {
  replies += 1;
});
const packets = fc.sample(spoilt, Number(count));
const connections: Promise<void>[] = [];
for (const [at, [asked, flips, cut]] of packets.entries()) {
  const packet = queryFor(asked, "A", at % 2 === 0 ? {} : { payloadBytes: 1_232 });
  for (const [where, value] of flips) packet[where % packet.length] = value;
  socket.send(at % 3 === 0 ? packet.subarray(0, cut) : packet, 53, server);
  if (at % 20 === 0) await pause(2);
  // A length before it that may be right, or promise more than comes.
  if (at % 50 === 0) connections.push(byTcp(at % 100 === 0 ? packet : Buffer.concat([Buffer.from([0, packet.length]), packet])));
}
await Promise.all(connections);
await pause(500);
socket.close();
console.log(JSON.stringify({ packets: packets.length, replies }));

/** Much of it at once, and what no client should send. Run by load.test.ts. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import fc from "fast-check";
import t from "tap";
import { queryFor } from "../../unit/vpc/dns-client.ts";
import { askUdp, becomes, frame, lookUp, openTcp, readTcp, serversOf } from "./network.ts";
import { answers, HOST, makeNetwork, PROD, prod, startScene, TEST, test } from "./scene.ts";

await makeNetwork();
const { server } = startScene();
t.teardown(() => server.stop());
t.before(async () => {
  await answers(server, prod);
  await answers(server, test);
});

t.test("malformed packets by UDP and TCP: it lives, and answers", async (t) => {
  const [pid] = await serversOf(process.pid);
  const packets = fc.sample(
    fc.tuple(
      fc.constantFrom("web", "shop.app", "web.prod.cc.internal", "5.0.7.10.in-addr.arpa"),
      fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      fc.nat(60),
    ),
    3_000,
  );
  const socket = createSocket("udp4");
  const bound = once(socket, "listening");
  socket.bind({ address: PROD, port: 0 });
  await bound;
  let replies = 0;
  socket.on("message", () => {
    replies += 1;
  });
  for (const [at, [name, flips, cut]] of packets.entries()) {
    const packet = queryFor(name, "A", at % 2 === 0 ? {} : { payloadBytes: 1_232 });
    for (const [where, value] of flips) packet[where % packet.length] = value;
    socket.send(at % 3 === 0 ? packet.subarray(0, cut) : packet, 53, HOST);
    if (at % 50 === 0) await wait(5);
    if (at % 100 !== 0) continue;
    const tcp = await openTcp(TEST, HOST);
    tcp.write(at % 200 === 0 ? packet : frame(packet));
    tcp.end();
    await readTcp(tcp, 1, 1_000);
    tcp.destroy();
  }
  t.ok(await becomes(() => replies > 500), `${replies} of ${packets.length} had an answer`);
  socket.close();
  for (const from of [PROD, TEST]) t.equal((await lookUp(from, HOST, queryFor("web")))?.rcode, 0);
  t.same(await serversOf(process.pid), [pid], "the same process");
});

/** As fast as they are answered, `window` at a time; how many came back. */
async function load(from: string, count: number, window: number): Promise<number> {
  const socket = createSocket("udp4");
  const bound = once(socket, "listening");
  socket.bind({ address: from, port: 0 });
  await bound;
  const query = queryFor("shop.app.prod.cc.internal");
  let [sent, came] = [0, 0];
  const send = (): void => {
    if (sent >= count) return;
    sent += 1;
    socket.send(query, 53, HOST);
  };
  socket.on("message", () => {
    came += 1;
    send();
  });
  for (let at = 0; at < window; at += 1) send();
  await becomes(() => came >= count, 20_000);
  socket.close();
  return came;
}

t.test("10,000 questions", async (t) => {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const beganMs = performance.now();
  const came = await Promise.all([load(PROD, 5_000, 32), load(TEST, 5_000, 32)]);
  const tookMs = performance.now() - beganMs;
  delay.disable();
  t.same(came, [5_000, 5_000], "each had its answer");
  t.comment(
    `10,000 in ${Math.round(tookMs)} ms: ${Math.round(10_000_000 / tookMs)}/s with the asking side on this process; its loop's delay p99 ${Math.round(delay.percentile(99) / 1e6)} ms`,
  );
});

t.test("a VPC that asks too much loses answers itself, and nobody else does", async (t) => {
  const flood = createSocket("udp4");
  const bound = once(flood, "listening");
  flood.bind({ address: PROD, port: 0 });
  await bound;
  let came = 0;
  flood.on("message", () => {
    came += 1;
  });
  const query = queryFor("web");
  const beganMs = performance.now();
  let sent = 0;
  let others = 0;
  for (let round = 0; round < 15; round += 1) {
    for (let at = 0; at < 1_000; at += 1) flood.send(query, 53, HOST);
    sent += 1_000;
    // As many at once as the kernel keeps for the server, so that the rate is what is looked at.
    let isAnswered = false;
    for (let again = 0; again < 3 && !isAnswered; again += 1) isAnswered = (await askUdp(TEST, HOST, query, 1_000)) !== undefined;
    if (isAnswered) others += 1;
  }
  const tookMs = performance.now() - beganMs;
  await wait(300);
  flood.close();
  t.comment(`${came} of ${sent} answered in ${Math.round(tookMs)} ms`);
  t.ok(came <= 5_000 + (10_000 * (tookMs + 300)) / 1_000, "no more than its rate");
  t.equal(others, 15);
  t.same((await lookUp(TEST, HOST, queryFor("web")))?.data, ["10.7.0.77"]);
});

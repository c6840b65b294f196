/** What containers get, from the real process. Run by names.test.ts. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import type { Answer } from "dns-packet";
import t from "tap";
import { queryFor, readReply } from "../../unit/vpc/dns-client.ts";
import { askTcp, becomes, frame, lookUp, networkOf, openTcp, readTcp, serversOf, startRelay, Upstream } from "./network.ts";
import { answers, HOST, makeNetwork, PROD, prod, RESOLVERS, STRANGER, startScene, TEST, test } from "./scene.ts";

await makeNetwork();
const { server, logged } = startScene(300);
const [FIRST, SECOND, RELAY] = RESOLVERS;
const many = (name: string): Answer[] => Array.from({ length: 100 }, (_, at) => ({ type: "A", name, ttl: 60, data: `198.51.100.${at}` }));
const upstreams = [FIRST, SECOND].map(
  (address, at) =>
    new Upstream(address, ({ name, via }) => {
      if (name.startsWith("big.")) return via === "udp" ? { truncated: true } : { answers: many(name) };
      if (name.startsWith("absent.")) return { rcode: 3 };
      if (name.startsWith("slow.")) return { delayMs: 300, answers: [{ type: "A", name, data: "198.51.100.1" }] };
      if (name.startsWith("quiet.") && at === 0) return { silent: true };
      if (name.endsWith(".void.example.com")) return { silent: true };
      if (name.startsWith("broken.") && at === 0) return { rcode: 2 };
      if (name.startsWith("hopeless.")) return { rcode: 2 };
      return { answers: [{ type: "A", name, ttl: 60, data: `198.51.100.${at + 1}` }] };
    }),
);
const [first, second] = upstreams as [Upstream, Upstream];
await Promise.all(upstreams.map((upstream) => upstream.listen()));
t.teardown(async () => {
  await server.stop();
  for (const upstream of upstreams) upstream.close();
});

t.test("the process begins with the first table, and is nobody", async (t) => {
  t.same(await serversOf(process.pid), [], "none before");
  const beganMs = performance.now();
  await answers(server, prod);
  t.comment(`from the first table until it answered: ${Math.round(performance.now() - beganMs)} ms`);
  await answers(server, test);
  const [pid = 0, ...more] = await serversOf(process.pid);
  t.same(more, [], "one for all VPCs");
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  t.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m);
  t.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m);
  t.match(status, /^Groups:\t ?$/m);
  t.match(status, /^CapEff:\t0+$/m);
  t.match(status, /^NoNewPrivs:\t1$/m);
  t.equal(await networkOf(pid), await networkOf("self"));
});

t.test("who asks tells the VPC: the same names and the same CIDR, other addresses; strangers get nothing", async (t) => {
  for (const [from, address] of [
    [PROD, "10.7.0.5"],
    [TEST, "10.7.0.77"],
  ] as const) {
    t.same((await lookUp(from, HOST, queryFor("web")))?.data, [address], "UDP");
    t.same((await askTcp(from, HOST, queryFor("web")))?.data, [address], "TCP");
  }
  t.same((await lookUp(PROD, HOST, queryFor("77.0.7.10.in-addr.arpa", "PTR")))?.rcode, 3);
  t.same((await lookUp(TEST, HOST, queryFor("77.0.7.10.in-addr.arpa", "PTR")))?.data, ["web.test.cc.internal"]);
  t.equal(await lookUp(STRANGER, HOST, queryFor("web"), 300), undefined, "UDP");
  t.equal(await lookUp(HOST, HOST, queryFor("web"), 300), undefined, "from the host itself");
  const tcp = await openTcp(STRANGER, HOST);
  t.same(await readTcp(tcp, 1, 3_000), [], "TCP");
  t.equal(first.asked.length, 0, "nothing of it was asked of anybody");
});

t.test("a changed table is answered from at once", async (t) => {
  const [web, ...others] = prod.containers;
  if (web === undefined) throw new Error("no container");
  for (const healthy of [false, true]) {
    await answers(server, { ...prod, containers: [{ ...web, healthy }, ...others] });
    t.equal((await lookUp(PROD, HOST, queryFor("shop.app")))?.data.length, healthy ? 2 : 1);
  }
  // Of many changes in a row the last counts.
  for (let number = 10; number <= 200; number += 1)
    server.set({ ...prod, containers: [{ ...web, address: { family: 4, value: web.address.value + BigInt(number) } }] });
  await answers(server, prod);
  t.same((await lookUp(PROD, HOST, queryFor("web")))?.data, ["10.7.0.5"]);
});

t.test("without a nameserver the world is not known", async (t) => {
  t.match(await lookUp(PROD, HOST, queryFor("www.example.com")), { rcode: 2, packet: { id: 7 } });
});

t.test("everything else is asked of the host's resolvers", async (t) => {
  server.nameservers([FIRST, SECOND]);
  await answers(server, prod);
  const read = await lookUp(PROD, HOST, queryFor("WWW.example.com", "A", { id: 4_711 }));
  t.match(read, { rcode: 0, question: "WWW.example.com", data: ["198.51.100.1"], packet: { id: 4_711, flag_aa: false, flag_ra: true } });
  t.match(await lookUp(PROD, HOST, queryFor("absent.example.com")), { rcode: 3 });
  t.match(await askTcp(TEST, HOST, queryFor("www.example.com")), { data: ["198.51.100.1"] });
  t.equal(await first.countOf("web.prod.cc.internal"), 0);
});

t.test("cut answers: said to UDP, fetched for TCP", async (t) => {
  t.match(await lookUp(PROD, HOST, queryFor("big.example.com")), { data: [], packet: { flag_tc: true } });
  const whole = await askTcp(PROD, HOST, queryFor("big.example.com"));
  t.equal(whole?.data.length, 100);
  t.equal(whole?.packet.flag_tc, false);
});

t.test("identical questions in flight are asked once, from whatever VPC; each gets its own letters and id back", async (t) => {
  const asking = Array.from({ length: 20 }, (_, at) =>
    lookUp(at % 2 === 0 ? PROD : TEST, HOST, queryFor(at % 3 === 0 ? "slow.EXAMPLE.com" : "slow.example.com", "A", { id: 100 + at })),
  );
  for (const [at, read] of (await Promise.all(asking)).entries()) {
    t.match(read, { question: at % 3 === 0 ? "slow.EXAMPLE.com" : "slow.example.com", data: ["198.51.100.1"], packet: { id: 100 + at } });
  }
  t.equal(first.countOf("slow.example.com") + first.countOf("slow.EXAMPLE.com"), 1);
});

t.test("ids and ports of what is asked cannot be guessed", async (t) => {
  const before = first.asked.length;
  await Promise.all(Array.from({ length: 40 }, (_, at) => lookUp(PROD, HOST, queryFor(`n${at}.example.com`))));
  const asked = first.asked.slice(before);
  t.equal(asked.length, 40);
  t.ok(new Set(asked.map(({ port }) => port)).size > 30, "ports");
  t.ok(new Set(asked.map(({ id }) => id)).size > 35, "ids");
});

t.test("a resolver that fails or is silent: the next one is asked", async (t) => {
  t.match(await lookUp(PROD, HOST, queryFor("broken.example.com")), { rcode: 0, data: ["198.51.100.2"] });
  t.match(await lookUp(PROD, HOST, queryFor("hopeless.example.com")), { rcode: 2 });
  t.equal(first.countOf("hopeless.example.com") + second.countOf("hopeless.example.com"), 2, "each once");
  t.match(await lookUp(PROD, HOST, queryFor("quiet.example.com")), { data: ["198.51.100.2"] });
  t.match(await lookUp(PROD, HOST, queryFor("after.example.com")), { data: ["198.51.100.2"] }, "who was silent comes last for a while");
});

t.test("so many questions of a VPC wait for resolvers; others' are asked meanwhile", async (t) => {
  const socket = createSocket("udp4");
  const bound = once(socket, "listening");
  socket.bind({ address: PROD, port: 0 });
  await bound;
  const rcodes: number[] = [];
  socket.on("message", (reply) => void rcodes.push(readReply(reply).rcode));
  for (let at = 0; at < 300; at += 1) socket.send(queryFor(`n${at}.void.example.com`), 53, HOST);
  t.ok(await becomes(() => rcodes.length >= 44, 5_000), "what is too much is said to have failed, at once");
  t.match(await lookUp(TEST, HOST, queryFor("meanwhile.example.com")), { rcode: 0 });
  t.match(await lookUp(PROD, HOST, queryFor("web")), { rcode: 0 });
  t.ok(await becomes(() => rcodes.length === 300, 15_000), `${rcodes.length} of 300 had an answer in the end`);
  t.ok(rcodes.every((rcode) => rcode === 2));
  socket.close();
});

t.test("resolvers that are gone, and others in their place", async (t) => {
  server.nameservers(["192.0.2.99"]);
  await answers(server, prod);
  const beganMs = performance.now();
  t.match(await lookUp(PROD, HOST, queryFor("gone.example.com")), { rcode: 2 });
  t.ok(performance.now() - beganMs < 7_500, "within what a client waits");
  t.match(await lookUp(PROD, HOST, queryFor("web")), { data: ["10.7.0.5"] }, "names of the VPC need nobody");
  server.nameservers([SECOND]);
  await answers(server, prod);
  t.match(await lookUp(PROD, HOST, queryFor("gone.example.com")), { data: ["198.51.100.2"] });
});

t.test("a resolver that asks us for what we ask it is left out", async (t) => {
  const isSaid = (nameserver: string): boolean =>
    logged.some(({ level, fields }) => level === "warn" && "nameserver" in fields && fields.nameserver === nameserver);
  server.nameservers([HOST, SECOND]);
  t.ok(await becomes(() => isSaid(HOST)), "itself");
  t.match(await lookUp(PROD, HOST, queryFor("own.example.com")), { data: ["198.51.100.2"] });
  // A resolver on the host, then one in a container, whose questions come from its VPC.
  for (const from of [STRANGER, PROD]) {
    logged.length = 0;
    const relay = await startRelay(RELAY, from, HOST);
    server.nameservers([RELAY, SECOND]);
    t.ok(await becomes(() => isSaid(RELAY)), `from ${from}`);
    const beganMs = performance.now();
    t.match(await lookUp(PROD, HOST, queryFor(`round.${from}.example.com`)), { data: ["198.51.100.2"] });
    t.ok(performance.now() - beganMs < 1_900, "without waiting for it");
    relay.close();
  }
  server.nameservers([FIRST]);
});

t.test("TCP: many questions at once, in pieces, and with the asking half closed", async (t) => {
  await answers(server, prod);
  const names = Array.from({ length: 200 }, (_, at) => (at % 4 === 0 ? `tcp${at}.example.com` : "web"));
  const all = Buffer.concat(names.map((name, at) => frame(queryFor(name, "A", { id: at }))));
  const socket = await openTcp(PROD, HOST);
  for (let at = 0; at < all.length; at += 700) socket.write(all.subarray(at, at + 700));
  socket.end();
  const replies = (await readTcp(socket, 200)).map(readReply);
  t.equal(replies.length, 200);
  const isRight = ({ packet, question, data }: (typeof replies)[number]): boolean =>
    question === names[packet.id ?? -1] && data[0] === (question === "web" ? "10.7.0.5" : "198.51.100.1");
  t.ok(replies.every(isRight), "each question has its answer");
  t.same(await readTcp(socket, 1, 2_000), [], "and then it is closed");
  const byte = await openTcp(PROD, HOST);
  for (const one of frame(queryFor("web"))) {
    byte.write(Buffer.from([one]));
    await wait(1);
  }
  t.same(
    (await readTcp(byte, 1)).map((reply) => readReply(reply).data),
    [["10.7.0.5"]],
    "a byte at a time",
  );
  byte.destroy();
  const large = await openTcp(PROD, HOST);
  large.write(Buffer.from([0xff, 0xff, 1, 2, 3]));
  t.same(await readTcp(large, 1, 3_000), [], "a question of 64 KiB closes it");
  t.ok(large.readableEnded || large.destroyed);
});

t.test("TCP: a VPC has so many connections, and idle ones are closed", async (t) => {
  const open = await Promise.all(Array.from({ length: 64 }, () => openTcp(PROD, HOST)));
  // Connected by the kernel; that they were taken shows by an answer.
  for (const socket of open) socket.write(frame(queryFor("web")));
  t.equal((await Promise.all(open.map((socket) => readTcp(socket, 1)))).flat().length, 64);
  const over = await openTcp(PROD, HOST);
  over.write(frame(queryFor("web")));
  t.same(await readTcp(over, 1, 3_000), [], "one too many");
  t.same((await askTcp(TEST, HOST, queryFor("web")))?.data, ["10.7.0.77"], "another VPC has its own");
  // A byte now and then does not keep one open.
  const drip = setInterval(() => open[0]?.write(Buffer.from([0])), 1_000);
  const signal = AbortSignal.timeout(15_000);
  const closed = open.map((socket) => Promise.race(["end", "close"].map((event) => once(socket.resume(), event, { signal }))));
  const ends = await Promise.allSettled(closed);
  clearInterval(drip);
  t.ok(ends.every(({ status }) => status === "fulfilled"));
  for (const socket of open) socket.destroy();
  t.same((await askTcp(PROD, HOST, queryFor("web")))?.data, ["10.7.0.5"], "and there is room again");
});

t.test("a removed VPC gets nothing, the others do; with the last the process goes, and comes again", async (t) => {
  server.remove(prod.vpc);
  await server.answering(prod.vpc, AbortSignal.timeout(1_000));
  await answers(server, test);
  t.equal(await lookUp(PROD, HOST, queryFor("web"), 300), undefined);
  t.same((await lookUp(TEST, HOST, queryFor("web")))?.data, ["10.7.0.77"]);
  // Its address goes to another VPC.
  await answers(server, { ...test, source: prod.source });
  t.same((await lookUp(PROD, HOST, queryFor("web")))?.data, ["10.7.0.77"]);
  t.equal(await lookUp(TEST, HOST, queryFor("web"), 300), undefined);
  server.remove(test.vpc);
  t.ok(await becomes(async () => (await serversOf(process.pid)).length === 0), "gone");
  await answers(server, test);
  t.same((await lookUp(TEST, HOST, queryFor("web")))?.data, ["10.7.0.77"]);
  t.match(await lookUp(TEST, HOST, queryFor("www.example.com")), { data: ["198.51.100.1"] }, "and it knows the nameservers");
  await server.stop();
  t.same(await serversOf(process.pid), [], "stopped");
});

import { type Answer, encode } from "dns-packet";
import fc from "fast-check";
import t from "tap";
import { restartDelayMs } from "../../../src/vpc/name-server.ts";
import { isWorthAsking, orderServers, passOn, questionKey, readUpstream, upstreamQuery } from "../../../src/vpc/names-forward.ts";
import { parseQuery, type Query } from "../../../src/vpc/names-message.ts";
import { TokenBucket } from "../../../src/vpc/query-rate.ts";
import { type Asked, queryFor, readReply } from "./dns-client.ts";

function queryOf(name: string, asked: Asked = {}): Query {
  const parsed = parseQuery(queryFor(name, "A", asked));
  if (parsed.kind !== "query") throw new Error(parsed.kind);
  return parsed.query;
}

const reply = (name: string, id: number, answers: readonly Answer[] = [], flags = 0x180): Buffer =>
  encode({ type: "response", id, flags, questions: [{ type: "A", name }], answers: [...answers] });
const address = (name: string, data: string): Answer => ({ type: "A", name, ttl: 60, data });

t.test("what is asked of an upstream: the question, its flags, and that EDNS is spoken", async (t) => {
  const plain = upstreamQuery(queryOf("www.Example.com", { id: 5, flags: 0x110 }), 77);
  t.match(readReply(plain), { packet: { id: 77, flag_qr: false, flag_rd: true, flag_cd: true }, question: "www.Example.com", edns: undefined });
  const edns = upstreamQuery(queryOf("example.com", { payloadBytes: 4_096, dnssecOk: true }), 78);
  t.match(readReply(edns).edns, { payloadBytes: 1_232, dnssecOk: true });
  const cookie = encode({
    type: "query",
    id: 1,
    questions: [{ type: "A", name: "example.com" }],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize: 512,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [{ code: 12, type: "PADDING", length: 30 }],
      },
    ],
  });
  const parsed = parseQuery(cookie);
  t.ok(parsed.kind === "query" && upstreamQuery(parsed.query, 1).length === 12 + 17 + 11, "a client's options stay here");
});

t.test("an answer is one by its id, and by its question in any case", async (t) => {
  const query = queryOf("example.com");
  t.match(readUpstream(query, 9, reply("eXample.com", 9)), { rcode: 0, truncated: false });
  t.equal(readUpstream(query, 9, reply("example.com", 10)), undefined, "another id");
  t.equal(readUpstream(query, 9, reply("example.org", 9)), undefined, "another name");
  t.equal(readUpstream(query, 9, encode({ type: "response", id: 9, questions: [{ type: "AAAA", name: "example.com" }] })), undefined, "another type");
  t.equal(readUpstream(query, 9, upstreamQuery(query, 9)), undefined, "a query");
  t.equal(readUpstream(query, 9, Buffer.alloc(5)), undefined);
  t.match(readUpstream(query, 9, Buffer.from([0, 9, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0])), { rcode: 1, packet: undefined }, "only a code");
  t.equal(readUpstream(query, 9, reply("example.com", 9, [], 0x380))?.truncated, true);
  for (const [rcode, worth] of [
    [0, false],
    [2, true],
    [3, false],
    [4, true],
    [5, true],
  ] as const) {
    const read = readUpstream(query, 9, reply("example.com", 9, [], 0x180 | rcode));
    t.equal(read !== undefined && isWorthAsking(read), worth, `code ${rcode}`);
  }
});

t.test("it is passed on with the id and the letters of the one who asked", async (t) => {
  const query = queryOf("WWW.example.COM", { id: 3_333 });
  const passed = readReply(passOn(query, reply("www.example.com", 9, [address("www.example.com", "192.0.2.7")]), "udp"));
  t.match(passed, { question: "WWW.example.COM", data: ["192.0.2.7"], packet: { id: 3_333, flag_tc: false } });
  const many = reply(
    "www.example.com",
    9,
    Array.from({ length: 60 }, (_, at) => address("www.example.com", `192.0.2.${at}`)),
  );
  const cut = passOn(query, many, "udp");
  t.match(readReply(cut), { question: "WWW.example.COM", data: [], packet: { id: 3_333, flag_tc: true, answers: [] } });
  t.equal(readReply(passOn(query, many, "tcp")).data.length, 60);
  t.same(readReply(passOn(queryOf("www.example.com", { payloadBytes: 700 }), many, "udp")).edns, { payloadBytes: 1_232, extendedRcode: 0, dnssecOk: false });
});

t.test("questions are the same in any case, and not of another type, with other flags or by another way", async (t) => {
  const key = questionKey(queryOf("example.com"), "udp");
  t.equal(questionKey(queryOf("EXAMPLE.com", { id: 9 }), "udp"), key);
  const different = [queryOf("example.org"), queryOf("example.com", { flags: 0 }), queryOf("example.com", { payloadBytes: 512 })];
  for (const query of different) t.not(questionKey(query, "udp"), key);
  t.not(questionKey(queryOf("example.com"), "tcp"), key);
  const typed = (type: number): string => {
    const packet = queryFor("example.com");
    packet.writeUInt16BE(type, packet.length - 4);
    const parsed = parseQuery(packet);
    return parsed.kind === "query" ? questionKey(parsed.query, "udp") : "";
  };
  t.not(typed(65), typed(97), "types whose bytes are letters");
});

t.test("silent servers come last for a while, and are all still asked", async (t) => {
  const silent = new Map([
    ["a", 100],
    ["b", 10],
  ]);
  t.same(orderServers(["a", "b", "c"], silent, 50), ["b", "c", "a"]);
  t.same(orderServers(["a", "b", "c"], silent, 100), ["a", "b", "c"]);
});

t.test("a VPC's rate holds over any stretch of time", async (t) => {
  const rate = { perSecond: 100, burst: 20 };
  const holds = (gapsMs: readonly number[]): boolean => {
    const bucket = new TokenBucket(rate, 0);
    let nowMs = 0;
    let taken = 0;
    for (const gapMs of gapsMs) {
      nowMs += gapMs;
      if (bucket.take(nowMs)) taken += 1;
    }
    return taken <= rate.burst + (nowMs / 1_000) * rate.perSecond + 1e-6;
  };
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(fc.nat(60), { maxLength: 500 }), holds)));
  const bucket = new TokenBucket(rate, 0);
  t.same(Array.from({ length: 22 }, () => bucket.take(0)).filter(Boolean).length, 20);
  t.equal(bucket.take(9), false);
  t.equal(bucket.take(11), true, "one more after 10 ms");
});

t.test("the process is started again soon, and less and less often", async (t) => {
  t.same(
    [1, 2, 3, 4, 20].map((failures) => restartDelayMs(failures, 0)),
    [100, 200, 400, 800, 30_000],
  );
  t.ok(restartDelayMs(1, 0.999) >= 75);
});

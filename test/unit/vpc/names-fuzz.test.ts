import fc from "fast-check";
import t from "tap";
import { indexNames } from "../../../src/vpc/names.ts";
import { answer } from "../../../src/vpc/names-answer.ts";
import { passOn, questionKey, readUpstream, upstreamQuery } from "../../../src/vpc/names-forward.ts";
import { parseQuery, type Transport } from "../../../src/vpc/names-message.ts";
import { seededRandom } from "../mesh/small-world.ts";
import { queryFor, readReply, tableOf } from "./dns-client.ts";

const RUNS = Number(process.env["CC_FUZZ_RUNS"] ?? 5_000);

const crowd = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`w${at}`, { address: `10.7.1.${at}`, labels: { app: "shop" } }]));
const index = indexNames(tableOf("prod", { web: { address: "10.7.0.5", labels: { app: "shop" } }, ...crowd }));
const random = seededRandom(3);

const names = ["web.prod.cc.internal", "shop.app", "web", "nobody.prod.cc.internal", "5.0.7.10.in-addr.arpa", "www.example.com", ".", "a.b.c.d.e.f.g.h.i.j"];
const wellFormed = fc
  .record({
    name: fc.oneof(fc.constantFrom(...names), fc.domain()),
    type: fc.constantFrom("A", "AAAA", "PTR", "TXT", "SOA", "AXFR"),
    payloadBytes: fc.option(fc.nat(65_535), { nil: undefined }),
    dnssecOk: fc.boolean(),
    id: fc.nat(65_535),
  } as const)
  .map(({ name, type, payloadBytes, dnssecOk, id }) => queryFor(name, type, { id, dnssecOk, ...(payloadBytes === undefined ? {} : { payloadBytes }) }));

/** Bytes changed, cut off, put in and hung on: what a broken or a hostile program sends. */
const mutated = fc
  .tuple(
    wellFormed,
    fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 6 }),
    fc.option(fc.nat(80), { nil: undefined }),
    fc.tuple(fc.nat(80), fc.uint8Array({ maxLength: 40 })),
  )
  .map(([packet, flips, cutAt, [insertAt, inserted]]) => {
    const changed = Buffer.concat([packet.subarray(0, insertAt), inserted, packet.subarray(insertAt)]);
    for (const [at, value] of flips) if (at < changed.length) changed[at] = value;
    return changed.subarray(0, cutAt);
  });
const noise = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
const anyPacket = fc.oneof({ weight: 6, arbitrary: mutated }, { weight: 2, arbitrary: wellFormed }, { weight: 1, arbitrary: noise });

t.test("whatever comes is answered within what is allowed, or not at all", async (t) => {
  const seen = new Map<string, number>();
  const holds = (packet: Buffer, via: Transport): void => {
    const before = Buffer.from(packet);
    const outcome = answer(index, packet, via, random);
    if (!packet.equals(before)) throw new Error("the query was changed");
    seen.set(outcome.kind, (seen.get(outcome.kind) ?? 0) + 1);
    if (outcome.kind === "none") {
      if (packet.length >= 12 && (packet.readUInt8(2) & 0x80) === 0) throw new Error("a query without an answer");
      return;
    }
    if (outcome.kind === "forward") {
      const passed = upstreamQuery(outcome.query, 4);
      // Read again it is the same question, and nothing else.
      const again = parseQuery(passed);
      if (again.kind !== "query" || questionKey(again.query, via) !== questionKey(outcome.query, via)) throw new Error("another question went on");
      if (passed.length > 12 + 255 + 4 + 11) throw new Error(`${passed.length} bytes went on`);
      return;
    }
    const { bytes } = outcome;
    const hasAdditional = packet.readUInt16BE(10) > 0;
    const bytesMax = via === "tcp" ? 65_535 : hasAdditional ? 1_232 : 512;
    if (bytes.length > bytesMax) throw new Error(`${bytes.length} bytes`);
    if (bytes.readUInt16BE(0) !== packet.readUInt16BE(0) || (bytes.readUInt8(2) & 0x80) === 0) throw new Error("no answer to this query");
    const questions = bytes.readUInt16BE(4);
    if (questions === 0 && bytes.length !== 12) throw new Error("more than a header about a question that was not understood");
    const question = packet.subarray(12, packet.indexOf(0, 12) + 5);
    if (questions === 1 && !bytes.subarray(12, 12 + question.length).equals(question) && !packet.subarray(12, 30).includes(0))
      throw new Error("another question");
  };
  t.doesNotThrow(() => fc.assert(fc.property(anyPacket, fc.constantFrom("udp", "tcp"), holds), { numRuns: RUNS }));
  t.comment([...seen].map(([kind, count]) => `${kind} ${count}`).join(", "));
  for (const kind of ["reply", "forward", "none"]) t.ok((seen.get(kind) ?? 0) > RUNS / 100, `${kind} was met`);
});

t.test("what is well-formed is answered so that another implementation reads it", async (t) => {
  const reads = (packet: Buffer, via: Transport): void => {
    const outcome = answer(index, packet, via, random);
    if (outcome.kind === "reply") readReply(outcome.bytes);
  };
  t.doesNotThrow(() => fc.assert(fc.property(wellFormed, fc.constantFrom("udp", "tcp"), reads), { numRuns: RUNS / 5 }));
});

t.test("whatever an upstream says is taken as its answer or not, and passed on within what is allowed", async (t) => {
  let taken = 0;
  const holds = (packet: Buffer, reply: Buffer, keepsHead: boolean, via: Transport): void => {
    const parsed = parseQuery(packet);
    if (parsed.kind !== "query") return;
    const { query } = parsed;
    const head = upstreamQuery(query, 9).subarray(0, 12 + query.question.bytes.length);
    head.writeUInt16BE(0x8180, 2);
    const came = keepsHead ? Buffer.concat([head, reply]) : reply;
    const read = readUpstream(query, 9, came);
    if (read?.packet === undefined) return;
    taken += 1;
    const passed = passOn(query, read.packet, via);
    const bytesMax = via === "tcp" ? 65_535 : query.edns === undefined ? 512 : 1_232;
    if (passed.length > bytesMax) throw new Error(`${passed.length} bytes`);
    if (passed.readUInt16BE(0) !== query.id) throw new Error("another id");
    if (!passed.subarray(12, 12 + query.question.bytes.length).equals(query.question.bytes)) throw new Error("another question");
    if (passed.length < came.length && (passed.readUInt8(2) & 2) === 0) throw new Error("cut, and does not say so");
  };
  const property = fc.property(
    wellFormed,
    fc.oneof(anyPacket, fc.uint8Array({ maxLength: 3_000 }).map(Buffer.from)),
    fc.boolean(),
    fc.constantFrom("udp", "tcp"),
    holds,
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: RUNS / 2 }));
  t.ok(taken > RUNS / 10, `${taken} taken`);
});

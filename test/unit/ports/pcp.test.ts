import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { parseIp } from "../../../src/base/index.ts";
import { epochGoesOn } from "../../../src/ports/drivers/pcp/epoch.ts";
import { decodeAnswer, encodeAnnounce, encodeMap, isAnswerTo, type PcpMapRequest } from "../../../src/ports/drivers/pcp/packets.ts";

const ip = (text: string) => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};
/** Octets as RFC 6887 draws them, four a word. */
const octets = (...words: readonly string[]): Uint8Array => Uint8Array.from(Buffer.from(words.join("").replaceAll(" ", ""), "hex"));
const NONCE = Uint8Array.from({ length: 12 }, (_, at) => at + 1);
const REQUEST: PcpMapRequest = { client: ip("192.168.1.5"), lifetimeSeconds: 7_200, nonce: NONCE, protocol: "tcp", internalPort: 80, externalPort: 8_080 };

t.test("requests, octet by octet (RFC 6887, 7.1 and 11.1)", async (t) => {
  t.strictSame(
    encodeMap(REQUEST),
    octets(
      "02 01 0000", // version 2, R = 0 and opcode 1 (MAP), reserved
      "00001c20", // requested lifetime
      "00000000 00000000 0000ffff c0a80105", // client's address, ::ffff:192.168.1.5
      "01020304 05060708 090a0b0c", // mapping nonce
      "06 000000", // protocol, reserved
      "0050 1f90", // internal port, suggested external port
      "00000000 00000000 0000ffff 00000000", // suggested external address: any of IPv4
    ),
  );
  t.strictSame(encodeMap({ ...REQUEST, protocol: "udp" })[36], 17);
  const v6 = encodeMap({ ...REQUEST, client: ip("2001:db8::1") });
  t.strictSame(v6.slice(8, 24), octets("20010db8 00000000 00000000 00000001"));
  t.strictSame(v6.slice(44), new Uint8Array(16), "any of IPv6");
  t.strictSame(encodeAnnounce(ip("10.0.0.1")), octets("02 00 0000 00000000 00000000 00000000 0000ffff 0a000001"));
});

const ANSWER = octets(
  "02 81 00 00", // version 2, R = 1 and MAP, reserved, result 0
  "00000e10", // granted lifetime
  "0000002a", // epoch
  "00000000 00000000 00000000", // reserved
  "01020304 05060708 090a0b0c",
  "06 000000",
  "0050 0438",
  "00000000 00000000 0000ffff 0b000001",
);
const changed = (at: number, ...bytes: readonly number[]): Uint8Array => {
  const copy = ANSWER.slice();
  copy.set(bytes, at);
  return copy;
};

t.test("answers, octet by octet (7.2 and 11.1)", async (t) => {
  t.strictSame(decodeAnswer(ANSWER), {
    kind: "map",
    result: 0,
    lifetimeSeconds: 3_600,
    epochSeconds: 42,
    mapping: { nonce: NONCE, protocolNumber: 6, internalPort: 80, externalPort: 1_080, externalAddress: ip("11.0.0.1") },
  });
  t.strictSame(decodeAnswer(octets("02 80 00 00 00000000 0000002a 00000000 00000000 00000000")), {
    kind: "announce",
    result: 0,
    lifetimeSeconds: 0,
    epochSeconds: 42,
  });
  t.match(decodeAnswer(changed(3, 8)), { kind: "map", result: 8 });
  t.match(decodeAnswer(Buffer.concat([ANSWER, octets("01000000")])), { kind: "map" }, "options behind it are passed over");
  t.match(decodeAnswer(ANSWER.slice(0, 24).fill(2, 3, 4)), { result: 2, mapping: undefined }, "an error need not repeat the request");
  t.match(decodeAnswer(octets("01 81 00 01 0000001e 0000002a 00000000 00000000 00000000")), { result: 1 }, "'unsupported version' comes in the router's own");
  t.strictSame(decodeAnswer(octets("00 80 0001 0000002a")), { kind: "nat-pmp" }, "a router that speaks only NAT-PMP");
  t.strictSame(decodeAnswer(octets("00 81 0000 0000002a 0050 1f90 00000e10")), { kind: "nat-pmp" });
});

t.test("what is no answer is none", async (t) => {
  for (const [what, bytes] of [
    ["nothing", new Uint8Array()],
    ["a request", encodeMap(REQUEST)],
    ["another version that agrees", changed(0, 1)],
    ["another opcode", changed(1, 0x82)],
    ["cut off", ANSWER.slice(0, 56)],
    ["not of whole words", ANSWER.slice(0, 59)],
    ["too long", new Uint8Array(1_104).fill(0).map((_, at) => ANSWER[at] ?? 0)],
    ["cut off NAT-PMP", octets("00 80 0001")],
  ] as const)
    t.equal(decodeAnswer(bytes), undefined, what);
});

t.test("an answer is to the request that it repeats", async (t) => {
  const is = (bytes: Uint8Array): boolean | undefined => {
    const answer = decodeAnswer(bytes);
    return answer && isAnswerTo(REQUEST, answer);
  };
  t.equal(is(ANSWER), true);
  t.equal(is(changed(24, 99)), false, "another nonce");
  t.equal(is(changed(35, 99)), false, "in its last octet, too");
  t.equal(is(changed(36, 17)), false, "another protocol");
  t.equal(is(changed(41, 81)), false, "another internal port");
  t.equal(is(changed(42, 0, 1)), true, "the external port is the router's to say");
  t.equal(is(octets("02 80 00 00 00000000 0000002a 00000000 00000000 00000000")), false, "an announcement that came by");
});

t.test("nothing that comes in makes it throw, and what passes is whole", async (t) => {
  const flipped = fc.tuple(fc.nat(ANSWER.length - 1), fc.nat(255)).map(([at, value]) => changed(at, value));
  const cut = fc.nat(ANSWER.length).map((length) => ANSWER.slice(0, length));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 1_200 }), flipped, cut), (bytes) => {
      const answer = decodeAnswer(bytes);
      if (answer?.kind !== "map" || answer.mapping === undefined) return;
      assert.equal(answer.mapping.nonce.length, 12);
      assert.ok(answer.mapping.externalPort >= 0 && answer.mapping.externalPort <= 65_535);
    }),
    { numRuns: Number(process.env["CC_FUZZ_RUNS"] ?? 2_000) },
  );
  t.pass("for all of them");
});

t.test("the epoch tells whether the router kept its mappings (8.5)", async (t) => {
  const goesOn = (serverSeconds: number, clientSeconds: number): boolean =>
    epochGoesOn({ serverSeconds: 1_000, heardMs: 50_000 }, { serverSeconds, heardMs: 50_000 + clientSeconds * 1_000 });
  t.ok(goesOn(1_000, 0));
  t.ok(goesOn(999, 0), "answers may overtake each other by a second");
  t.notOk(goesOn(998, 0), "gone back");
  t.notOk(goesOn(0, 20));
  t.ok(goesOn(1_020, 20));
  t.ok(goesOn(1_000 + 1_600, 1_500), "clocks differ by up to a sixteenth");
  t.ok(goesOn(1_000 + 1_500, 1_600));
  t.notOk(goesOn(1_000 + 1_500, 1_700), "the router lost some time: it restarted, and runs for longer already than it had before");
  t.notOk(goesOn(1_000 + 3_600, 10), "this host was suspended: its leases may be over");
});

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { RecordFrameSchema, RecordPayloadSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { RecordKey } from "../../../src/base/index.ts";
import { ed25519Verifier } from "../../../src/identity/index.ts";
import { buildRecord, checkFrame, hostKey, isRecordKey, parseRecordKey, RECORD_BYTES_MAX, userKey } from "../../../src/state/index.ts";
import { CREATED_S, fact, keyPair, peerId, request, stamped, stampedBy, wish, ZONE } from "./fixtures.ts";

const A = "peer 1";
const check = (frame: Parameters<typeof checkFrame>[0]) => checkFrame(frame, ed25519Verifier);

type Fields = { key: string; versionMajor: bigint; versionMinor: bigint; final: boolean; writer: string; content: Uint8Array };

/** A frame with these fields, rightly signed by `by`, as only a liar's own program makes it. */
function forged(fields: Partial<Fields>, by = A) {
  const payload = toBinary(
    RecordPayloadSchema,
    create(RecordPayloadSchema, { key: `host/${peerId(A)}/${ZONE}/facts/self`, versionMajor: 1n, writer: peerId(A), content: new Uint8Array(3), ...fields }),
  );
  return create(RecordFrameSchema, { frame: 1, payload, signature: keyPair(by).signer.sign(Buffer.concat([Buffer.from("cc-record-1\n"), payload])) });
}

t.test("a record is what it was made of, over the wire and back", async (t) => {
  for (const record of [fact(A, "facts", "self", 3, 7), wish(A, "w1", 1_800_000_000_123, 2), fact(A, "phase", "cx", 1, 1, "gone", true)]) {
    const read = check(fromBinary(RecordFrameSchema, toBinary(RecordFrameSchema, record.frame)));
    t.same(read, { ok: true, record });
  }
});

t.test("each rule of frame version 1 drops what breaks it", async (t) => {
  const drops = (frame: Parameters<typeof checkFrame>[0], reason: string, name: string) => t.match(check(frame), { ok: false, reason }, name);
  const good = fact(A, "facts", "self", 1, 1).frame;
  drops({ ...good, frame: 2 }, "unknown-frame", "another frame version");
  drops({ ...good, frame: 0 }, "unknown-frame", "no frame version");
  drops({ ...good, payload: new Uint8Array(RECORD_BYTES_MAX + 1) }, "too-large", "one byte too many");
  drops({ ...good, payload: Buffer.from("rubbish") }, "malformed", "no payload");
  drops({ ...good, signature: new Uint8Array(63) }, "bad-signature", "a short signature");
  drops({ ...good, signature: keyPair("eve").signer.sign(good.payload) }, "bad-signature", "another's signature");
  drops(forged({}, "eve"), "bad-signature", "another's key in the writer's name");
  drops(forged({ versionMajor: 2n ** 53n }), "bad-version", "a start number above 2^53 - 1");
  drops(forged({ versionMinor: 2n ** 64n - 1n }), "bad-version", "a sequence above 2^53 - 1");
  drops(forged({ writer: "nobody" }), "bad-writer", "a writer that is none");
  drops(forged({ writer: `12D3KooW${"1".repeat(44)}` }), "bad-writer", "a writer that only looks like a peer id");
  drops(forged({ writer: peerId("eve") }, "eve"), "foreign-key", "another host's key");
  drops(forged({ key: `user/${ZONE}/wanted/c1` }), "bad-request", "a user's key without a request");
  const elsewhere = request("Stop", {}, { peer: peerId("peer 2") });
  drops(forged({ key: `user/${ZONE}/wanted/c1`, content: stamped(elsewhere) }), "not-addressed", "a stamp by a peer that was not addressed");
  drops(forged({ key: "admin/-/key/k1", content: stamped(elsewhere) }), "not-addressed", "an admin's request to another peer");
  const content = stamped(request("Remove", {}, { peer: peerId(A) }));
  const at = (ms: number) => ({ content, versionMajor: BigInt(CREATED_S * 1_000 + ms) });
  for (const key of [`user/${ZONE}/wanted/c1`, "admin/-/key/k1"]) {
    for (const final of [false, true])
      for (const ms of [-300_001, 300_001]) drops(forged({ key, final, ...at(ms) }), "bad-stamp", `a stamp ${ms} ms from the signed time`);
    for (const ms of [-300_000, 300_000]) t.ok(check(forged({ key, ...at(ms) })).ok, `${ms} ms are near enough`);
  }
  for (const key of [
    "",
    "user",
    "user/a/b",
    "user/A/b/c",
    "user/a/b/c/d",
    `host/${peerId(A)}/-/facts/self`,
    `host/x/${ZONE}/facts/self`,
    "root/-/b/c",
    "user/a/b/../c",
    "user/a/b/c!d",
    `user/a/b/${"c".repeat(129)}`,
    "user/a/B/c",
    "user//b/c",
    "user/a/b/é",
  ]) {
    drops(forged({ key }), "bad-key", `the key "${key}"`);
    t.notOk(isRecordKey(key));
  }
});

t.test("kinds that this version does not know are kept", async (t) => {
  t.ok(check(forged({ key: `host/${peerId(A)}/${ZONE}/hologram/x.1-2_3` })).ok);
  t.ok(check(stampedBy(A, "user/-/hologram/x" as RecordKey, request("Beam", {}, { peer: peerId(A), createdS: 1 }), 5).frame).ok);
});

t.test("the largest record passes, and stands alone in memory", async (t) => {
  const room = RECORD_BYTES_MAX - 200;
  const record = buildRecord(
    { key: hostKey(peerId(A), ZONE, "facts", "self"), version: { major: 1, minor: 1 }, final: false, content: new Uint8Array(room) },
    peerId(A),
    keyPair(A).signer,
  );
  t.ok(check(record.frame).ok);
  const message = Buffer.concat([new Uint8Array(1_000_000), record.frame.payload]);
  const read = check({ ...record.frame, payload: message.subarray(1_000_000) });
  t.ok(read.ok && read.record.content.buffer.byteLength <= RECORD_BYTES_MAX, "it does not hold the message that it came in");
  t.throws(
    () =>
      buildRecord(
        { key: hostKey(peerId(A), ZONE, "facts", "self"), version: { major: 1, minor: 1 }, final: false, content: new Uint8Array(RECORD_BYTES_MAX) },
        peerId(A),
        keyPair(A).signer,
      ),
    /too-large/,
  );
});

t.test("unknown fields of a frame are not carried along", async (t) => {
  const { frame } = fact(A, "facts", "self", 1, 1);
  const padded = fromBinary(RecordFrameSchema, Buffer.concat([toBinary(RecordFrameSchema, frame), Uint8Array.of(0x7a, 3, 1, 2, 3)]));
  const read = check(padded);
  t.ok(read.ok);
  if (read.ok) t.same(toBinary(RecordFrameSchema, read.record.frame), toBinary(RecordFrameSchema, frame));
});

t.test("keys there and back", async (t) => {
  t.same(parseRecordKey(hostKey(peerId(A), ZONE, "claim", "c1")), { family: "host", peer: peerId(A), zone: ZONE, kind: "claim", id: "c1" });
  t.same(parseRecordKey(userKey(undefined, "vpc", "v1")), { family: "user", zone: undefined, kind: "vpc", id: "v1" });
  t.throws(() => userKey(ZONE, "no kind", "x"), TypeError);
});

t.test("fuzz: whatever bytes come, a frame is a record or is dropped, and changed bytes never pass", async () => {
  const records = [fact(A, "facts", "self", 1, 1), wish(A, "w1", 1_800_000_000_000)];
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.uint8Array({ maxLength: 80 }),
      fc.nat(3),
      (payload, signature, frame) => !check(create(RecordFrameSchema, { frame, payload, signature })).ok,
    ),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.constantFrom(...records), fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean(), (record, at, by, inSignature) => {
      const changed = new Uint8Array(inSignature ? record.frame.signature : record.frame.payload);
      const index = at % changed.length;
      changed[index] = (changed[index] ?? 0) ^ by;
      return !check({ ...record.frame, ...(inSignature ? { signature: changed } : { payload: changed }) }).ok;
    }),
    { numRuns: 400 },
  );
  // Signed rubbish in every field: what passes obeys the rules.
  fc.assert(
    fc.property(
      fc.record({
        key: fc.oneof(fc.string(), fc.constant(`user/${ZONE}/wanted/c1`)),
        versionMajor: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        versionMinor: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        content: fc.uint8Array({ maxLength: 200 }),
        final: fc.boolean(),
      }),
      (fields) => {
        const read = check(forged(fields));
        return !read.ok || (read.record.key.startsWith(`host/${peerId(A)}/`) && Number.isSafeInteger(read.record.version.major));
      },
    ),
    { numRuns: 200 },
  );
});

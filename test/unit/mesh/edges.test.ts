import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { ObservationSchema } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { FRAME_BYTES_MAX, FRAME_HEAD_BYTES_MAX } from "../../../src/api/streams.ts";
import { CcError, type ErrorCode } from "../../../src/base/index.ts";
import { ERROR_CODE_KEY, ERROR_DETAILS_KEY, fromWire, toWire, wireErrorBytes, wireErrorFrom } from "../../../src/mesh/call-errors.ts";
import { createFrameCutter, withLength } from "../../../src/mesh/frame-cutter.ts";
import { decodeLaneReply, decodeLaneRequest, encodeLaneReply, encodeLaneRequest } from "../../../src/mesh/lane-frames.ts";
import { STREAM_FRAME_BYTES_MAX } from "../../../src/mesh/limits.ts";
import { readObservation } from "../../../src/mesh/observation.ts";
import { firstDialDelayMs, redialDelayMs } from "../../../src/mesh/redial-delay.ts";
import { createTurns } from "../../../src/mesh/turns.ts";
import { peerId, seededRandom } from "./small-world.ts";

const code = (thrown: unknown): ErrorCode | undefined => (thrown instanceof CcError ? thrown.code : undefined);
const refusedWith = (run: () => unknown): ErrorCode | undefined => {
  try {
    run();
    return undefined;
  } catch (error) {
    return code(error);
  }
};

t.test("a frame of the API fits into a frame between peers", async (t) => {
  t.equal(STREAM_FRAME_BYTES_MAX, FRAME_BYTES_MAX + FRAME_HEAD_BYTES_MAX);
});

t.test("frames come out as they went in, however the bytes are cut", async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 10 }), fc.array(fc.integer({ min: 1, max: 17 }), { minLength: 1 }), (frames, cuts) => {
      const bytes = Buffer.concat(frames.map((frame) => withLength(frame)));
      const cutter = createFrameCutter({ firstBytesMax: 40, bytesMax: 40 });
      const got: Uint8Array[] = [];
      for (let at = 0, n = 0; at < bytes.length; n += 1) {
        const size = cuts[n % cuts.length] ?? 1;
        got.push(...cutter.push(bytes.subarray(at, at + size)));
        at += size;
      }
      return !cutter.midway() && got.length === frames.length && got.every((frame, n) => Buffer.compare(frame, frames[n] ?? new Uint8Array([0])) === 0);
    }),
  );
});

t.test("any bytes give frames within the limit or TOO_LARGE, nothing else", async () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 }), (chunks) => {
      const cutter = createFrameCutter({ firstBytesMax: 100, bytesMax: 10 });
      try {
        return chunks.flatMap((chunk) => cutter.push(chunk)).every((frame, n) => frame.length <= (n === 0 ? 100 : 10));
      } catch (error) {
        return code(error) === "TOO_LARGE";
      }
    }),
  );
});

t.test("the opening may be long, later frames may not; a length above the limit allocates nothing", async (t) => {
  const cutter = createFrameCutter({ firstBytesMax: 1_000, bytesMax: 10 });
  t.equal(cutter.push(withLength(new Uint8Array(1_000))).length, 1);
  t.equal(
    refusedWith(() => cutter.push(new Uint8Array([0xff, 0xff, 0xff, 0xff]))),
    "TOO_LARGE",
  );
});

t.test("an error crosses the wire with code, text and details, and without its stack", async (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.dictionary(
        fc.string({ unit: "binary", maxLength: 20 }).filter((key) => key !== "__proto__"),
        fc.string({ unit: "binary", maxLength: 50 }),
        { maxKeys: 5 },
      ),
      (message, details) => {
        const wire = toWire(new CcError("NO_ROOM", message, { details }));
        const error = fromWire(wire.message, (key) => wire.metadata[key] ?? null);
        const ascii = Object.values(wire.metadata).every((value) => /^[\x20-\x7e]*$/.test(value));
        return ascii && error?.code === "NO_ROOM" && error.message === message.slice(0, 2_000) && JSON.stringify(error.details) === JSON.stringify(details);
      },
    ),
  );
  const fault = toWire(new TypeError("x is not a function"));
  t.equal(fault.code, "INTERNAL");
  t.notMatch(JSON.stringify(fault), /at .*edges\.test/);
});

t.test("a peer's error metadata may be anything", async (t) => {
  t.equal(
    fromWire("text", () => null),
    undefined,
  );
  t.equal(fromWire("text", (key) => (key === ERROR_CODE_KEY ? "FROM_THE_FUTURE" : null))?.code, "INTERNAL");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (first, second) => {
      const error = fromWire("text", (key) => (key === ERROR_CODE_KEY ? first : key === ERROR_DETAILS_KEY ? second : null));
      return error instanceof CcError && Object.values(error.details).every((value) => typeof value === "string");
    }),
  );
});

t.test("frames of the light lane come back as they were, and any bytes give a frame or BAD_REQUEST", async (t) => {
  const number = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(number, fc.string({ unit: "binary", maxLength: 15 }), fc.uint8Array(), fc.boolean(), (n, name, body, ok) => {
      const request = decodeLaneRequest(encodeLaneRequest({ number: n, name, body }));
      const reply = decodeLaneReply(encodeLaneReply({ number: n, ok, body }));
      return (
        request.number === n &&
        request.name === name &&
        Buffer.compare(request.body, body) === 0 &&
        reply.number === n &&
        reply.ok === ok &&
        Buffer.compare(reply.body, body) === 0
      );
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) =>
      [decodeLaneRequest, decodeLaneReply].every((decode) => {
        const refused = refusedWith(() => decode(bytes));
        return refused === undefined || refused === "BAD_REQUEST";
      }),
    ),
  );
  const error = wireErrorFrom(wireErrorBytes(toWire(new CcError("NO_ROOM", "full", { details: { need: "ü" } }))));
  t.same([error.code, error.message, error.details], ["NO_ROOM", "full", { need: "ü" }]);
  for (const text of [
    "",
    "null",
    "7",
    "[]",
    '{"message":3}',
    '{"message":"x"}',
    '{"message":"x","metadata":7}',
    '{"message":"x","metadata":{"cc-error-code":7}}',
  ]) {
    t.equal(wireErrorFrom(Buffer.from(text)).code, "INTERNAL", text);
  }
});

t.test("an observation's numbers are counts, its opinions are about peers", async (t) => {
  const good = create(ObservationSchema, {
    timeMs: 5,
    startNumber: 2,
    opinions: [{ peer: peerId(1), startNumber: 1 }, { peer: "nobody" }, { peer: peerId(2), startNumber: -1 }],
  });
  t.same([...readObservation(good).accused.keys()], [peerId(1)]);
  t.equal(readObservation({ ...good, withholds: true }).accused.size, 0, "who withholds says nothing");
  for (const wrong of [
    { timeMs: Number.NaN },
    { startNumber: 1.5 },
    { startNumber: -1 },
    { incarnation: Number.POSITIVE_INFINITY },
    { highestStartOfYours: 2 ** 60 },
  ]) {
    t.equal(
      refusedWith(() => readObservation({ ...good, ...wrong })),
      "BAD_REQUEST",
    );
  }
  const number = fc.oneof(fc.double(), fc.nat());
  fc.assert(
    fc.property(
      number,
      number,
      number,
      number,
      fc.array(fc.record({ peer: fc.oneof(fc.string(), fc.constant(peerId(3))), startNumber: number, incarnation: number, sinceMs: number }), { maxLength: 5 }),
      (timeMs, startNumber, incarnation, highestStartOfYours, opinions) => {
        const bytes = toBinary(ObservationSchema, create(ObservationSchema, { timeMs, startNumber, incarnation, highestStartOfYours, opinions }));
        try {
          const heard = readObservation(fromBinary(ObservationSchema, bytes));
          return [...heard.accused.values(), heard.life].every((life) => Number.isSafeInteger(life.startNumber) && Number.isSafeInteger(life.incarnation));
        } catch (error) {
          return code(error) === "BAD_REQUEST";
        }
      },
    ),
  );
});

t.test("redials back off, with jitter, to 5 s or 4 dials a second over all", async (t) => {
  const random = seededRandom(7);
  for (let attempts = 0; attempts < 40; attempts += 1) {
    const fullMs = Math.min(5_000, 250 * 2 ** attempts);
    const delayMs = redialDelayMs(attempts, 1, random);
    t.ok(delayMs >= fullMs / 2 - 1 && delayMs <= fullMs, `${attempts}: ${delayMs}`);
  }
  const perSecond = 200 / (redialDelayMs(30, 200, random) / 1_000);
  t.ok(perSecond <= 8, `${perSecond} dials a second to 200 absent peers`);
  t.equal(firstDialDelayMs("a", "b", random), 0);
  t.ok(firstDialDelayMs("b", "a", random) >= 200);
});

t.test("turns: so many at once, so many waiting, in order, and the aborted leave", async (t) => {
  const turns = createTurns(2, 2);
  const never = new AbortController().signal;
  const [first, second] = [await turns.take(never), await turns.take(never)];
  const order: string[] = [];
  const third = turns.take(never).then((release) => {
    order.push("third");
    return release;
  });
  const leaving = new AbortController();
  const fourth = turns.take(leaving.signal);
  await t.rejects(turns.take(never), { code: "RATE_LIMITED" });
  leaving.abort(new CcError("CANCELLED", "gone"));
  await t.rejects(fourth, { code: "CANCELLED" });
  const fifth = turns.take(never).then((release) => {
    order.push("fifth");
    return release;
  });
  first();
  first(); // giving back twice gives one turn
  (await third)();
  (await fifth)();
  t.same(order, ["third", "fifth"]);
  second();
  await turns.take(never);
  await turns.take(never);
  const aborted = AbortSignal.abort(new CcError("CANCELLED", "before"));
  await t.rejects(turns.take(aborted), { code: "CANCELLED" });
});

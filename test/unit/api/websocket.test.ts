import fc from "fast-check";
import t from "tap";
import { createFrameParser, encodeFrame, type Message, Opcode } from "../../../src/api/websocket.ts";
import { CcError, freeBuffer } from "../../../src/base/index.ts";

const MESSAGE_BYTES_MAX = 1024 * 1024;

const serverFrame = (opcode: number, payload: Buffer, final = true): Buffer => {
  const head =
    payload.length < 126
      ? Buffer.from([0, payload.length])
      : payload.length < 65_536
        ? Buffer.from([0, 126, payload.length >> 8, payload.length & 255])
        : Buffer.concat([Buffer.from([0, 127]), Buffer.alloc(8)]);
  if (payload.length >= 65_536) head.writeBigUInt64BE(BigInt(payload.length), 2);
  head[0] = (final ? 0x80 : 0) | opcode;
  return Buffer.concat([head, payload]);
};

t.test("WebSocket frames, however they are cut and split", async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 400 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 50 }),
      fc.boolean(),
      (payloads, step, fragmented) => {
        const frames = payloads.map((payload) => {
          const bytes = Buffer.from(payload);
          if (!fragmented || bytes.length < 2) return serverFrame(Opcode.binary, bytes);
          return Buffer.concat([
            serverFrame(Opcode.binary, bytes.subarray(0, 1), false),
            serverFrame(Opcode.ping, Buffer.from("p")),
            serverFrame(Opcode.continuation, bytes.subarray(1)),
          ]);
        });
        const stream = Buffer.concat(frames);
        const parser = createFrameParser("server", MESSAGE_BYTES_MAX);
        const got: Message[] = [];
        for (let at = 0; at < stream.length; at += step) got.push(...parser.push(stream.subarray(at, at + step)));
        const messages = got.filter(({ opcode }) => opcode === Opcode.binary).map(({ payload }) => Buffer.from(payload).toString("hex"));
        return JSON.stringify(messages) === JSON.stringify(payloads.map((payload) => Buffer.from(payload).toString("hex")));
      },
    ),
  );
  const long = Buffer.alloc(70_000, 1);
  t.equal(createFrameParser("server", MESSAGE_BYTES_MAX).push(serverFrame(Opcode.binary, long))[0]?.payload.length, 70_000);
  for (const wrong of [
    Buffer.from([0xc2, 0]),
    Buffer.from([0x82, 0x80, 0, 0, 0, 0]),
    Buffer.from([0x80, 0]),
    serverFrame(Opcode.ping, Buffer.alloc(126)),
    Buffer.from([0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]),
  ]) {
    t.throws(() => createFrameParser("server", MESSAGE_BYTES_MAX).push(wrong), { code: "BAD_REQUEST" });
  }
  const floods = createFrameParser("server", MESSAGE_BYTES_MAX);
  t.throws(
    () => {
      floods.push(serverFrame(Opcode.binary, Buffer.alloc(500_000), false));
      floods.push(serverFrame(Opcode.continuation, Buffer.alloc(600_000), false));
    },
    { code: "BAD_REQUEST" },
  );
});

t.test("what is sent is marked as masked, as servers demand, with a mask that changes nothing", async (t) => {
  for (const length of [0, 5, 126, 65_535, 65_536]) {
    const payload = Buffer.alloc(length, 0x5a);
    const frame = Buffer.from(encodeFrame("client", Opcode.binary, payload));
    const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
    t.equal(frame.length, 2 + extra + 4 + length);
    t.equal((frame[1] ?? 0) & 0x80, 0x80);
    t.ok(frame.subarray(2 + extra).equals(Buffer.concat([Buffer.alloc(4), payload])), `${length} bytes`);
  }
});

t.test("what a client sends is read with any mask, and not without one", async (t) => {
  const clientFrame = (payload: Buffer, mask: Buffer, final = true, opcode: number = Opcode.binary): Buffer => {
    const frame = Buffer.from(encodeFrame("client", opcode, payload));
    const at = frame.length - payload.length;
    mask.copy(frame, at - 4);
    for (let index = at; index < frame.length; index += 1) frame[index] = (frame[index] ?? 0) ^ (mask[(index - at) % 4] ?? 0);
    if (!final) frame[0] = (frame[0] ?? 0) & 0x7f;
    return frame;
  };
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 400 }), { minLength: 1, maxLength: 5 }),
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.integer({ min: 1, max: 50 }),
      fc.boolean(),
      (payloads, mask, step, fragmented) => {
        const frames = payloads.flatMap((bytes) => {
          const [payload, by] = [Buffer.from(bytes), Buffer.from(mask)];
          return fragmented
            ? [clientFrame(payload.subarray(0, 3), by, false), clientFrame(payload.subarray(3), by, true, Opcode.continuation)]
            : [clientFrame(payload, by)];
        });
        const [stream, parser] = [Buffer.concat(frames), createFrameParser("client", 400)];
        const got: Message[] = [];
        for (let at = 0; at < stream.length; at += step) got.push(...parser.push(stream.subarray(at, at + step)));
        return Buffer.concat(got.map(({ payload }) => payload)).equals(Buffer.concat(payloads)) && got.length === payloads.length;
      },
    ),
  );
  t.throws(() => createFrameParser("client", 400).push(encodeFrame("server", Opcode.binary, Buffer.alloc(3))), { code: "BAD_REQUEST" });
  t.throws(() => createFrameParser("client", 400).push(encodeFrame("client", Opcode.binary, Buffer.alloc(401))), { code: "BAD_REQUEST" });
});

t.test("a frame is put together from its parts", async (t) => {
  const whole = encodeFrame("server", Opcode.binary, Buffer.from("head"), Buffer.from("body"));
  t.ok(Buffer.from(whole).equals(Buffer.from(encodeFrame("server", Opcode.binary, Buffer.from("headbody")))));
});

t.test("a freed buffer is empty; a piece of Node's pool, or of a larger one, is left alone", async (t) => {
  for (const own of [Buffer.allocUnsafeSlow(100), Buffer.allocUnsafeSlow(70_000), new Uint8Array(64 * 1024)]) {
    freeBuffer(own);
    t.equal(own.length, 0);
    freeBuffer(own);
  }
  for (const shared of [Buffer.from("in the pool"), Buffer.allocUnsafe(30_000), Buffer.allocUnsafeSlow(70_000).subarray(40_000)]) {
    const { length } = shared;
    freeBuffer(shared);
    t.equal(shared.length, length);
  }
});

t.test("rubbish is refused or waits for more", async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom("client" as const, "server" as const), (bytes, from) => {
      try {
        createFrameParser(from, MESSAGE_BYTES_MAX).push(bytes);
        return true;
      } catch (error) {
        return error instanceof CcError && error.code === "BAD_REQUEST";
      }
    }),
    { numRuns: 1000 },
  );
});

import fc from "fast-check";
import t from "tap";
import { readUpload } from "../../../nodes/peer/streams/upload.ts";
import { Channel, encodeFrame, encodeJsonFrame } from "../../../src/api/index.ts";
import { asCcError } from "../../../src/base/index.ts";

const A = `sha256:${"a".repeat(64)}`;
const B = `sha256:${"b".repeat(64)}`;
const announce = (blob: string, sizeBytes: number): Uint8Array => encodeJsonFrame(Channel.control, { blob, sizeBytes });
const bytes = (text: string): Uint8Array => encodeFrame(Channel.stdin, Buffer.from(text));
const END = encodeFrame(Channel.stdinEnd, new Uint8Array());

async function* from(frames: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* frames;
}

async function taken(frames: readonly Uint8Array[]): Promise<{ readonly blobs: [string, string][]; readonly code: string }> {
  const blobs: [string, string][] = [];
  try {
    await readUpload(from(frames), async ({ digest, sizeBytes }, chunks) => {
      let text = "";
      for await (const chunk of chunks) text += Buffer.from(chunk).toString("latin1");
      if (text.length !== sizeBytes) throw new Error("a blob was given with another size than announced");
      blobs.push([digest, text]);
    });
    return { blobs, code: "" };
  } catch (error) {
    return { blobs, code: asCcError(error).code };
  }
}

t.test("blobs one after another, in as many frames as they like", async (t) => {
  t.same(await taken([announce(A, 5), bytes("he"), bytes("llo"), announce(B, 0), announce(A, 1), bytes("x"), END]), {
    blobs: [
      [A, "hello"],
      [B, ""],
      [A, "x"],
    ],
    code: "",
  });
  t.same(await taken([END]), { blobs: [], code: "" }, "nothing to send is an upload too");
});

t.test("everything else is refused: bytes without a blob, too many, too few, a size or digest that is none", async (t) => {
  const cases: readonly (readonly Uint8Array[])[] = [
    [bytes("x"), END],
    [announce(A, 2), bytes("xyz"), END],
    [announce(A, 2), bytes("x"), announce(B, 1)],
    [announce(A, 2), bytes("x"), END],
    [announce(A, 2), bytes(""), bytes("xy"), END],
    [announce("sha256:short", 2), bytes("xy"), END],
    [announce(A, -1), END],
    [announce(A, 2 ** 50), END],
    [announce(A, 1.5), END],
    [encodeFrame(Channel.control, Buffer.from("{")), END],
    [encodeFrame(Channel.control, Buffer.from("[]")), END],
    [new Uint8Array(), END],
    Array.from({ length: 1_025 }, () => announce(A, 0)),
  ];
  for (const [at, frames] of cases.entries()) t.equal((await taken(frames)).code, "BAD_REQUEST", `case ${at}`);
  for (const cut of [[], [announce(A, 2)], [announce(A, 2), bytes("x")], [announce(A, 1), bytes("x")]])
    t.equal((await taken(cut)).code, "CANCELLED", "a caller that leaves has not finished");
});

t.test("fuzz: any frames are an upload or a refusal, and no blob is more or less than was announced", async () => {
  const frame = fc.oneof(
    fc.uint8Array({ maxLength: 12 }),
    fc.constantFrom(announce(A, 3), announce(B, 0), bytes("abc"), bytes("a"), END),
    fc.json().map((json) => encodeFrame(Channel.control, Buffer.from(json))),
    fc.record({ blob: fc.constantFrom(A, B, "x"), sizeBytes: fc.double() }).map(({ blob, sizeBytes }) => announce(blob, sizeBytes)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 8 }), async (frames) => ["", "BAD_REQUEST", "CANCELLED"].includes((await taken(frames)).code)),
    { numRuns: 1_000 },
  );
});

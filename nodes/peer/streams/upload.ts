import { Channel, decodeFrame, decodeJson } from "../../../src/api/index.ts";
import { CcError } from "../../../src/base/index.ts";
import { type Digest, IMAGE_BLOBS_MAX, isDigest } from "../../../src/images/index.ts";

/** What takes a blob in, reading all of `chunks`. */
export type TakeBlob = (blob: { readonly digest: Digest; readonly sizeBytes: number }, chunks: AsyncIterable<Uint8Array>) => Promise<void>;

/** 1 TiB, as for a manifest's layers. */
const BLOB_BYTES_MAX = 2 ** 40;

/**
 * Reads an upload: of each blob a control frame that announces it and as many bytes as it says; at last the end of input.
 * A frame is taken only when the one before is on its way to the disk. Throws BAD_REQUEST for frames in any other order,
 * CANCELLED when the caller leaves before the end.
 */
export async function readUpload(frames: AsyncIterable<Uint8Array>, take: TakeBlob): Promise<void> {
  const source = frames[Symbol.asyncIterator]();
  let blobs = 0;
  for (;;) {
    const frame = await nextFrame(source);
    if (frame === undefined) throw new CcError("CANCELLED", "the upload ended before its end was announced");
    if (frame.channel === Channel.stdinEnd) return;
    if (frame.channel !== Channel.control) throw new CcError("BAD_REQUEST", "bytes of an upload come after the blob that they belong to was announced");
    blobs += 1;
    if (blobs > IMAGE_BLOBS_MAX) throw new CcError("BAD_REQUEST", `an upload has at most ${IMAGE_BLOBS_MAX} blobs`);
    const blob = announced(frame.payload);
    await take(blob, bytesOf(source, blob.sizeBytes));
  }
}

type Source = AsyncIterator<Uint8Array>;

async function nextFrame(source: Source): Promise<ReturnType<typeof decodeFrame> | undefined> {
  const next = await source.next();
  return next.done === true ? undefined : decodeFrame(next.value);
}

/** Just so many bytes; what belongs to the blob ends within a frame of its own. */
async function* bytesOf(source: Source, sizeBytes: number): AsyncGenerator<Uint8Array> {
  for (let left = sizeBytes; left > 0; ) {
    const frame = await nextFrame(source);
    if (frame === undefined) throw new CcError("CANCELLED", "the upload ended in the midst of a blob");
    if (frame.channel !== Channel.stdin || frame.payload.length === 0 || frame.payload.length > left)
      throw new CcError("BAD_REQUEST", "a blob of an upload has other bytes than were announced");
    left -= frame.payload.length;
    yield frame.payload;
  }
}

function announced(payload: Uint8Array): { readonly digest: Digest; readonly sizeBytes: number } {
  const { blob, sizeBytes } = decodeJson(payload);
  if (typeof blob !== "string" || !isDigest(blob)) throw new CcError("BAD_REQUEST", "a blob is announced by its digest, sha256: and 64 hexadecimal digits");
  if (typeof sizeBytes !== "number" || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > BLOB_BYTES_MAX)
    throw new CcError("BAD_REQUEST", "a blob is announced with its size in bytes");
  return { digest: blob, sizeBytes };
}

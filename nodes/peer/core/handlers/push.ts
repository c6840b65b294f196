import { PushRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { type Caller, Channel, decodeBody, encodeJsonFrame, type FrameChannel } from "../../../../src/api/index.ts";
import { CcError } from "../../../../src/base/index.ts";
import { admitUpload, type Digest, IMAGE_BLOBS_MAX, isDigest } from "../../../../src/images/index.ts";
import { must } from "../../must.ts";
import { readUpload } from "../../streams/upload.ts";
import { whoHas } from "../images/blob-source.ts";
import { bringImage, sumOf } from "../images/bring-image.ts";
import { type SecondHost, type SecondHostParts, uploadedImage } from "../images/second-host.ts";
import type { Some } from "./parts.ts";

export type PushParts = SecondHostParts & { readonly second: SecondHost };

/** Uploads at once: each writes and hashes at the speed of its network. */
const UPLOADS_MAX = 8;
/** A caller that sends nothing for so long has gone. */
const STALL_MS = 60_000;
/** Of a long upload what came first must not grow old before the last has come. */
const TOUCH_MS = 300_000;

export type PushHandlers = Some<"missingBlobs"> & { readonly push: (caller: Caller, channel: FrameChannel, signal: AbortSignal) => Promise<void> };

/** Images that users bring: which blobs the mesh lacks, and taking these in. */
export function pushHandlers(parts: PushParts): PushHandlers {
  const { library, clock, log } = parts;
  const { blobs } = library;
  let uploads = 0;

  return {
    missingBlobs: async ({ blobs: asked }) => {
      if (asked.length > IMAGE_BLOBS_MAX) throw new CcError("TOO_LARGE", `an image has at most ${IMAGE_BLOBS_MAX} parts`);
      const sizes = new Map<Digest, number>();
      for (const { digest, sizeBytes } of asked) {
        if (!isDigest(digest)) throw new CcError("BAD_REQUEST", "a blob is named by its digest, sha256: and 64 hexadecimal digits");
        if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw new CcError("BAD_REQUEST", "the size of a blob is in whole bytes");
        sizes.set(digest, sizeBytes);
      }
      const here = await blobs.have([...sizes.keys()]);
      // Counted on from now: they stay until the image that they belong to is here.
      await library.touch([...here.keys()]);
      const wanted = [...sizes].filter(([digest]) => !here.has(digest));
      must(admitUpload(await library.unreferenced(), sumOf(wanted.map(([, sizeBytes]) => ({ sizeBytes }))), library.limits));
      const elsewhere = new Set<string>();
      if (wanted.length > 0)
        for (const { digests } of (await whoHas(parts, { digests: wanted.map(([digest]) => digest) })).values())
          for (const digest of digests) elsewhere.add(digest);
      return { missing: wanted.flatMap(([digest]) => (elsewhere.has(digest) ? [] : [digest])) };
    },

    push: async (caller, channel, signal) => {
      if (uploads >= UPLOADS_MAX) throw new CcError("RATE_LIMITED", `this peer takes ${UPLOADS_MAX} uploads at once; try again, or at another peer`);
      uploads += 1;
      try {
        await takeImage(decodeBody(PushRequestSchema, caller.signed.body).image, caller, channel, signal);
      } finally {
        uploads -= 1;
      }
    },
  };

  async function takeImage(image: string, caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void> {
    const { reference, digest } = must(uploadedImage(image));
    // First, while the signature is fresh.
    const promised = await parts.second.promised(image, caller.signed);
    const arrived: Digest[] = [];
    let touchedMs = clock.monotonicMs();
    await readUpload(watched(channel, signal), async (blob, chunks) => {
      must(admitUpload(await library.unreferenced(), sumOf([blob]), library.limits));
      await blobs.receive(blob, touching(chunks), { signal });
      arrived.push(blob.digest);
    });
    await bringImage(parts, digest, signal);
    must(await library.hold(reference));
    const second = await parts.second.copyTo(promised, image, signal);
    log.info({ image: reference, key: caller.keyId, blobs: arrived.length, second }, "an image was brought");
    await channel.send(encodeJsonFrame(Channel.event, { type: "pushed", reference, digest, copies: second === undefined ? 1 : 2 }));
    await channel.send(encodeJsonFrame(Channel.event, { type: "end" }));

    async function* touching(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks) {
        yield chunk;
        if (clock.monotonicMs() - touchedMs < TOUCH_MS) continue;
        touchedMs = clock.monotonicMs();
        await library.touch(arrived);
      }
    }
  }

  /** The caller's frames; their absence ends the upload. */
  async function* watched(channel: FrameChannel, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const stalled = (): void => channel.abort(new CcError("TIMEOUT", `the upload stood still for ${STALL_MS / 1_000} s`));
    let cancel = clock.after(STALL_MS, stalled);
    try {
      for await (const frame of channel.frames()) {
        signal.throwIfAborted();
        cancel();
        yield frame;
        cancel = clock.after(STALL_MS, stalled);
      }
    } finally {
      cancel();
    }
  }
}

import type { StreamOpen } from "../../../../src/api/gen/cc/v1/mesh_pb.ts";
import { Channel, encodeFrame, encodeJsonFrame, FRAME_BYTES_MAX } from "../../../../src/api/index.ts";
import { CcError, type Clock, type PeerId } from "../../../../src/base/index.ts";
import { type Digest, IMAGE_BLOBS_MAX, type ImageLibrary, isDigest } from "../../../../src/images/index.ts";
import type { FrameStream, Mesh } from "../../../../src/mesh/index.ts";

/** Blobs that this host sends at once, to all and to one: each keeps a file open and a few hundred kilobytes. */
const STREAMS_SERVED_MAX = 32;
const STREAMS_PER_PEER_MAX = 8;
const IMAGES_ASKED_MAX = 64;
/** A reader that takes nothing for so long is let go. */
const STALL_MS = 60_000;

/** Serves a stream that another host opened and no user asked for. */
export type PeerStream = (opening: StreamOpen, stream: FrameStream, signal: AbortSignal) => Promise<void>;

/** What this host gives to others of its images. Every member may have every blob. */
export function serveBlobs(parts: { readonly mesh: Mesh; readonly library: ImageLibrary; readonly clock: Clock }): { readonly Blob: PeerStream } {
  const { mesh, library, clock } = parts;
  const serving = new Map<PeerId, number>();

  mesh.handle("haveBlobs", async ({ digests, images }) => {
    const asked = digests.slice(0, IMAGE_BLOBS_MAX).filter(isDigest);
    const here = await library.blobs.have(asked);
    const whole: Digest[] = [];
    for (const root of images.slice(0, IMAGES_ASKED_MAX).filter(isDigest)) if (await library.isWhole(root)) whole.push(root);
    return { digests: [...here.keys()], images: whole };
  });

  return {
    Blob: async ({ blob }, stream, signal) => {
      if (!isDigest(blob)) throw new CcError("BAD_REQUEST", "a blob is asked for by its digest");
      const own = serving.get(stream.peer) ?? 0;
      const all = [...serving.values()].reduce((sum, count) => sum + count, 0);
      if (own >= STREAMS_PER_PEER_MAX || all >= STREAMS_SERVED_MAX) throw new CcError("RATE_LIMITED", "this host sends many blobs already");
      serving.set(stream.peer, own + 1);
      const stalled = (): void => stream.abort(new CcError("TIMEOUT", "nobody takes the blob"));
      let cancel = clock.after(STALL_MS, stalled);
      try {
        for await (const chunk of library.blobs.read(blob)) {
          for (let at = 0; at < chunk.length; at += FRAME_BYTES_MAX) {
            signal.throwIfAborted();
            await stream.send(encodeFrame(Channel.stdout, chunk.subarray(at, at + FRAME_BYTES_MAX)));
            cancel();
            cancel = clock.after(STALL_MS, stalled);
          }
        }
        await stream.send(encodeJsonFrame(Channel.event, { type: "end" }));
      } finally {
        cancel();
        const left = (serving.get(stream.peer) ?? 1) - 1;
        if (left > 0) serving.set(stream.peer, left);
        else serving.delete(stream.peer);
      }
    },
  };
}

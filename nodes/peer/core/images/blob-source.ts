import { create, toBinary } from "@bufbuild/protobuf";
import { StreamOpenSchema } from "../../../../src/api/gen/cc/v1/mesh_pb.ts";
import { Channel, decodeFrame, decodeJson } from "../../../../src/api/index.ts";
import { CcError, type Clock, isErrorCode, type Logger, type PeerId } from "../../../../src/base/index.ts";
import { type BlobSource, type Digest, IMAGE_BLOBS_MAX, isDigest } from "../../../../src/images/index.ts";
import type { CallReply, Mesh } from "../../../../src/mesh/index.ts";

/** As for everything that is asked around: so many hosts, for so long. */
const HOSTS_MAX = 32;
const ASK_MS = 1_000;
const OPEN_MS = 3_000;
/** A host that gives no byte for so long is left for the next one. */
const STALL_MS = 20_000;

export type BlobSourceParts = { readonly mesh: Mesh; readonly reachable: () => readonly PeerId[]; readonly clock: Clock; readonly log: Logger };

/** What each host that can be reached says to one question; who is silent is left out. */
export async function askHosts<T>(
  parts: Pick<BlobSourceParts, "reachable" | "log">,
  ask: (peer: PeerId, timeoutMs: number) => Promise<T>,
): Promise<ReadonlyMap<PeerId, T>> {
  const answers = new Map<PeerId, T>();
  await Promise.all(
    parts
      .reachable()
      .slice(0, HOSTS_MAX)
      .map(async (peer) => {
        try {
          answers.set(peer, await ask(peer, ASK_MS));
        } catch (error) {
          parts.log.debug({ peer, err: error }, "a host did not answer a question about images");
        }
      }),
  );
  return answers;
}

/** Which hosts have which of these blobs, and which of these images whole. */
export function whoHas(
  parts: Pick<BlobSourceParts, "mesh" | "reachable" | "log">,
  asked: { readonly digests?: readonly Digest[]; readonly images?: readonly Digest[] },
): Promise<ReadonlyMap<PeerId, CallReply<"haveBlobs">>> {
  const request = { digests: [...(asked.digests ?? [])].slice(0, IMAGE_BLOBS_MAX), images: [...(asked.images ?? [])] };
  return askHosts(parts, (peer, timeoutMs) => parts.mesh.call(peer, "haveBlobs", request, { timeoutMs }));
}

/** The other hosts of the mesh as a place to get blobs from. */
export function createBlobSource(parts: BlobSourceParts): BlobSource {
  const { mesh, clock } = parts;
  return {
    async offers(digests) {
      const offers = new Map<Digest, PeerId[]>();
      for (const [peer, { digests: had }] of await whoHas(parts, { digests })) {
        for (const digest of had) if (isDigest(digest)) offers.set(digest, [...(offers.get(digest) ?? []), peer]);
      }
      // Each blob begins with another host, so that the first of the list does not serve all.
      let turn = 0;
      for (const [digest, peers] of offers) offers.set(digest, [...peers.slice(turn % peers.length), ...peers.slice(0, turn++ % peers.length)]);
      return offers;
    },

    async *read(from, digest, signal) {
      const opening = toBinary(StreamOpenSchema, create(StreamOpenSchema, { call: "Blob", blob: digest }));
      const stream = await mesh.openStream(from, opening, { timeoutMs: OPEN_MS, signal });
      const giveUp = (reason: unknown) => (): void => stream.abort(reason);
      const stalled = giveUp(new CcError("TIMEOUT", `the host sent nothing for ${STALL_MS / 1_000} s`));
      const onAbort = giveUp(new CcError("CANCELLED", "the blob is no longer wanted"));
      signal.addEventListener("abort", onAbort, { once: true });
      let cancel = clock.after(STALL_MS, stalled);
      try {
        for await (const bytes of stream.frames()) {
          cancel();
          const { channel, payload } = decodeFrame(bytes);
          if (channel === Channel.event) return mustBeEnd(decodeJson(payload));
          // The disk may be slow here; only the other host's silence counts.
          if (channel === Channel.stdout) yield payload;
          cancel = clock.after(STALL_MS, stalled);
        }
        throw new CcError("PEER_UNREACHABLE", "the stream ended before the blob");
      } finally {
        cancel();
        signal.removeEventListener("abort", onAbort);
        stream.abort(new Error("the blob was read"));
      }
    },
  };
}

function mustBeEnd(event: Readonly<Record<string, unknown>>): void {
  if (event["type"] === "end") return;
  const { code, message } = event;
  throw new CcError(typeof code === "string" && isErrorCode(code) ? code : "PEER_UNREACHABLE", typeof message === "string" ? message : "the host gave no blob");
}

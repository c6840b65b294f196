import { createHash } from "node:crypto";
import { PushRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import type { SignedRequest } from "../../../../src/api/gen/cc/v1/records_pb.ts";
import { decodeBody } from "../../../../src/api/index.ts";
import { asCcError, CcError, type Clock, type PeerId, type Result, refuse } from "../../../../src/base/index.ts";
import { type Digest, formatImageReference, isMeshReference, parseImageReference } from "../../../../src/images/index.ts";
import type { Mesh } from "../../../../src/mesh/index.ts";
import { must } from "../../must.ts";
import type { Authenticator } from "../authenticate.ts";
import { whoHas } from "./blob-source.ts";
import { type BringParts, bringImage } from "./bring-image.ts";

export type SecondHostParts = BringParts & {
  readonly mesh: Mesh;
  readonly reachable: () => readonly PeerId[];
  readonly clock: Clock;
  readonly authenticator: Authenticator;
  /** Uploaded images that a live container names, by this host's own records. */
  readonly named: () => ReadonlySet<Digest>;
};

/** Hosts that promise, at the beginning of an upload, to hold it: one does, the others stand in when it is lost. */
const PROMISES_MAX = 3;
const PROMISE_MS = 2_000;
/** An upload over a slow line takes hours; its signature is good for minutes. */
const PROMISE_KEPT_MS = 6 * 3_600_000;
const PROMISES_KEPT_MAX = 1_024;
/** Between two hosts; the largest images of a slow network. */
const FETCH_MS = 1_800_000;

export type SecondHost = {
  /** Shows hosts the user's signed push, as long as its signature is fresh. Gives those that will hold the image. */
  promised(image: string, request: SignedRequest): Promise<readonly PeerId[]>;
  /** Has one of these hosts hold the image that is whole here. Gives it; undefined: none could. */
  copyTo(hosts: readonly PeerId[], image: string, signal: AbortSignal): Promise<PeerId | undefined>;
  /** Reachable hosts in the order in which they are asked for this image. */
  order(root: Digest): readonly PeerId[];
};

/** `mesh/NAME@sha256:...`, or why it is none. */
export function uploadedImage(text: string): Result<{ readonly reference: string; readonly digest: Digest }> {
  const parsed = parseImageReference(text);
  if (!parsed.ok) return parsed;
  if (!isMeshReference(parsed.value))
    return refuse("BAD_IMAGE_REFERENCE", "an image that is brought is named mesh/NAME@sha256:... by the digest of its manifest");
  return { ok: true, value: { reference: formatImageReference(parsed.value), digest: parsed.value.digest } };
}

/**
 * Uploaded images lie on two hosts. A host holds one on a user's own signature (it is shown the push when that begins), or
 * because a live container of its own records names it: never on another host's word alone.
 */
export function createSecondHost(parts: SecondHostParts): SecondHost {
  const { mesh, library, clock } = parts;
  const promises = new Map<string, number>();

  const remember = (key: string): void => {
    const nowMs = clock.monotonicMs();
    for (const [old, atMs] of promises) if (nowMs - atMs > PROMISE_KEPT_MS) promises.delete(old);
    if (promises.size >= PROMISES_KEPT_MAX) throw new CcError("RATE_LIMITED", "this host has promised to hold many uploads already");
    promises.set(key, nowMs);
  };
  const isPromised = (key: string): boolean => clock.monotonicMs() - (promises.get(key) ?? Number.NEGATIVE_INFINITY) <= PROMISE_KEPT_MS;

  mesh.handle("holdImage", async ({ image, request, fetch }, from, signal) => {
    const { reference, digest } = must(uploadedImage(image));
    if (request !== undefined) {
      const caller = await parts.authenticator.passedOn("Push", request, from, "hold", digest);
      if (decodeBody(PushRequestSchema, caller.signed.body).image !== image) throw new CcError("UNAUTHENTICATED", "the push was signed for another image");
      remember(`${from} ${reference}`);
    } else if (!isPromised(`${from} ${reference}`) && !parts.named().has(digest)) {
      throw new CcError("FORBIDDEN", "no user asked this host to hold the image, and no container that it knows of names it");
    }
    if (!fetch) return { whole: await library.isWhole(digest) };
    await bringImage(parts, digest, signal);
    must(await library.hold(reference));
    return { whole: true };
  });

  const order = (root: Digest): readonly PeerId[] => {
    const rank = (peer: PeerId): string => createHash("sha256").update(`${root} ${peer}`).digest("hex");
    return [...parts.reachable()]
      .map((peer) => ({ peer, at: rank(peer) }))
      .sort((a, b) => (a.at < b.at ? -1 : 1))
      .map(({ peer }) => peer);
  };

  return {
    order,
    async promised(image, request) {
      const { digest } = must(uploadedImage(image));
      // Who has it whole needs no second transfer.
      const whole = new Set([...(await whoHas(parts, { images: [digest] }))].flatMap(([peer, { images }]) => (images.includes(digest) ? [peer] : [])));
      const asked = order(digest)
        .toSorted((a, b) => Number(whole.has(b)) - Number(whole.has(a)))
        .slice(0, PROMISES_MAX);
      const answers = await Promise.all(
        asked.map(async (peer) => {
          try {
            await mesh.call(peer, "holdImage", { image, request, fetch: false }, { timeoutMs: PROMISE_MS });
            return [peer];
          } catch (error) {
            parts.log.warn({ peer, err: error }, "a host does not promise to hold an upload");
            return [];
          }
        }),
      );
      return answers.flat();
    },

    async copyTo(hosts, image, signal) {
      for (const peer of hosts) {
        try {
          await mesh.call(peer, "holdImage", { image, fetch: true }, { timeoutMs: FETCH_MS, signal });
          return peer;
        } catch (error) {
          signal.throwIfAborted();
          parts.log.warn({ peer, image, code: asCcError(error).code, err: error }, "a host could not hold an uploaded image");
        }
      }
      return undefined;
    },
  };
}

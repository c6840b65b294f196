import { createHash } from "node:crypto";
import { base32, ok, type Result, refuse } from "../base/index.ts";
import type { Descriptor, Manifest } from "./manifest.ts";
import type { Digest } from "./reference.ts";

export type LayerPlan = {
  readonly blob: Descriptor;
  readonly diffId: Digest;
  /** Under which it is here already; else undefined. */
  readonly key: Digest | undefined;
  /** Its key if it turns out to need something of the layers below it: then it is another one on top of others. */
  readonly boundKey: Digest;
};

/** What has to be done for an image to be here. */
export type PullPlan = {
  /** The image's layers as an overlay stacks them, lowest first, none twice. */
  readonly layers: readonly LayerPlan[];
  /** Compressed bytes of what is missing. */
  readonly fetchBytes: number;
};

/** The layer of nothing: an image without layers still needs a lower directory. Its digest is that of an empty tar archive. */
export const EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef" as Digest;

/** `isHere` says which keys of layers are on this host. */
export function planPull(image: Extract<Manifest, { kind: "image" }>, diffIds: readonly Digest[], isHere: (key: Digest) => boolean): Result<PullPlan> {
  if (diffIds.length !== image.layers.length) {
    return refuse("IMAGE_PULL_FAILED", `the image contradicts itself: ${image.layers.length} layers in its manifest, ${diffIds.length} in its configuration`);
  }
  const layers = image.layers.flatMap((blob, at): LayerPlan[] => {
    const diffId = diffIds[at];
    // A layer that comes again higher up hides all that its lower self gave, and an overlay refuses the same folder twice.
    if (diffId === undefined || diffIds.lastIndexOf(diffId) !== at) return [];
    return [{ blob, diffId, key: keyOfLayer(diffIds.slice(0, at + 1), isHere), boundKey: boundKey(diffIds.slice(0, at + 1)) }];
  });
  const blobs = new Map(layers.flatMap(({ blob, key }) => (key === undefined ? [[blob.digest, blob.sizeBytes] as const] : [])));
  return ok({ layers, fetchBytes: [...blobs.values()].reduce((sum, size) => sum + size, 0) });
}

/** Under which key the last of these layers is here, on top of the others. */
export function keyOfLayer(diffIds: readonly (Digest | undefined)[], isHere: (key: Digest) => boolean): Digest | undefined {
  const own = diffIds[diffIds.length - 1];
  if (own === undefined) return undefined;
  if (isHere(own)) return own;
  const known = diffIds.flatMap((diffId) => diffId ?? []);
  if (known.length < diffIds.length) return undefined;
  const bound = boundKey(known);
  return isHere(bound) ? bound : undefined;
}

/** The key of a layer that takes something from the layers below it. */
export function boundKey(diffIds: readonly Digest[]): Digest {
  return `sha256:${createHash("sha256")
    .update(["bound", ...diffIds].join("\n"))
    .digest("hex")}` as Digest;
}

const SHORT_BYTES = 15;

/**
 * The name of a layer's folder by its key: 24 characters (120 bits of the digest's hash), because the names of all layers have to
 * fit into a page of mount options, and no two that anybody can make are the same.
 */
export function layerFolder(key: Digest): string {
  return base32(createHash("sha256").update(key).digest().subarray(0, SHORT_BYTES));
}

import { createHash } from "node:crypto";
import { base32, ok, type Result, refuse } from "../base/index.ts";
import type { Descriptor, Manifest } from "./manifest.ts";
import type { Digest } from "./reference.ts";

export type LayerPlan = { readonly blob: Descriptor; readonly diffId: Digest };

/** What has to be done for an image to be here. */
export type PullPlan = {
  /** Layers to unpack, lowest first, none twice. */
  readonly missing: readonly LayerPlan[];
  /** The image's layers as an overlay stacks them, lowest first, none twice. */
  readonly stack: readonly Digest[];
  /** Compressed bytes of what is missing. */
  readonly fetchBytes: number;
};

/** The layer of nothing: an image without layers still needs a lower directory. Its digest is that of an empty tar archive. */
export const EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef" as Digest;

/** `isHere` says which layers are unpacked on this host. */
export function planPull(image: Extract<Manifest, { kind: "image" }>, diffIds: readonly Digest[], isHere: (diffId: Digest) => boolean): Result<PullPlan> {
  if (diffIds.length !== image.layers.length) {
    return refuse("IMAGE_PULL_FAILED", `the image contradicts itself: ${image.layers.length} layers in its manifest, ${diffIds.length} in its configuration`);
  }
  const layers = image.layers.flatMap((blob, at): LayerPlan[] => {
    const diffId = diffIds[at];
    return diffId === undefined ? [] : [{ blob, diffId }];
  });
  const missing = new Map<Digest, LayerPlan>();
  for (const layer of layers) if (!isHere(layer.diffId) && !missing.has(layer.diffId)) missing.set(layer.diffId, layer);
  const blobs = new Map([...missing.values()].map(({ blob }) => [blob.digest, blob.sizeBytes]));
  return ok({ missing: [...missing.values()], stack: stackOf(diffIds), fetchBytes: [...blobs.values()].reduce((sum, size) => sum + size, 0) });
}

/**
 * An overlay refuses the same directory twice. A layer that comes again higher up hides all that its lower self gave,
 * so the highest one is enough.
 */
export function stackOf(diffIds: readonly Digest[]): readonly Digest[] {
  if (diffIds.length === 0) return [EMPTY_LAYER];
  return diffIds.filter((diffId, at) => diffIds.lastIndexOf(diffId) === at);
}

const SHORT_BYTES = 15;

/**
 * The name of a layer's folder: 24 characters (120 bits of the digest's hash), because the names of all layers have to
 * fit into a page of mount options, and no two that anybody can make are the same.
 */
export function layerFolder(diffId: Digest): string {
  return base32(createHash("sha256").update(diffId).digest().subarray(0, SHORT_BYTES));
}

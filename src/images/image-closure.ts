import { ok, type Result, refuse } from "../base/index.ts";
import type { BlobWanted } from "./blob-store.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import type { Digest } from "./reference.ts";

/** Blobs of one image or index: what one question between hosts names at most. */
export const IMAGE_BLOBS_MAX = 1_024;

/** What an image consists of, its manifests included. `grows`: an index, whose further images may come here later. */
export type Closure = { readonly blobs: readonly BlobWanted[]; readonly grows: boolean };

type ImageManifest = Extract<Manifest, { kind: "image" }>;

/** Configuration and layers of one manifest, each once. */
function partsOf({ config, layers }: ImageManifest): readonly BlobWanted[] {
  return [...new Map([config, ...layers].map(({ digest, sizeBytes }) => [digest, { digest, sizeBytes }])).values()];
}

/**
 * All blobs of the image or index `root`, as its manifests here say. Of an index the images that are not here count as none of
 * it, as long as one is: people push what they have built, not every platform that its base has; nor do signatures and
 * attestations. Refuses what is no image: IMAGE_NOT_FOUND where a manifest is not here.
 */
export async function closureOf(root: Digest, text: (digest: Digest) => Promise<string | undefined>): Promise<Result<Closure>> {
  const rootText = await text(root);
  if (rootText === undefined) return refuse("IMAGE_NOT_FOUND", `the image ${root} is not here`);
  const manifest = parseManifest(rootText);
  if (!manifest.ok) return manifest;
  const blobs = new Map<Digest, BlobWanted>([[root, { digest: root, sizeBytes: Buffer.byteLength(rootText) }]]);
  if (manifest.value.kind === "image") for (const part of partsOf(manifest.value)) blobs.set(part.digest, part);
  else {
    for (const { descriptor } of manifest.value.entries) {
      const child = await text(descriptor.digest);
      const image = child === undefined ? undefined : parseManifest(child);
      if (child === undefined || image?.ok !== true || image.value.kind === "index") continue;
      blobs.set(descriptor.digest, { digest: descriptor.digest, sizeBytes: Buffer.byteLength(child) });
      for (const part of partsOf(image.value)) blobs.set(part.digest, part);
    }
  }
  if (blobs.size > IMAGE_BLOBS_MAX) return refuse("TOO_LARGE", `the image consists of ${blobs.size} parts, at most ${IMAGE_BLOBS_MAX} are allowed`);
  if (blobs.size === 1) return refuse("IMAGE_NOT_FOUND", `none of the images that the index ${root} names is here`);
  return ok({ blobs: [...blobs.values()], grows: manifest.value.kind === "index" });
}

import { CcError, type Logger } from "../../../../src/base/index.ts";
import {
  admitUpload,
  type BlobSource,
  type BlobWanted,
  closureOf,
  type Digest,
  fetchBlobs,
  type ImageLibrary,
  parseManifest,
} from "../../../../src/images/index.ts";
import { must } from "../../must.ts";

export type BringParts = { readonly library: ImageLibrary; readonly source: BlobSource; readonly log: Logger };

/**
 * Brings all blobs of an image or index here from hosts that have them. Its manifests come first: they say what belongs to
 * it, and whether there is room. Throws IMAGE_NOT_FOUND where a part is on no host that can be reached, NO_ROOM, and what
 * is wrong with the image.
 */
export async function bringImage(parts: BringParts, root: Digest, signal: AbortSignal): Promise<void> {
  const { library } = parts;
  const { blobs } = library;
  const tools = { ...parts, blobs };
  await fetchBlobs(tools, [{ digest: root, sizeBytes: undefined }], { signal });
  const text = await blobs.text(root);
  if (text === undefined) throw incomplete(root);
  const manifest = must(parseManifest(text));
  // Images for platforms that nobody built are on no host: what they lack is judged with the closure.
  if (manifest.kind === "index") await fetchBlobs(tools, wantedManifests(manifest.entries), { signal });
  const closure = must(await closureOf(root, (digest) => blobs.text(digest)));
  const here = await blobs.have(closure.blobs.map(({ digest }) => digest));
  const missing = closure.blobs.filter(({ digest }) => !here.has(digest));
  if (missing.length === 0) return library.touch([...here.keys()]);
  must(admitUpload(await library.unreferenced(), sumOf(missing), library.limits));
  const [failed] = await fetchBlobs(tools, missing, { signal });
  if (failed !== undefined) throw incomplete(failed);
}

const wantedManifests = (entries: readonly { readonly descriptor: BlobWanted }[]): readonly BlobWanted[] => entries.map(({ descriptor }) => descriptor);

export function sumOf(blobs: readonly { readonly sizeBytes: number | undefined }[]): { readonly bytes: number; readonly blobs: number } {
  return { bytes: blobs.reduce((sum, { sizeBytes }) => sum + (sizeBytes ?? 0), 0), blobs: blobs.length };
}

function incomplete(digest: Digest): CcError {
  return new CcError("IMAGE_NOT_FOUND", `the image is not whole: ${digest} is on no host that can be reached; push it again`);
}

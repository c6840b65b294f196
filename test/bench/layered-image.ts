import { createHash } from "node:crypto";
import { busyboxImage, type LayerSource, type TarEntry, writeOciLayout } from "../host/images/oci-layout.ts";

const LAYERS = 5;
const FILES_PER_LAYER = 2_000;
/** In turns: most files are small, most bytes are in large ones. */
const FILE_BYTES = [1, 1, 2, 2, 4, 4, 8, 8, 16, 200].map((kilobytes) => kilobytes * 1024);
/** Of each file: what does not compress, as in programs; the rest does, as in texts. */
const DENSE_PART = 0.42;

/** An image as one pulls them every day: five layers, 10,000 files and 1,000 links, 250 MB that compress to 100. The same bytes every time for a tag, and others for another. */
export async function writeLayeredImage(folder: string, tag: string): Promise<{ readonly compressedBytes: number; readonly unpackedBytes: number }> {
  const layers = Array.from({ length: LAYERS }, (_, layer): LayerSource => ({ entries: layerEntries(`${tag}/${layer}`, layer) }));
  const image = await busyboxImage({ layers });
  await writeOciLayout(folder, image, tag);
  const compressedBytes = [...image.blobs.values()].reduce((sum, blob) => sum + blob.length, 0);
  return { compressedBytes, unpackedBytes: (LAYERS * FILES_PER_LAYER * FILE_BYTES.reduce((sum, bytes) => sum + bytes, 0)) / FILE_BYTES.length };
}

function layerEntries(seed: string, layer: number): TarEntry[] {
  const entries: TarEntry[] = [
    { path: "opt", type: "dir" },
    { path: `opt/part-${layer}`, type: "dir" },
  ];
  for (let file = 0; file < FILES_PER_LAYER; file += 1) {
    const folder = `opt/part-${layer}/${Math.floor(file / 100)}`;
    if (file % 100 === 0) entries.push({ path: folder, type: "dir" });
    entries.push({ path: `${folder}/file-${file}`, data: content(`${seed}/${file}`, FILE_BYTES[file % FILE_BYTES.length] ?? 0) });
    if (file % 10 === 0) entries.push({ path: `${folder}/link-${file}`, type: "symlink", link: `file-${file}` });
  }
  return entries;
}

function content(seed: string, bytes: number): Buffer {
  // An extendable hash: as many bytes as asked for, that do not compress.
  const dense = createHash("shake256", { outputLength: Math.floor(bytes * DENSE_PART) })
    .update(seed)
    .digest();
  return Buffer.concat([dense, Buffer.alloc(bytes - dense.length, `a line of text of ${seed}\n`)]);
}

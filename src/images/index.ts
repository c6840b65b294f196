/**
 * Images on this host: what a reference means, which of a registry's images runs here, what is missing, and the store
 * that fetches and unpacks it.
 *
 * How it works: skopeo asks the registry (its own files give mirrors, policy and trusted certificates), first for the
 * manifest, then at once for the configuration and the layers. Layers land in a folder of the pull; as soon as one is
 * complete, a process of its own decompresses, hashes and unpacks it, two or more at a time. There the archive, of which
 * nothing is trusted, passes a gate (`layer-gate.ts`): a pure decision that reads it entry by entry, follows links as
 * inside the image, and writes it anew for tar, which works inside the containers' user namespace. Markers become
 * whiteouts of overlayfs. A layer that takes something from those below it (a hard link to a lower file, a folder that it does
 * not name) gets it once they are there (`bind-layer.ts`). When all are there, they are written to the disk, renamed to
 * `l/SHORT`, and only then a record says that the image is here; a pull that dies before leaves its own folder
 * and unnamed layers, which `sweep` removes. Layers that are known already lie as empty files where skopeo would
 * put them, so it passes them over. Records are in memory: `local` costs no system call.
 *
 * A layer's key is the digest of its uncompressed archive; of one that takes something from below, a hash of that and of
 * the digests of all layers below it, since on top of others it is another one.
 *
 * Around the store stands what makes a host's images everybody's: blobs by digest (`b/HEX`, uploads and what pulls brought), a
 * registry client that looks at this host and then at other hosts before it asks the registry, and the library: what is
 * kept under which name, how much of it nobody needs, what goes. Blobs are checked while they come, whoever gives them.
 *
 * Rejected: umoci (fails on zstd, single-threaded), containers/storage (a second store with its own locks), tar on the
 * archive as it comes (it reads names, links and types in its own way, and hostile archives are made for the difference;
 * it knows no lower layers), writing the files ourselves (Node sets no attributes), keying by compressed digest (the same
 * layer arrives compressed in several ways), trusting a configuration's layer digests (an image could pass its layer off
 * as another's), the `dir:` destination (it empties its folder, so nothing can be passed over), speaking to registries
 * ourselves (mirrors, tokens and policies would have to be made again).
 */
export type { BlobSource, BlobStore, BlobWanted } from "./blob-store.ts";
export { createImageStore, type HostImageStore, type ImageStoreInit } from "./drivers/image-store.ts";
export { type BlobTools, fetchBlobs } from "./fetch-blob.ts";
export { type Closure, closureOf, IMAGE_BLOBS_MAX } from "./image-closure.ts";
export type { ImageLibrary, ImageNeeds, KeptImage, SharedImages } from "./image-library.ts";
export * from "./image-store.ts";
export { parseManifest } from "./manifest.ts";
export { type Digest, formatImageReference, type ImageReference, isDigest, isMeshReference, parseImageReference } from "./reference.ts";
export { admitUpload, UNREFERENCED_UPLOAD_BYTES_MAX } from "./upload-quota.ts";

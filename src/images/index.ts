/**
 * Images on this host: what a reference means, which of a registry's images runs here, what is missing, and the store
 * that fetches and unpacks it.
 *
 * How it works: skopeo asks the registry (its own files give mirrors, policy and trusted certificates), first for the
 * manifest, then at once for the configuration and the layers. Layers land in a folder of the pull; each is
 * decompressed, hashed and unpacked by tar inside the containers' user namespace as soon as it is complete, two or more
 * at a time. When all are there, they are written to the disk, renamed to `l/SHORT`, keyed by the digest of the
 * uncompressed layer, and only then a record says that the image is here; a pull that dies before leaves its own folder
 * and unnamed layers, which `sweep` removes. Layers that are known already lie as empty files where skopeo would
 * put them, so it passes them over. Records are in memory: `local` costs no system call.
 *
 * Rejected: umoci (fails on zstd, single-threaded), containers/storage (a second store with its own locks), keying by
 * compressed digest (the same layer arrives compressed in several ways), trusting a configuration's layer digests
 * (an image could pass its layer off as another's), the `dir:` destination (it empties its folder, so nothing can be
 * passed over), speaking to registries ourselves (mirrors, tokens and policies would have to be made again).
 */
export { createImageStore, type HostImageStore, type ImageStoreInit } from "./drivers/image-store.ts";
export * from "./image-store.ts";
export { type ImageReference, parseImageReference } from "./reference.ts";

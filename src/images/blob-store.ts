import type { PeerId } from "../base/index.ts";
import type { Digest } from "./reference.ts";

/** A blob as it is asked for. `sizeBytes` undefined: a manifest, of which only the digest is known; it has at most what a manifest may have. */
export type BlobWanted = { readonly digest: Digest; readonly sizeBytes: number | undefined };

export type ReceiveOptions = {
  readonly signal: AbortSignal;
  /** Where the bytes lie until they are whole, on the store's file system; default: a folder that is emptied at start. */
  readonly folder?: string;
};

/** Compressed layers, configurations and manifests on this host, by digest: what one host gives to another. */
export interface BlobStore {
  /** Bytes of those that are here, whole and checked. */
  have(digests: readonly Digest[]): Promise<ReadonlyMap<Digest, number>>;
  /** A manifest or configuration; undefined: not here, or too large to be one. */
  text(digest: Digest): Promise<string | undefined>;
  /** Its bytes. Throws NOT_FOUND. What is removed meanwhile is still read to its end. */
  read(digest: Digest): AsyncIterable<Uint8Array>;
  /**
   * Takes a blob in, hashing it while it comes: neither size nor digest is believed. On the disk when this resolves; when
   * it throws, nothing is left. Throws BAD_REQUEST (not what its digest or size says), NO_ROOM, or what `chunks` throws.
   */
  receive(blob: BlobWanted, chunks: AsyncIterable<Uint8Array>, options: ReceiveOptions): Promise<void>;
}

/** Other hosts as a place to get blobs from: a port, which the peer fills with its network. Digests are checked here, so any host may serve. */
export interface BlobSource {
  /** Which hosts say that they have which of these; the nearest first. Hosts that are silent are left out. */
  offers(digests: readonly Digest[], signal: AbortSignal): Promise<ReadonlyMap<Digest, readonly PeerId[]>>;
  /** The blob's bytes as that host gives them. Throws CcError when it does not, or stops giving. */
  read(from: PeerId, digest: Digest, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

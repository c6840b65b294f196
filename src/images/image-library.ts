import type { Result } from "../base/index.ts";
import type { BlobStore } from "./blob-store.ts";
import type { ImageStore } from "./image-store.ts";
import type { CollectionLimits } from "./plan-collection.ts";
import type { Digest } from "./reference.ts";
import type { UnreferencedUploads, UploadLimits } from "./upload-quota.ts";

/** An image on this host: unpacked, uploaded, or both. */
export type KeptImage = {
  readonly digest: Digest;
  /** Complete; none: only its digest is known. */
  readonly references: readonly string[];
  /** Unpacked layers and kept blobs. */
  readonly sizeBytes: number;
  /** Wall clock. */
  readonly lastUsedMs: number;
};

/** What must stay here, as records say. */
export type ImageNeeds = {
  /** Images of this host's containers: complete references, and manifests' digests where they are known. */
  readonly references: ReadonlySet<string>;
  readonly digests: ReadonlySet<Digest>;
  /** Uploaded images that a live container anywhere names. */
  readonly uploads: ReadonlySet<Digest>;
  /** Something runs here that no record asks for, of which nobody knows the image: nothing that is unpacked goes. */
  readonly unknown: boolean;
};

/** The images of this host as a shared thing: uploads, blobs for others, what may go. */
export interface ImageLibrary {
  readonly blobs: BlobStore;
  readonly limits: UploadLimits & CollectionLimits;
  /** What lies here that no image and no container needs, as far as known since the last `collect`; also what is on its way. */
  unreferenced(): Promise<UnreferencedUploads>;
  /** Blobs that a caller counts on stay for another hour. */
  touch(digests: readonly Digest[]): Promise<void>;
  /** The uploaded image `mesh/NAME@sha256:...`, all of whose blobs are here, is kept under its name. Durable when this resolves. */
  hold(reference: string): Promise<Result<undefined>>;
  /** Whether all that the manifest or index names is here. */
  isWhole(root: Digest): Promise<boolean>;
  list(): Promise<readonly KeptImage[]>;
  /** Forgets images, by any digest that `list` gives. Room is given back at once, or when pulls under way have ended. */
  remove(digests: readonly Digest[]): Promise<void>;
  /** Removes what nobody needs and is too old, or too much. Applying it twice changes nothing. Gives the digests of the images that went. */
  collect(needs: ImageNeeds): Promise<readonly Digest[]>;
}

/** The images of a host, for its containers and for everybody else. */
export type SharedImages = ImageStore & { readonly library: ImageLibrary };

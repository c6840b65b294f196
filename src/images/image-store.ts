/** An image that is unpacked on this host. Paths are absolute; `layers` lowest first, each a directory fit as an overlay lower layer. */
export type ImageOnHost = {
  /** `sha256:...` of the manifest for this platform. */
  readonly digest: string;
  readonly reference: string;
  readonly layers: readonly string[];
  readonly config: ImageConfig;
  readonly sizeBytes: number;
};

/** The parts of the OCI image configuration that a container is made from. */
export type ImageConfig = {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly user: string;
  readonly workingDir: string;
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
};

export type PullProgress =
  | { readonly step: "resolving" }
  | { readonly step: "fetching"; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly step: "unpacking"; readonly layer: number; readonly layers: number };

export type PullOptions = {
  readonly credentials?: { readonly user: string; readonly password: string };
  /** Run exactly this manifest, whatever the tag says now: moves and restarts use the first holder's. */
  readonly digest?: string;
  readonly onProgress?: (progress: PullProgress) => void;
  readonly signal: AbortSignal;
};

/**
 * Images on this host: the driver interface (skopeo and tar; a fake in the simulator).
 */
export interface ImageStore {
  /** The image if it is here, whole, without asking any registry. */
  local(reference: string, digest?: string): Promise<ImageOnHost | undefined>;
  /**
   * Brings the image here. Calls for the same image share the work. Aborting the last caller stops and cleans up.
   * Throws CcError: BAD_IMAGE_REFERENCE, IMAGE_NOT_FOUND, IMAGE_DENIED, REGISTRY_UNREACHABLE, IMAGE_PULL_FAILED, NO_ROOM.
   */
  pull(reference: string, options: PullOptions): Promise<ImageOnHost>;
  list(): Promise<readonly ImageOnHost[]>;
}

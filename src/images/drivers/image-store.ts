import { createHash } from "node:crypto";
import { mkdir, statfs } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { base32, CcError, type Clock, type Logger } from "../../base/index.ts";
import { errorCode, type StreamingCommandRunner, type UserNamespacePin } from "../../host/index.ts";
import type { BlobSource } from "../blob-store.ts";
import type { ImageLibrary } from "../image-library.ts";
import type { ImageOnHost, ImageStore, PullOptions, PullProgress } from "../image-store.ts";
import { type Manifest, parseManifest } from "../manifest.ts";
import { choosePlatform, platformOf } from "../platform.ts";
import { type Digest, formatImageReference, type ImageReference, isDigest, parseImageReference } from "../reference.ts";
import { SharedWork } from "../shared-work.ts";
import { UNREFERENCED_UPLOAD_BLOBS_MAX, UNREFERENCED_UPLOAD_BYTES_MAX } from "../upload-quota.ts";
import { BlobShelf } from "./blob-shelf.ts";
import { type FetchTools, fetchImage } from "./fetch-image.ts";
import { createImageLibrary } from "./image-library.ts";
import { ImageShelf, removeTree } from "./image-shelf.ts";
import { createMeshRegistry } from "./mesh-registry.ts";
import { createSkopeo, type RegistryCredentials, type RegistrySession, type SkopeoInit } from "./skopeo.ts";
import { valueOf } from "./value-of.ts";

export type ImageStoreInit = Omit<SkopeoInit, "commands"> & {
  /** Images and layers, kept. Everything that the store writes is below `dataDir` and `runDir`. */
  readonly dataDir: string;
  /** The user namespace that layers are unpacked in. */
  readonly pin: UserNamespacePin;
  readonly commands: StreamingCommandRunner;
  readonly clock: Clock;
  readonly log: Logger;
  /** Layers unpacked at the same time; default: one a processor, at most 4. */
  readonly unpacks?: number;
  /** Bytes that a pull leaves free on the disk; default 256 MiB. */
  readonly freeBytesMin?: number;
  /** What an image may have: bytes of its layers uncompressed, and files. Default: 128 GiB, a million. */
  readonly imageBytesMax?: number;
  readonly imageFilesMax?: number;
  /** As `process.arch`. */
  readonly nodeArch?: string;
  /** Other hosts, where blobs are looked for before a registry is asked; default: there are none. */
  readonly source?: BlobSource;
  /** Default: never. */
  readonly unusedMsMax?: number;
  /** Of all that is kept here, unpacked and packed; default: no limit. */
  readonly bytesMax?: number;
  /** Of uploads that no container uses; default 32 GiB. */
  readonly uploadBytesMax?: number;
};

export interface HostImageStore extends ImageStore {
  /** The same images, as other hosts and users see them. */
  readonly library: ImageLibrary;
  /** Removes what pulls that were cut short (also by kill -9 or a power cut) left behind. To be called at start. */
  sweep(): Promise<void>;
}

const UNPACKS_MAX = 4;
const FREE_BYTES_MIN = 256 * 1024 * 1024;
/** The largest images that people run, those with models in them, have some tens of GiB. */
const IMAGE_BYTES_MAX = 128 * 1024 ** 3;
/** A large desktop has half of it; each is an inode of the host, of which ext4 has 65,536 a GiB. */
const IMAGE_FILES_MAX = 1_000_000;
const NO_HOSTS: BlobSource = {
  offers: async () => new Map(),
  read: () => {
    throw new CcError("PEER_UNREACHABLE", "there is no other host");
  },
};

/** The real image store: skopeo fetches, tar unpacks inside the containers' user namespace. */
export function createImageStore(init: ImageStoreInit): HostImageStore {
  const { dataDir, pin, commands, clock, random, log } = init;
  const shelf = new ImageShelf({ dataDir, commands, log, uidMap: pin.uidMap, gidMap: pin.gidMap });
  const freeBytesMin = init.freeBytesMin ?? FREE_BYTES_MIN;
  const blobs = new BlobShelf({ dataDir, clock, random, freeBytes: () => freeBytesAt(dataDir), freeBytesMin });
  const registry = createMeshRegistry({ registry: createSkopeo(init), shelf: blobs, source: init.source ?? NO_HOSTS, log });
  const tools: FetchTools = {
    clock,
    pin,
    shelf,
    platform: platformOf(init.nodeArch ?? process.arch),
    unpacks: init.unpacks ?? Math.min(UNPACKS_MAX, availableParallelism()),
    freeBytesMin,
    imageBytesMax: init.imageBytesMax ?? IMAGE_BYTES_MAX,
    imageFilesMax: init.imageFilesMax ?? IMAGE_FILES_MAX,
  };
  const pulls = new SharedWork<ImageOnHost, PullProgress>();
  const fetches = new SharedWork<void, PullProgress>();
  /** Names in the pulls' folder that are being worked on. */
  const active = new Set<string>();
  const library = createImageLibrary({
    dataDir,
    shelf,
    blobs,
    limits: {
      unusedMsMax: init.unusedMsMax ?? Number.POSITIVE_INFINITY,
      bytesMax: init.bytesMax ?? Number.POSITIVE_INFINITY,
      uploadBytesMax: init.uploadBytesMax ?? UNREFERENCED_UPLOAD_BYTES_MAX,
      uploadBlobsMax: UNREFERENCED_UPLOAD_BLOBS_MAX,
    },
    sweep: () => shelf.sweep(active),
    clock,
    log,
  });

  function lookUp(wanted: ImageReference): ImageOnHost | undefined {
    const name = formatImageReference(wanted);
    const digest = shelf.resolve(name) ?? wanted.digest;
    return digest === undefined ? undefined : used(shelf.image(digest, name));
  }

  function used(image: ImageOnHost | undefined): ImageOnHost | undefined {
    if (image !== undefined && isDigest(image.digest))
      shelf.use(image.digest, clock.nowMs()).catch((error: unknown) => log.warn({ err: error }, "the use of an image could not be noted"));
    return image;
  }

  async function pullOnce(
    wanted: ImageReference,
    credentials: RegistryCredentials | undefined,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<ImageOnHost> {
    report({ step: "resolving" });
    const name = formatImageReference(wanted);
    const session = await registry.open(wanted, credentials);
    try {
      const found = await findManifest(session, wanted, signal);
      const exact = { ...wanted, tag: undefined, digest: found.digest };
      if (shelf.image(found.digest, name) === undefined) {
        const manifest = found.manifest ?? (await imageManifest(session, exact, signal));
        await fetches.join(formatImageReference(exact), { signal, onProgress: report }, (fetchSignal, tell) =>
          fetchAndCommit(exact, manifest, credentials, name, fetchSignal, tell),
        );
      }
      await shelf.point(name, found.digest);
      const image = shelf.image(found.digest, name);
      if (image === undefined) throw new CcError("INTERNAL", `${name} was pulled and is not here`);
      return image;
    } finally {
      await session.close();
    }
  }

  /** Which image a reference means on this host; its manifest too, where it did not take another question. */
  async function findManifest(
    session: RegistrySession,
    wanted: ImageReference,
    signal: AbortSignal,
  ): Promise<{ digest: Digest; manifest: Extract<Manifest, { kind: "image" }> | undefined }> {
    const { digest, manifest } = await checkedManifest(session, wanted, signal);
    if (manifest.kind === "image") return { digest, manifest };
    return { digest: valueOf(choosePlatform(manifest, tools.platform)).digest, manifest: undefined };
  }

  async function imageManifest(session: RegistrySession, exact: ImageReference, signal: AbortSignal): Promise<Extract<Manifest, { kind: "image" }>> {
    const { manifest } = await checkedManifest(session, exact, signal);
    if (manifest.kind === "image") return manifest;
    throw new CcError("IMAGE_PULL_FAILED", "the registry's manifest cannot be used: an index names another index");
  }

  async function checkedManifest(session: RegistrySession, wanted: ImageReference, signal: AbortSignal): Promise<{ digest: Digest; manifest: Manifest }> {
    const text = await session.manifest(wanted, signal);
    const digest = `sha256:${createHash("sha256").update(text).digest("hex")}`;
    if (!isDigest(digest) || (wanted.digest !== undefined && wanted.digest !== digest))
      throw new CcError("IMAGE_PULL_FAILED", `${wanted.registry} gave another manifest than the digest says; try again`);
    return { digest, manifest: valueOf(parseManifest(text)) };
  }

  async function fetchAndCommit(
    reference: ImageReference & { readonly digest: Digest },
    manifest: Extract<Manifest, { kind: "image" }>,
    credentials: RegistryCredentials | undefined,
    name: string,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<void> {
    await pin.ready();
    const pull = base32(random.bytes(5));
    const folder = join(shelf.pullsFolder, pull);
    const startedMs = clock.monotonicMs();
    active.add(pull);
    // Its own session: who began the work may leave while others wait for it.
    const session = await registry.open(reference, credentials);
    try {
      await mkdir(folder, { mode: 0o700 });
      const { record, layers } = await fetchImage(tools, { reference, manifest, session, folder, report, signal });
      signal.throwIfAborted();
      await shelf.commit(record, layers, name, clock.nowMs());
      await blobs.adopt(join(folder, "b", "sha256"), manifest.layers);
      log.info({ image: name, digest: record.digest, layers: layers.length, ms: Math.round(clock.monotonicMs() - startedMs) }, "image pulled");
    } catch (error) {
      if (errorCode(error) !== "ENOSPC" && errorCode(error) !== "EDQUOT") throw error;
      throw new CcError("NO_ROOM", "the disk of this host is full; free some room, or choose another host", { cause: error });
    } finally {
      await session.close();
      await removeTree(commands, folder);
      active.delete(pull);
    }
  }

  return {
    async local(text, digest) {
      await shelf.open();
      const parsed = parseImageReference(text);
      if (!parsed.ok) return undefined;
      if (digest === undefined) return lookUp(parsed.value);
      return isDigest(digest) ? used(shelf.image(digest, formatImageReference(parsed.value))) : undefined;
    },

    async pull(text: string, options: PullOptions) {
      const parsed = valueOf(parseImageReference(text));
      const { digest, credentials, signal, onProgress } = options;
      if (digest !== undefined && !isDigest(digest)) throw new CcError("BAD_IMAGE_REFERENCE", "a digest is sha256: and 64 hexadecimal digits in lower case");
      const wanted = digest === undefined ? parsed : { ...parsed, tag: undefined, digest };
      await shelf.open();
      signal.throwIfAborted();
      const here = wanted.digest === undefined ? undefined : lookUp(wanted);
      if (here !== undefined) return here;
      // Who shows another password proves it at the registry by itself.
      const proof =
        credentials === undefined
          ? ""
          : createHash("sha256")
              .update(JSON.stringify([credentials.user, credentials.password]))
              .digest("hex");
      return pulls.join(`${formatImageReference(wanted)} ${proof}`, { signal, onProgress }, (shared, report) => pullOnce(wanted, credentials, shared, report));
    },

    async list() {
      await shelf.open();
      return shelf.list();
    },

    library,

    async sweep() {
      await shelf.open();
      await blobs.open();
      await Promise.all([shelf.sweep(active), active.size === 0 ? registry.sweep() : undefined]);
    },
  };
}

async function freeBytesAt(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

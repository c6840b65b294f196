import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, type Logger, ok, refuse } from "../../base/index.ts";
import { removeFileDurably, writeFileDurably } from "../../host/index.ts";
import { closureOf } from "../image-closure.ts";
import type { ImageLibrary, ImageNeeds, KeptImage } from "../image-library.ts";
import { decodeReferenceRecord, encodeReferenceRecord } from "../image-record.ts";
import { type Collectable, type CollectionLimits, planCollection } from "../plan-collection.ts";
import { type Digest, formatImageReference, isMeshReference, parseImageReference } from "../reference.ts";
import { UNREFERENCED_UPLOAD_MS_MAX, type UploadLimits } from "../upload-quota.ts";
import type { BlobShelf } from "./blob-shelf.ts";
import type { ImageShelf } from "./image-shelf.ts";

export type ImageLibraryInit = {
  readonly dataDir: string;
  readonly shelf: ImageShelf;
  readonly blobs: BlobShelf;
  readonly limits: UploadLimits & CollectionLimits;
  /** Removes layers that no image has, where nobody counts on one. */
  readonly sweep: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
};

/** An uploaded image: `h/HEX.json` says its name. */
type Held = { readonly reference: string; sinceMs: number };

const HELD_MAX = 10_000;
/** Manifests whose parts are remembered, so that each look does not read them all. */
const CLOSURES_MAX = 2_000;

export function createImageLibrary(init: ImageLibraryInit): ImageLibrary {
  const { dataDir, shelf, blobs, limits, clock, log } = init;
  const folder = join(dataDir, "h");
  const held = new Map<Digest, Held>();
  /** What containers anywhere need, as of the last `collect`. */
  let uploadsNeeded: ReadonlySet<Digest> = new Set();
  /** A manifest's parts never change. */
  const closures = new Map<Digest, readonly Digest[]>();
  let opened: Promise<void> | undefined;

  const heldFile = (digest: Digest): string => join(folder, `${digest.slice("sha256:".length)}.json`);

  async function load(): Promise<void> {
    await shelf.open();
    await blobs.open();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const nowMs = clock.nowMs();
    for (const name of (await readdir(folder)).filter((each) => each.endsWith(".json") && !each.startsWith(".")).slice(0, HELD_MAX)) {
      const file = join(folder, name);
      const record = decodeReferenceRecord(await readFile(file, "utf8"));
      if (record.ok) held.set(record.value.digest, { reference: record.value.reference, sinceMs: Math.min(nowMs, (await stat(file)).mtimeMs) });
      else await removeFileDurably(file);
    }
  }

  const open = (): Promise<void> => {
    opened ??= load().catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  };

  /** What belongs to an image or index; undefined: its manifest is not here, or none. */
  async function closureHere(root: Digest): Promise<readonly Digest[] | undefined> {
    const known = closures.get(root);
    if (known !== undefined) return known;
    const closure = await closureOf(root, (digest) => blobs.text(digest));
    if (!closure.ok) return undefined;
    const digests = closure.value.blobs.map(({ digest }) => digest);
    if (closures.size >= CLOSURES_MAX) closures.clear();
    if (!closure.value.grows) closures.set(root, digests);
    return digests;
  }

  /** All blobs of an image or index that are here. */
  async function partsHere(root: Digest): Promise<ReadonlyMap<Digest, number>> {
    return blobs.have((await closureHere(root)) ?? []);
  }

  async function isWhole(root: Digest): Promise<boolean> {
    await open();
    const closure = await closureHere(root);
    return closure !== undefined && (await blobs.have(closure)).size === closure.length;
  }

  /** Blobs that belong to an image here, or to an upload that a container needs; with `held`, to any upload. */
  async function referenced(withHeld: boolean): Promise<Set<Digest>> {
    const roots = [...shelf.records().map(({ digest }) => digest), ...uploadsNeeded, ...(withHeld ? held.keys() : [])];
    const keep = new Set<Digest>();
    for (const root of new Set(roots)) for (const digest of (await partsHere(root)).keys()) keep.add(digest);
    return keep;
  }

  async function forgetHeld(digest: Digest): Promise<void> {
    await removeFileDurably(heldFile(digest));
    held.delete(digest);
  }

  async function collectables(needs: ImageNeeds): Promise<readonly Collectable[]> {
    const all: Collectable[] = [];
    for (const { digest, stack } of shelf.records()) {
      const parts = new Map<string, number>(stack.map((diffId) => [`layer ${diffId}`, shelf.layerBytes(diffId)]));
      for (const [blob, bytes] of await partsHere(digest)) parts.set(blob, bytes);
      const needed = needs.unknown || needs.digests.has(digest) || shelf.referencesTo(digest).some((reference) => needs.references.has(reference));
      if (needed) await shelf.use(digest, clock.nowMs());
      all.push({ digest, lastUsedMs: shelf.lastUsedMs(digest), needed, parts });
    }
    return all;
  }

  return {
    blobs,
    limits,
    isWhole,

    async unreferenced() {
      await open();
      return blobs.unreferenced(await referenced(false));
    },

    async touch(digests) {
      await open();
      await blobs.touch(digests);
    },

    async hold(reference) {
      await open();
      const parsed = parseImageReference(reference);
      if (!parsed.ok) return parsed;
      if (!isMeshReference(parsed.value)) return refuse("BAD_IMAGE_REFERENCE", "an image that is brought is named mesh/NAME@sha256:...");
      const { digest } = parsed.value;
      if (!(await isWhole(digest))) return refuse("IMAGE_NOT_FOUND", `${reference} is not whole here`);
      const name = formatImageReference(parsed.value);
      if (!held.has(digest) && held.size >= HELD_MAX)
        return refuse("NO_ROOM", `this host keeps ${HELD_MAX} uploaded images already; remove some with cc image rm`);
      await writeFileDurably(heldFile(digest), encodeReferenceRecord({ reference: name, digest }));
      held.set(digest, { reference: name, sinceMs: clock.nowMs() });
      return ok(undefined);
    },

    async list() {
      await open();
      const images: KeptImage[] = [];
      for (const { digest, stack } of shelf.records()) {
        const layers = stack.reduce((sum, diffId) => sum + shelf.layerBytes(diffId), 0);
        const kept = [...(await partsHere(digest)).values()].reduce((sum, bytes) => sum + bytes, 0);
        images.push({ digest, references: shelf.referencesTo(digest), sizeBytes: layers + kept, lastUsedMs: shelf.lastUsedMs(digest) });
      }
      for (const [digest, { reference, sinceMs }] of held) {
        if (images.some((image) => image.references.includes(reference))) continue;
        const bytes = [...(await partsHere(digest)).values()].reduce((sum, size) => sum + size, 0);
        images.push({ digest, references: [reference], sizeBytes: bytes, lastUsedMs: sinceMs });
      }
      return images;
    },

    async remove(digests) {
      await open();
      // Who needed them then does no more: whoever removes has looked.
      uploadsNeeded = new Set([...uploadsNeeded].filter((digest) => !digests.includes(digest)));
      const blobsOf = new Set<Digest>();
      for (const digest of digests) for (const part of (await partsHere(digest)).keys()) blobsOf.add(part);
      for (const digest of digests) {
        await shelf.remove(digest);
        if (held.has(digest)) await forgetHeld(digest);
      }
      const keep = await referenced(true);
      const gone = [...blobsOf].filter((digest) => !keep.has(digest));
      await blobs.remove(gone);
      await init.sweep();
    },

    async collect(needs) {
      await open();
      uploadsNeeded = needs.uploads;
      const nowMs = clock.nowMs();
      for (const [digest, upload] of [...held]) {
        if (needs.uploads.has(digest)) upload.sinceMs = nowMs;
        // A time from a clock that was ahead counts as now.
        upload.sinceMs = Math.min(upload.sinceMs, nowMs);
        if (nowMs - upload.sinceMs > UNREFERENCED_UPLOAD_MS_MAX) await forgetHeld(digest);
      }
      const gone = planCollection(await collectables(needs), nowMs, limits);
      for (const digest of gone) {
        log.info({ digest, lastUsedMs: shelf.lastUsedMs(digest) }, "an image that no container here uses was collected");
        await shelf.remove(digest);
      }
      await blobs.sweep(await referenced(true), UNREFERENCED_UPLOAD_MS_MAX);
      if (gone.length > 0) await init.sweep();
      return gone;
    },
  };
}

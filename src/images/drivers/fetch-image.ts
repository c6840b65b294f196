import { createHash } from "node:crypto";
import { chown, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type Clock, sleep } from "../../base/index.ts";
import type { UserNamespacePin } from "../../host/index.ts";
import { type ParsedConfig, parseImageConfig } from "../image-config.ts";
import type { ImageRecord, LayerRecord } from "../image-record.ts";
import type { PullProgress } from "../image-store.ts";
import type { Manifest, Platform } from "../manifest.ts";
import { checkPlatform } from "../platform.ts";
import { EMPTY_LAYER, keyOfLayer, type LayerPlan, type PullPlan, planPull } from "../pull-plan.ts";
import type { Digest, ImageReference } from "../reference.ts";
import { badLayer } from "../tar-member.ts";
import type { ImageShelf, UnpackedLayer } from "./image-shelf.ts";
import { createWatch, demandRoom } from "./pull-watch.ts";
import type { RegistrySession } from "./skopeo.ts";
import type { UnpackResult } from "./unpack-layer.ts";
import { startUnpacker, type Unpacker } from "./unpacker.ts";
import { valueOf } from "./value-of.ts";

export type FetchTools = {
  readonly clock: Clock;
  readonly pin: UserNamespacePin;
  readonly shelf: ImageShelf;
  readonly platform: Platform;
  /** Layers unpacked at the same time. */
  readonly unpacks: number;
  /** A pull that leaves less than this on the disk is given up. */
  readonly freeBytesMin: number;
  /** Of all layers of an image, uncompressed. */
  readonly imageBytesMax: number;
  readonly imageFilesMax: number;
};

export type FetchTask = {
  /** With the digest of the image's manifest. */
  readonly reference: ImageReference & { readonly digest: Digest };
  readonly manifest: Extract<Manifest, { kind: "image" }>;
  readonly session: RegistrySession;
  /** Empty, private to this pull, on the file system of the layers. */
  readonly folder: string;
  readonly report: (progress: PullProgress) => void;
  readonly signal: AbortSignal;
};

export type Fetched = { readonly record: ImageRecord; readonly layers: readonly UnpackedLayer[] };

type Pull = FetchTask & {
  readonly tools: FetchTools;
  readonly arrived: string;
  readonly unpacker: Unpacker;
  /** Bytes of the layers that were here when the pull began to count on them. They stay, though their images may go meanwhile. */
  readonly countedOn: ReadonlyMap<Digest, number>;
};
type Unpacked = UnpackResult & { readonly folder: string };

const LOOK_MS = 40;

/**
 * Fetches what is missing of an image and unpacks each layer as soon as it has arrived, while others are on their way.
 * Layers that are here already lie as empty files where skopeo looks for them, so that it does not fetch them.
 */
export async function fetchImage(tools: FetchTools, task: FetchTask): Promise<Fetched> {
  const { manifest, session, reference, folder } = task;
  const stop = new AbortController();
  const signal = AbortSignal.any([task.signal, stop.signal]);
  const arrived = join(folder, "b", "sha256");
  await mkdir(arrived, { recursive: true, mode: 0o700 });
  const seeds = knownLayers(tools.shelf, manifest);
  const countedOn = new Map([...seeds.values()].map(({ key }) => [key, tools.shelf.layerBytes(key)]));
  for (const digest of seeds.keys()) await writeFile(join(arrived, hexOf(digest)), "");
  const fetchBytes = manifest.layers.reduce((sum, layer) => (seeds.has(layer.digest) ? sum : sum + layer.sizeBytes), 0);
  await demandRoom(folder, fetchBytes, tools.freeBytesMin);

  const unpacker = startUnpacker(Math.min(tools.unpacks, new Set(manifest.layers.map(({ digest }) => digest)).size));
  const copied = session.blobs(reference, join(folder, "b"), join(folder, "o"), signal);
  try {
    const text = await Promise.race([session.config(reference, signal), failureOf(copied)]);
    const config = checkedConfig(text, task, tools.platform);
    const plan = valueOf(planPull(manifest, config.diffIds, (key) => countedOn.has(key) || tools.shelf.hasLayer(key)));
    for (const { blob, diffId } of plan.layers) if ((seeds.get(blob.digest)?.diffId ?? diffId) !== diffId) throw notAsConfigured(diffId);
    for (const { key } of plan.layers) if (key !== undefined && !countedOn.has(key)) countedOn.set(key, tools.shelf.layerBytes(key));
    const pull: Pull = { ...task, signal, tools, arrived, unpacker, countedOn };
    const unpacked = await unpackAsTheyArrive(pull, plan, copied);
    await copied;
    return await stackLayers(pull, plan, config, unpacked);
  } catch (error) {
    stop.abort(error);
    // Its own failure is the one that was thrown, or follows from it.
    await copied.catch(() => undefined);
    task.signal.throwIfAborted();
    throw error;
  } finally {
    await unpacker.close();
  }
}

/** The manifest's layers that are here by what was learned from earlier pulls, with the digests of what is in them and their keys. */
function knownLayers(shelf: ImageShelf, { layers }: FetchTask["manifest"]): ReadonlyMap<Digest, { readonly diffId: Digest; readonly key: Digest }> {
  const diffIds = layers.map(({ digest }) => shelf.diffIdOf(digest));
  const known = new Map<Digest, { readonly diffId: Digest; readonly key: Digest }>();
  for (const [at, { digest }] of layers.entries()) {
    const diffId = diffIds[at];
    const key = keyOfLayer(diffIds.slice(0, at + 1), (one) => shelf.hasLayer(one));
    if (diffId !== undefined && key !== undefined) known.set(digest, { diffId, key });
  }
  return known;
}

function checkedConfig(text: string, { manifest, reference }: FetchTask, platform: Platform): ParsedConfig {
  const { digest } = manifest.config;
  if (`sha256:${createHash("sha256").update(text).digest("hex")}` !== digest)
    throw new CcError("IMAGE_PULL_FAILED", `${reference.registry} gave another configuration than the image's digest says; try again`);
  const config = valueOf(parseImageConfig(text));
  valueOf(checkPlatform(config, platform));
  return config;
}

/** Never resolves; rejects as `work` does. */
function failureOf(work: Promise<void>): Promise<never> {
  return work.then(() => new Promise<never>(() => undefined));
}

const notAsConfigured = (diffId: Digest): CcError =>
  new CcError("IMAGE_PULL_FAILED", `a layer of the image is not what its configuration says (${diffId}); build and push the image again`);

async function unpackAsTheyArrive(pull: Pull, plan: PullPlan, copied: Promise<void>): Promise<ReadonlyMap<LayerPlan, Unpacked>> {
  const { tools, folder, arrived } = pull;
  const missing = plan.layers.filter(({ key }) => key === undefined);
  const done = new Map<LayerPlan, Unpacked>();
  const waiting = new Set(missing);
  const running = new Set<Promise<void>>();
  // Kept, since one may fail while nobody waits for it.
  const failures: unknown[] = [];
  const stop = new AbortController();
  const signal = AbortSignal.any([pull.signal, stop.signal]);
  const sizes = new Map(missing.map(({ blob }) => [hexOf(blob.digest), blob.sizeBytes]));
  const watch = createWatch({ ...tools, registry: pull.reference.registry, folder, arrived, sizes, report: pull.report });
  let copyEnded = false;
  const ended = copied.then(() => {
    copyEnded = true;
  });
  // Also awaited by the caller; here only for as long as something is missing.
  ended.catch(() => undefined);

  async function unpack(layer: LayerPlan): Promise<void> {
    done.set(layer, await unpackOne(pull, layer, join(folder, `l${missing.indexOf(layer)}`), leftOf(tools, done.values()), signal));
    leftOf(tools, done.values());
    tools.shelf.writeBehind();
    pull.report({ step: "unpacking", layer: done.size, layers: missing.length });
  }

  try {
    while (waiting.size > 0 || running.size > 0) {
      signal.throwIfAborted();
      if (failures.length > 0) throw failures[0];
      const wasLast = copyEnded;
      const here = new Set(await readdir(arrived));
      for (const layer of waiting) {
        if (running.size >= tools.unpacks) break;
        if (!here.has(hexOf(layer.blob.digest))) continue;
        waiting.delete(layer);
        const work: Promise<void> = unpack(layer)
          .catch((error: unknown) => void failures.push(error))
          .finally(() => running.delete(work));
        running.add(work);
      }
      if (wasLast && running.size === 0 && waiting.size > 0) throw new CcError("INTERNAL", "skopeo ended well without a layer that it should have fetched");
      await watch(running.size > 0 || copyEnded);
      if (waiting.size > 0 || running.size > 0) await Promise.race([...running, ...(copyEnded ? [] : [ended]), sleep(pull.tools.clock, LOOK_MS, signal)]);
    }
    if (failures.length > 0) throw failures[0];
    return done;
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(running);
    throw error;
  }
}

async function unpackOne(pull: Pull, layer: LayerPlan, folder: string, left: { bytesMax: number; entriesMax: number }, signal: AbortSignal): Promise<Unpacked> {
  const { pin } = pull.tools;
  const blobFile = join(pull.arrived, hexOf(layer.blob.digest));
  const task = {
    blobFile,
    blobBytes: layer.blob.sizeBytes,
    diffId: layer.diffId,
    folder,
    userns: pin.path,
    rootUid: pin.uidMap.hostId,
    rootGid: pin.gidMap.hostId,
  };
  const limits = { ...left, idsMax: Math.min(pin.uidMap.size, pin.gidMap.size) };
  // The file may be another name of the blob that this host keeps for others, and is kept itself when the pull is done: it is only read.
  const result = await pull.unpacker.unpack({ ...task, limits }, signal);
  return { ...result, folder };
}

/** What the image may still have; throws when it has more than it may. */
function leftOf(tools: FetchTools, done: Iterable<UnpackResult>): { readonly bytesMax: number; readonly entriesMax: number } {
  let bytesMax = tools.imageBytesMax;
  let entriesMax = tools.imageFilesMax;
  for (const { bytes, entries } of done) {
    bytesMax -= bytes;
    entriesMax -= entries;
  }
  if (bytesMax < 0) throw badLayer(`the image has more than ${tools.imageBytesMax} bytes once it is unpacked`);
  if (entriesMax < 0) throw badLayer(`the image has more than ${tools.imageFilesMax} files`);
  return { bytesMax, entriesMax };
}

/** From the lowest up, since a layer that takes something from those below it needs them as they will be. */
async function stackLayers(pull: Pull, plan: PullPlan, config: ParsedConfig, unpacked: ReadonlyMap<LayerPlan, Unpacked>): Promise<Fetched> {
  const { manifest, reference, unpacker, signal, countedOn } = pull;
  const { shelf, pin } = pull.tools;
  const folders: string[] = [];
  const records = new Map<Digest, { key: Digest; bytes: number }>();
  const fresh: UnpackedLayer[] = [];
  for (const layer of plan.layers) {
    const own = unpacked.get(layer);
    const key = layer.key ?? (own?.needs === undefined ? layer.diffId : layer.boundKey);
    if (own?.needs !== undefined) await unpacker.bind({ folder: own.folder, needs: own.needs, below: [...folders], userns: pin.path }, signal);
    if (own !== undefined) fresh.push({ key, folder: own.folder });
    folders.push(own?.folder ?? shelf.layerPath(key));
    records.set(layer.diffId, { key, bytes: own?.bytes ?? countedOn.get(key) ?? 0 });
  }
  const layers = manifest.layers.flatMap((blob, at): LayerRecord[] => {
    const diffId = config.diffIds[at];
    const record = diffId === undefined ? undefined : records.get(diffId);
    if (diffId === undefined || record === undefined) return [];
    return [{ blob: blob.digest, diffId, bytes: record.bytes, ...(record.key === diffId ? {} : { key: record.key }) }];
  });
  const stack = plan.layers.flatMap(({ diffId }) => records.get(diffId)?.key ?? []);
  if (stack.length > 0) return { record: { digest: reference.digest, stack, layers, config: config.config }, layers: fresh };

  if (!shelf.hasLayer(EMPTY_LAYER)) {
    const folder = join(pull.folder, "empty");
    await mkdir(folder, { mode: 0o755 });
    await chown(folder, pin.uidMap.hostId, pin.gidMap.hostId);
    fresh.push({ key: EMPTY_LAYER, folder });
  }
  return { record: { digest: reference.digest, stack: [EMPTY_LAYER], layers, config: config.config }, layers: fresh };
}

const hexOf = (digest: Digest): string => digest.slice("sha256:".length);

import { createHash } from "node:crypto";
import { chown, mkdir, readdir, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type Clock, formatSize, sleep } from "../../base/index.ts";
import { errorCode, type StreamingCommandRunner, type UserNamespacePin } from "../../host/index.ts";
import { parseImageConfig } from "../image-config.ts";
import type { ImageRecord, LayerRecord } from "../image-record.ts";
import type { PullProgress } from "../image-store.ts";
import type { Manifest, Platform } from "../manifest.ts";
import { checkPlatform } from "../platform.ts";
import { EMPTY_LAYER, type LayerPlan, type PullPlan, planPull } from "../pull-plan.ts";
import type { Digest, ImageReference } from "../reference.ts";
import type { ImageShelf, UnpackedLayer } from "./image-shelf.ts";
import type { RegistrySession } from "./skopeo.ts";
import { unpackLayer } from "./unpack-layer.ts";
import { valueOf } from "./value-of.ts";

export type FetchTools = {
  readonly commands: StreamingCommandRunner;
  readonly clock: Clock;
  readonly pin: UserNamespacePin;
  readonly shelf: ImageShelf;
  readonly platform: Platform;
  /** Layers unpacked at the same time. */
  readonly unpacks: number;
  /** A pull that leaves less than this on the disk is given up. */
  readonly freeBytesMin: number;
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

const LOOK_MS = 40;
const REPORT_MS = 200;
/** A download without a byte for so long is given up. */
const STALL_MS = 60_000;

/**
 * Fetches what is missing of an image and unpacks each layer as soon as it has arrived, while others are on their way.
 * Layers that are here already lie as empty files where skopeo looks for them, so that it does not fetch them.
 */
export async function fetchImage(tools: FetchTools, task: FetchTask): Promise<Fetched> {
  const { shelf } = tools;
  const { manifest, session, reference, folder } = task;
  const stop = new AbortController();
  const signal = AbortSignal.any([task.signal, stop.signal]);
  const arrived = join(folder, "b", "sha256");
  await mkdir(arrived, { recursive: true, mode: 0o700 });
  const seeds = manifest.layers.filter(({ digest }) => {
    const diffId = shelf.diffIdOf(digest);
    return diffId !== undefined && shelf.hasLayer(diffId);
  });
  for (const { digest } of seeds) await writeFile(join(arrived, hexOf(digest)), "");
  const seeded = new Set(seeds.map(({ digest }) => digest));
  await demandRoom(
    tools,
    folder,
    manifest.layers.reduce((sum, layer) => (seeded.has(layer.digest) ? sum : sum + layer.sizeBytes), 0),
  );

  const copied = session.blobs(reference, join(folder, "b"), join(folder, "o"), signal);
  try {
    const text = await Promise.race([session.config(reference, signal), failureOf(copied)]);
    if (`sha256:${createHash("sha256").update(text).digest("hex")}` !== manifest.config.digest)
      throw new CcError("IMAGE_PULL_FAILED", `${reference.registry} gave another configuration than the image's digest says; try again`);
    const config = valueOf(parseImageConfig(text));
    valueOf(checkPlatform(config, tools.platform));
    const plan = valueOf(planPull(manifest, config.diffIds, (diffId) => shelf.hasLayer(diffId)));
    const unpacked = await unpackAsTheyArrive(tools, { ...task, signal }, plan, arrived, copied);
    await copied;
    const bytes = new Map(unpacked.map((layer) => [layer.diffId, layer.bytes]));
    const layers = manifest.layers.flatMap((blob, at): LayerRecord[] => {
      const diffId = config.diffIds[at];
      return diffId === undefined ? [] : [{ blob: blob.digest, diffId, bytes: bytes.get(diffId) ?? shelf.layerBytes(diffId) }];
    });
    return { record: { digest: reference.digest, stack: plan.stack, layers, config: config.config }, layers: unpacked };
  } catch (error) {
    stop.abort(error);
    // Its own failure is the one that was thrown, or follows from it.
    await copied.catch(() => undefined);
    task.signal.throwIfAborted();
    throw error;
  }
}

/** Never resolves; rejects as `work` does. */
function failureOf(work: Promise<void>): Promise<never> {
  return work.then(() => new Promise<never>(() => undefined));
}

type Unpacked = UnpackedLayer & { readonly bytes: number };

async function unpackAsTheyArrive(tools: FetchTools, task: FetchTask, plan: PullPlan, arrived: string, copied: Promise<void>): Promise<readonly Unpacked[]> {
  const { clock, pin, commands } = tools;
  const done: Unpacked[] = [];
  const waiting = new Set<LayerPlan>(plan.missing);
  const running = new Set<Promise<void>>();
  const stop = new AbortController();
  const signal = AbortSignal.any([task.signal, stop.signal]);
  const watch = createWatch(tools, task, plan, arrived);
  let copyEnded = false;
  const ended = copied.then(() => {
    copyEnded = true;
  });
  // Also awaited by the caller; here only for as long as something is missing.
  ended.catch(() => undefined);

  async function unpack(layer: LayerPlan): Promise<void> {
    const folder = join(task.folder, `l${plan.missing.indexOf(layer)}`);
    const bytes = await unpackLayer({ layer, blobFile: join(arrived, hexOf(layer.blob.digest)), folder, pin, commands, signal });
    done.push({ diffId: layer.diffId, folder, bytes });
    task.report({ step: "unpacking", layer: done.length, layers: plan.missing.length });
  }

  try {
    while (waiting.size > 0 || running.size > 0) {
      signal.throwIfAborted();
      const wasLast = copyEnded;
      const here = new Set(await readdir(arrived));
      for (const layer of waiting) {
        if (running.size >= tools.unpacks) break;
        if (!here.has(hexOf(layer.blob.digest))) continue;
        waiting.delete(layer);
        const work: Promise<void> = unpack(layer).finally(() => running.delete(work));
        running.add(work);
      }
      if (wasLast && running.size === 0 && waiting.size > 0) throw new CcError("INTERNAL", "skopeo ended well without a layer that it should have fetched");
      await watch(running.size > 0 || copyEnded);
      if (waiting.size > 0 || running.size > 0) await Promise.race([...running, ...(copyEnded ? [] : [ended]), sleep(clock, LOOK_MS, signal)]);
    }
    if (plan.stack.includes(EMPTY_LAYER) && !tools.shelf.hasLayer(EMPTY_LAYER) && !plan.missing.some(({ diffId }) => diffId === EMPTY_LAYER)) {
      const folder = join(task.folder, "empty");
      await mkdir(folder, { mode: 0o755 });
      await chown(folder, pin.uidMap.hostId, pin.gidMap.hostId);
      done.push({ diffId: EMPTY_LAYER, folder, bytes: 0 });
    }
    return done;
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(running);
    throw error;
  }
}

/** Reports progress, and throws when the disk fills up or the download stands still. */
function createWatch(tools: FetchTools, task: FetchTask, plan: PullPlan, arrived: string): (busy: boolean) => Promise<void> {
  const { clock } = tools;
  const sizes = new Map(plan.missing.map(({ blob }) => [hexOf(blob.digest), blob.sizeBytes]));
  let reportedAtMs = Number.NEGATIVE_INFINITY;
  let lastBytes = -1;
  let movedAtMs = clock.monotonicMs();
  return async (busy) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - reportedAtMs < REPORT_MS) return;
    reportedAtMs = nowMs;
    await demandRoom(tools, task.folder, 0);
    let doneBytes = 0;
    for (const name of await readdir(arrived)) doneBytes += sizes.get(name) ?? 0;
    for (const name of await readdir(join(task.folder, "o")).catch(noNames)) doneBytes += await sizeOf(join(task.folder, "o", name));
    if (doneBytes !== lastBytes || busy) movedAtMs = nowMs;
    lastBytes = doneBytes;
    if (doneBytes < plan.fetchBytes) task.report({ step: "fetching", doneBytes, totalBytes: plan.fetchBytes });
    if (nowMs - movedAtMs > STALL_MS) throw new CcError("REGISTRY_UNREACHABLE", `${task.reference.registry} stopped sending; try again later`);
  };
}

async function demandRoom(tools: FetchTools, folder: string, neededBytes: number): Promise<void> {
  const disk = await statfs(folder);
  const freeBytes = disk.bavail * disk.bsize;
  if (freeBytes - neededBytes >= tools.freeBytesMin) return;
  throw new CcError(
    "NO_ROOM",
    `the image does not fit on the disk of this host (${formatSize(freeBytes)} free, ${formatSize(tools.freeBytesMin)} stay free); free some room, or choose another host`,
  );
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size, mode }) => ((mode & 0o170000) === 0o100000 ? size : 0),
    (error: unknown) => {
      // Renamed into place since it was listed.
      if (errorCode(error) === "ENOENT") return 0;
      throw error;
    },
  );
}

function noNames(error: unknown): string[] {
  if (errorCode(error) === "ENOENT") return [];
  throw error;
}

const hexOf = (digest: Digest): string => digest.slice("sha256:".length);

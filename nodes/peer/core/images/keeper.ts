import { asCcError, type Clock, type Logger, sleep } from "../../../../src/base/index.ts";
import type { ContainerRuntime, DesiredContainers } from "../../../../src/containers/index.ts";
import { type Digest, formatImageReference, type ImageLibrary, type ImageNeeds, isDigest, parseImageReference } from "../../../../src/images/index.ts";
import type { View } from "../../../../src/state/index.ts";
import { whoHas } from "./blob-source.ts";
import { bringImage } from "./bring-image.ts";
import { type SecondHost, type SecondHostParts, uploadedImage } from "./second-host.ts";

export type KeeperParts = SecondHostParts & {
  readonly view: View;
  readonly desired: Pick<DesiredContainers, "all" | "isOver">;
  readonly runtime: Pick<ContainerRuntime, "list">;
  readonly second: SecondHost;
  readonly clock: Clock;
  readonly log: Logger;
  readonly library: ImageLibrary;
};

/** How soon a lost second copy is made again, and what nobody needs goes. */
const LOOK_MS = 30_000;
/** Images copied in one look: the rest comes in the next. */
const COPIES_MAX = 4;

/** Uploaded images that live containers name, with the reference that names them. */
export function uploadsNamed(view: Pick<View, "containers">): ReadonlyMap<Digest, string> {
  const named = new Map<Digest, string>();
  for (const container of view.containers()) {
    if (container.gone || container.removed) continue;
    const upload = uploadedImage(container.spec.image);
    if (upload.ok) named.set(upload.value.digest, upload.value.reference);
  }
  return named;
}

/** What has to stay on this host. */
export async function needsOf({ view, desired, runtime }: Pick<KeeperParts, "view" | "desired" | "runtime">): Promise<ImageNeeds> {
  const references = new Set<string>();
  const digests = new Set<Digest>();
  const all = desired.all();
  for (const { image } of all) {
    const parsed = parseImageReference(image.reference);
    if (parsed.ok) references.add(formatImageReference(parsed.value));
    if (parsed.ok && parsed.value.digest !== undefined) digests.add(parsed.value.digest);
    if (image.digest !== undefined && isDigest(image.digest)) digests.add(image.digest);
  }
  const known = new Set(all.map(({ spec }) => spec.id));
  const unknown = (await runtime.list()).some((id) => !known.has(id) && !desired.isOver(id));
  return { references, digests, uploads: new Set(uploadsNamed(view).keys()), unknown };
}

/**
 * Looks again and again at what images should be here: those that containers need stay, uploaded ones on two hosts; the
 * rest goes by age and room. Each look compares and acts on the difference only.
 */
export async function keepImages(parts: KeeperParts, signal: AbortSignal): Promise<void> {
  const { clock, log } = parts;
  while (!signal.aborted) {
    try {
      await sleep(clock, LOOK_MS, signal);
      await keepCopies(parts, signal);
      await parts.library.collect(await needsOf(parts));
    } catch (error) {
      if (!signal.aborted) log.error({ err: asCcError(error) }, "the images of this host could not be looked after; it is tried again");
    }
  }
}

/** Of an image that only this host has whole, another one gets a copy; what runs here is here whole. */
export async function keepCopies(parts: KeeperParts, signal: AbortSignal): Promise<void> {
  const { view, library, second, log } = parts;
  const named = uploadsNamed(view);
  if (named.size === 0) return;
  const runHere = new Set(parts.desired.all().flatMap(({ image }) => [...digestOf(image.reference)]));
  let copied = 0;
  for (const [digest, image] of named) {
    if (copied >= COPIES_MAX) return;
    const isWhole = await library.isWhole(digest);
    if (!isWhole && !runHere.has(digest)) continue;
    try {
      if (!isWhole) await bringImage(parts, digest, signal);
      const others = [...(await whoHas(parts, { images: [digest] }))].filter(([, { images }]) => images.includes(digest));
      if (others.length > 0) continue;
      copied += 1;
      const to = await second.copyTo(second.order(digest).slice(0, COPIES_MAX), image, signal);
      if (to !== undefined) log.info({ image, to }, "an uploaded image is on two hosts again");
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ image, err: error }, "an uploaded image is not on two hosts; it is tried again");
    }
  }
}

function digestOf(reference: string): readonly Digest[] {
  const upload = uploadedImage(reference);
  return upload.ok ? [upload.value.digest] : [];
}

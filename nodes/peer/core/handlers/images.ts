import { RemoveImagesRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { decodeBody } from "../../../../src/api/index.ts";
import { asCcError, CcError, type ContainerId } from "../../../../src/base/index.ts";
import { type Digest, formatImageReference, isDigest, type KeptImage, parseImageReference } from "../../../../src/images/index.ts";
import type { ContainerView, View } from "../../../../src/state/index.ts";
import { askHosts } from "../images/blob-source.ts";
import { type KeeperParts, needsOf } from "../images/keeper.ts";
import { uploadedImage } from "../images/second-host.ts";
import type { ItemErrorInit } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";

const ITEMS_MAX = 256;
const IMAGES_MAX = 2_000;
const DROP_MS = 20_000;

/** An image of the whole mesh: the same digest, or the same uploaded image. */
type MeshImage = {
  readonly digest: Digest;
  readonly digests: Set<Digest>;
  readonly references: Set<string>;
  readonly hosts: Set<string>;
  sizeBytes: number;
  lastUsedMs: number;
};

export type ImageHandlerParts = HandlerParts & KeeperParts;

/** What images there are, where, and whose; and forgetting them. */
export function imageHandlers(parts: ImageHandlerParts): Some<"listImages" | "removeImages"> {
  const { mesh, view, library } = parts;

  mesh.handle("hostImages", async () => ({
    images: (await library.list()).slice(0, IMAGES_MAX).map((image) => ({ ...image, references: [...image.references], lastUsedAtMs: image.lastUsedMs })),
  }));

  mesh.handle("dropImages", async ({ digests, request }, from) => {
    if (request === undefined) throw new CcError("UNAUTHENTICATED", "images are removed on a user's signed request only");
    const caller = await parts.authenticator.passedOn("RemoveImages", request, from, "drop", "images");
    return dropHere(decodeBody(RemoveImagesRequestSchema, caller.signed.body).images, new Set(digests.filter(isDigest)));
  });

  /**
   * What the user named is what goes, by this host's own list: not what other hosts say that it is. `asked` are the digests that
   * the accepting peer has looked at.
   */
  async function dropHere(items: readonly string[], asked: ReadonlySet<Digest>): Promise<{ dropped: string[]; errors: ItemErrorInit[] }> {
    const needs = await needsOf(parts);
    const list = await library.list();
    const meant = gather([["", list]]).filter((image) => items.slice(0, ITEMS_MAX).some((item) => means(item, image)));
    const digests = new Set(meant.flatMap((image) => [...image.digests].filter((digest) => asked.has(digest))));
    const pulled = new Set(list.flatMap(({ digest, references }) => (references.some((text) => needs.references.has(text)) ? [digest] : [])));
    const kept = [...digests].filter((digest) => needs.unknown || needs.digests.has(digest) || needs.uploads.has(digest) || pulled.has(digest));
    const dropped = [...digests].filter((digest) => !kept.includes(digest));
    if (dropped.length > 0) await library.remove(dropped);
    return { dropped, errors: kept.map((item) => ({ item, code: "IN_USE", message: `${item} is used on this host` })) };
  }

  /** What all reachable hosts have; and who was not heard. */
  async function everywhere(): Promise<{ readonly images: readonly MeshImage[]; readonly notAsked: readonly string[] }> {
    const answers = await askHosts(parts, (peer, timeoutMs) => mesh.call(peer, "hostImages", {}, { timeoutMs }));
    const nameOf = new Map(view.members().map(({ peer, name }) => [peer, name || peer]));
    const lists: [string, readonly KeptImage[]][] = [[nameOf.get(parts.self) ?? parts.self, await library.list()]];
    for (const [peer, { images }] of answers) {
      lists.push([
        nameOf.get(peer) ?? peer,
        images
          .slice(0, IMAGES_MAX)
          .flatMap(({ digest, references, sizeBytes, lastUsedAtMs }) =>
            isDigest(digest) ? [{ digest, references: references.filter((text) => parseImageReference(text).ok), sizeBytes, lastUsedMs: lastUsedAtMs }] : [],
          ),
      ]);
    }
    const notAsked = view.members().flatMap(({ peer }) => (peer === parts.self || answers.has(peer) ? [] : [nameOf.get(peer) ?? peer]));
    return { images: gather(lists), notAsked };
  }

  return {
    listImages: async () => {
      const { images, notAsked } = await everywhere();
      return {
        images: images
          .toSorted((a, b) => b.lastUsedMs - a.lastUsedMs || (a.digest < b.digest ? -1 : 1))
          .map((image) => ({
            references: [...image.references].toSorted(),
            digest: image.digest,
            sizeBytes: image.sizeBytes,
            hosts: [...image.hosts].toSorted(),
            usedBy: usersOf(view, image).map(({ id }) => id),
            lastUsedAtMs: image.lastUsedMs,
          })),
        notAsked: [...notAsked],
      };
    },

    removeImages: async ({ images: items }, { caller }) => {
      if (items.length === 0 || items.length > ITEMS_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${ITEMS_MAX} images`);
      for (const item of items) {
        const reference = parseImageReference(item);
        if (!isDigest(item) && !reference.ok) throw new CcError(reference.code, reference.message);
      }
      const { images, notAsked } = await everywhere();
      const errors: ItemErrorInit[] = [];
      const digests = new Set<Digest>();
      for (const item of items) {
        const meant = images.filter((image) => means(item, image));
        const users = [...new Set(meant.flatMap((image) => usersOf(view, image)))];
        if (users.length > 0) errors.push({ item, code: "IN_USE", message: inUse(item, users) });
        else for (const image of meant) for (const digest of image.digests) digests.add(digest);
      }
      const silent = new Set(notAsked);
      if (digests.size > 0) errors.push(...(await drop(digests, silent)));
      const failed = new Set(errors.map(({ item }) => item));
      return { done: items.filter((item) => !failed.has(item)), errors, notAsked: [...silent] };

      async function drop(gone: ReadonlySet<Digest>, unheard: Set<string>): Promise<readonly ItemErrorInit[]> {
        const said = [...(await dropHere(items, gone)).errors];
        const request = { digests: [...gone], request: caller.signed };
        await Promise.all(
          parts.reachable().map(async (peer) => {
            try {
              said.push(...(await mesh.call(peer, "dropImages", request, { timeoutMs: DROP_MS })).errors);
            } catch (error) {
              parts.log.warn({ peer, code: asCcError(error).code }, "a host did not remove images");
              unheard.add(view.member(peer)?.name || peer);
            }
          }),
        );
        return items.flatMap((item) => {
          const of = images.filter((image) => means(item, image));
          const error = said.find(({ item: digest }) => of.some((image) => isDigest(digest) && image.digests.has(digest)));
          return error === undefined
            ? []
            : [
                {
                  item,
                  code: error.code,
                  message: `${item} is used on a host by something that this peer does not know of yet; look with cc image list, and try again`,
                },
              ];
        });
      }
    },
  };
}

/** One entry an image, whatever its hosts call it: an uploaded index and the image of it that a host unpacked are one. */
function gather(lists: readonly (readonly [string, readonly KeptImage[]])[]): readonly MeshImage[] {
  const all = new Map<Digest, MeshImage>();
  for (const [host, kept] of lists) {
    for (const image of kept) {
      const root = image.references.flatMap((text) => {
        const upload = uploadedImage(text);
        return upload.ok ? [upload.value.digest] : [];
      })[0];
      const digest = root ?? image.digest;
      const entry = all.get(digest) ?? { digest, digests: new Set([digest]), references: new Set(), hosts: new Set(), sizeBytes: 0, lastUsedMs: 0 };
      all.set(digest, entry);
      entry.digests.add(image.digest);
      for (const reference of image.references) entry.references.add(reference);
      entry.hosts.add(host);
      entry.sizeBytes = Math.max(entry.sizeBytes, image.sizeBytes);
      entry.lastUsedMs = Math.max(entry.lastUsedMs, image.lastUsedMs);
    }
  }
  return [...all.values()];
}

/** Whether what a user wrote names this image. */
function means(item: string, image: MeshImage): boolean {
  if (isDigest(item)) return image.digests.has(item);
  const parsed = parseImageReference(item);
  if (!parsed.ok) return false;
  return image.references.has(formatImageReference(parsed.value)) || (parsed.value.digest !== undefined && image.digests.has(parsed.value.digest));
}

/** Containers that run it or could be started again. */
function usersOf(view: View, image: MeshImage): readonly ContainerView[] {
  return view.containers().filter((container) => {
    if (container.gone || container.removed) return false;
    const digest = container.phase?.imageDigest ?? "";
    // Once a container has run, its image's digest is what counts, not what its tag means by now.
    return isDigest(digest) && image.digests.has(digest)
      ? true
      : (digest === "" || uploadedImage(container.spec.image).ok) && means(container.spec.image, image);
  });
}

function inUse(item: string, users: readonly { readonly id: ContainerId; readonly name: string }[]): string {
  const SHOWN_MAX = 5;
  const names = users.slice(0, SHOWN_MAX).map(({ id, name }) => name || id);
  const more = users.length > SHOWN_MAX ? ` and ${users.length - SHOWN_MAX} more` : "";
  return `${item} is used by ${names.join(", ")}${more}, which run or could be started again; remove them first with cc rm`;
}

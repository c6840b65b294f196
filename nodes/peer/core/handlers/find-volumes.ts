import { CcError, isVolumeId, type VolumeId } from "../../../../src/base/index.ts";
import type { VolumeView } from "../../../../src/state/index.ts";
import type { AskAround } from "../ask-around.ts";
import { type ItemErrorInit, withNotAsked } from "./item-error.ts";
import type { HandlerParts } from "./parts.ts";

/** Finds one volume by id or unique name among what is known here. Deleted ones are not found. */
export function findVolume(parts: Pick<HandlerParts, "view">, item: string): { readonly volume: VolumeView } | { readonly error: ItemErrorInit } {
  const ids: readonly VolumeId[] = isVolumeId(item) ? [item] : parts.view.volumesByName(item);
  const live = ids.flatMap((id) => parts.view.volume(id) ?? []).filter(({ gone }) => !gone);
  const [first, second] = live;
  if (first === undefined) return { error: { item, code: "NOT_FOUND", message: `there is no volume ${item}; cc volume list shows them` } };
  if (second !== undefined)
    return { error: { item, code: "NAME_AMBIGUOUS", message: `several volumes are named ${item}: ${live.map(({ id }) => id).join(", ")}; use the id` } };
  return { volume: first };
}

/** The same after asking around for what is unknown. */
export async function findVolumes(
  parts: Pick<HandlerParts, "view">,
  askAround: AskAround,
  items: readonly string[],
): Promise<{ readonly found: readonly ReturnType<typeof findVolume>[]; readonly notAsked: readonly string[] }> {
  const isKnown = (item: string): boolean => (isVolumeId(item) ? parts.view.volume(item) !== undefined : parts.view.volumesByName(item).length > 0);
  const unknown = items.filter((item) => !isKnown(item));
  const notAsked = unknown.length > 0 ? await askAround(unknown, "volume") : [];
  return { found: items.map((item) => findVolume(parts, item)), notAsked };
}

/**
 * Whether a container's volumes can be had at all, before hosts are asked for bids: each exists, and one reachable host can have
 * them all. Throws CcError with what to do; hosts say for themselves what they lack.
 */
export async function mustHaveVolumes(parts: HandlerParts, askAround: AskAround, ids: readonly VolumeId[]): Promise<void> {
  if (ids.length === 0) return;
  const { view, liveness } = parts;
  const { found, notAsked } = await findVolumes(parts, askAround, ids);
  let pinned: VolumeView | undefined;
  for (const one of found) {
    if ("error" in one) throw new CcError("NOT_FOUND", withNotAsked(one.error, notAsked).message);
    const { volume } = one;
    const name = volume.name || volume.id;
    if (volume.state === "lost") throw new CcError("CONFLICT", `volume ${name} is lost: its host was removed from the mesh; delete it with cc volume delete`);
    const host = view.member(volume.holder)?.name || volume.holder;
    if (volume.holder !== parts.self && liveness.of(volume.holder).standing === "unreachable")
      throw new CcError(
        "HOST_UNREACHABLE",
        `volume ${name} is on ${host}, which cannot be reached; what uses it runs there only: try again when the host is back`,
      );
    if (volume.state !== "mounted") continue;
    if (pinned !== undefined && pinned.holder !== volume.holder)
      throw new CcError("CONFLICT", `volumes ${pinned.name || pinned.id} and ${name} lie on different hosts; one container can use only what is on one host`);
    pinned = volume;
  }
}

import { CcError, isVpcId, type VpcId } from "../../../../src/base/index.ts";
import type { VpcView } from "../../../../src/state/index.ts";
import type { AskAround } from "../ask-around.ts";
import { type ItemErrorInit, withNotAsked } from "./item-error.ts";
import type { HandlerParts } from "./parts.ts";

type Found = { readonly vpc: VpcView } | { readonly error: ItemErrorInit };

/** Finds one VPC by id, or by a name that is unique in the mesh, or else in this peer's zone: every zone has a `default`. */
function findVpc(parts: Pick<HandlerParts, "view" | "zone">, item: string): Found {
  const ids: readonly VpcId[] = isVpcId(item) ? [item] : parts.view.vpcsByName(item);
  const live = ids.flatMap((id) => parts.view.vpc(id) ?? []).filter(({ gone }) => !gone);
  const near = live.filter(({ zone }) => zone === parts.zone);
  const [first] = near.length > 0 ? near : live;
  if (first === undefined) return { error: { item, code: "NOT_FOUND", message: `there is no VPC ${item}; cc vpc list shows them` } };
  if (live.length === 1 || near.length === 1) return { vpc: first };
  const shown = live.map(({ id, zone }) => `${id} in zone ${zone}`).join(", ");
  return { error: { item, code: "NAME_AMBIGUOUS", message: `several VPCs are named ${item}: ${shown}; use the id` } };
}

/** The same after asking around for what is unknown. */
export async function findVpcs(
  parts: Pick<HandlerParts, "view" | "zone">,
  askAround: AskAround,
  items: readonly string[],
): Promise<{ readonly found: readonly Found[]; readonly notAsked: readonly string[] }> {
  const isKnown = (item: string): boolean => (isVpcId(item) ? parts.view.vpc(item) !== undefined : parts.view.vpcsByName(item).length > 0);
  const unknown = items.filter((item) => !isKnown(item));
  const notAsked = unknown.length > 0 ? await askAround(unknown, "vpc") : [];
  return { found: items.map((item) => findVpc(parts, item)), notAsked };
}

/** Whether a container's VPC is there, before hosts are asked for bids. Throws CcError NOT_FOUND. */
export async function mustHaveVpc(parts: HandlerParts, askAround: AskAround, id: VpcId | undefined): Promise<void> {
  if (id === undefined) return;
  const { found, notAsked } = await findVpcs(parts, askAround, [id]);
  const [one] = found;
  if (one !== undefined && "error" in one) throw new CcError("NOT_FOUND", withNotAsked(one.error, notAsked).message);
}

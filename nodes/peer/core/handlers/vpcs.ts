import { CcError, formatCidr, formatIp, isName, isZone, type PeerId, type VpcId, type Zone } from "../../../../src/base/index.ts";
import { userKey, type VpcView, vpcIdOf } from "../../../../src/state/index.ts";
import { assignVnis, capacityOf, freeIn, gatewayOf, isInUse, piecesOf, placeOf, type VpcAddresses, vpcCidr } from "../../../../src/vpc/index.ts";
import { must } from "../../must.ts";
import { networksInUse, vpcStamp } from "../../vpc-stamp.ts";
import type { AskAround } from "../ask-around.ts";
import { catchUp } from "../seen.ts";
import { findVpcs } from "./find-vpcs.ts";
import type { HeldNames } from "./held-names.ts";
import { withNotAsked } from "./item-error.ts";
import { type Made, madeBefore } from "./made-before.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { deleteVpcs } from "./vpc-delete.ts";
import { mustHaveToken, requestDraft, toWritten } from "./writes.ts";

export type VpcHandlerParts = { readonly addresses: VpcAddresses; readonly names: HeldNames };
const VPCS_MAX = 256;

/** VPCs as users make, see and delete them. */
export function vpcHandlers(
  parts: HandlerParts,
  { addresses, names }: VpcHandlerParts,
  askAround: AskAround,
): Some<"createVpc" | "listVpcs" | "inspectVpcs" | "deleteVpcs"> {
  const { view, liveness, clock, replica } = parts;
  const isReachable = (peer: PeerId): boolean => peer === parts.self || (view.member(peer) !== undefined && liveness.of(peer).standing !== "unreachable");

  const made: Made<VpcId, VpcView> = {
    kind: "vpc",
    idOf: vpcIdOf,
    get: (id) => view.vpc(id),
    ofToken: (key, token) => view.vpcs().find((vpc) => vpc.keyId === key && vpc.token === token),
  };

  const membersOf = (id: VpcId) =>
    view.containers().flatMap((container) => {
      const place = container.gone ? undefined : placeOf(container);
      return place?.vpc === id ? [{ container, place }] : [];
    });

  const stateOf = (vpc: VpcView) => {
    const members = membersOf(vpc.id);
    return {
      id: vpc.id,
      name: vpc.name,
      cidr: formatCidr(vpc.cidr),
      zone: vpc.zone,
      state: vpc.gone ? "deleting" : "ready",
      gateway: formatIp(gatewayOf(vpc.cidr)),
      vni: assignVnis(view.vpcs()).get(vpc.id) ?? vpc.vni,
      addresses: Number(capacityOf(vpc.cidr)),
      used: members.length,
      containers: members.filter(({ container }) => isInUse(container)).length,
      createdAtMs: vpc.createdAtMs,
      key: vpc.keyId,
      default: addresses.defaultOf(vpc.zone)?.id === vpc.id,
    };
  };

  const wholeOf = (vpc: VpcView) => {
    const taken = addresses.taken(vpc);
    const blocks = piecesOf(vpc).map(({ block, owner }) => {
      const member = view.member(owner);
      const free = Number(freeIn(block, taken));
      return { block: formatCidr(block), owner: member === undefined ? "" : owner, ownerName: member?.name ?? "", reachable: isReachable(owner), free };
    });
    const members = membersOf(vpc.id).map(({ container, place }) => ({
      container: container.id,
      name: container.name,
      address: formatIp(place.address),
      host: place.holder,
      hostName: view.member(place.holder)?.name ?? "",
      phase: container.phase?.phase ?? "claimed",
      names: container.name === "" ? [] : [`${container.name}.${vpc.name}.cc.internal`],
    }));
    return { ...stateOf(vpc), blocks, members };
  };

  return {
    createVpc: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      const { name, token } = request;
      if (!isName(name))
        throw new CcError("BAD_REQUEST", `"${name}" is not a name: 1 to 63 lower-case letters, digits and -, beginning and ending with a letter or digit`);
      const zone = request.zone === "" ? parts.zone : mustBeZone(request.zone);
      const cidr = must(vpcCidr(request.cidr, networksInUse(view.members())));
      const before = await madeBefore(parts, askAround, made, caller, request);
      if (before !== undefined) {
        if (before.name !== name || formatCidr(before.cidr) !== formatCidr(cidr) || before.zone !== zone)
          throw new CcError("TOKEN_REUSED", `this token made another VPC, ${before.id}`);
        if (before.gone) throw new CcError("CONFLICT", `the VPC of this token, ${before.id}, was deleted already`);
        return { id: before.id, copies: 0, wrote: [] };
      }
      const id = vpcIdOf(caller.keyId, token, parts.self);
      const named = await names.take("vpc", `${zone}/${name}`, id, signal);
      try {
        const draft = requestDraft(
          userKey(zone, "vpc", id),
          caller,
          false,
          vpcStamp({ self: parts.self, vpcs: view.vpcs(), members: view.members() }, id, cidr, zone),
        );
        const written = await replica.write([draft], { isClaim: true, signal });
        return { id, copies: written.copies, wrote: written.records.map(toWritten) };
      } finally {
        named.release();
      }
    },

    listVpcs: async (request) => {
      await catchUp(parts, request.to);
      const vpcs = view
        .vpcs()
        .map((vpc) => ({ vpc, state: stateOf(vpc) }))
        .flatMap(({ vpc, state }) => (vpc.gone && state.containers === 0 ? [] : [state]));
      vpcs.sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
      const unreachable = view.members().filter(({ peer }) => !isReachable(peer));
      return { vpcs, unreachable: unreachable.map((member) => member.name || member.peer), asOfMs: clock.nowMs() };
    },

    inspectVpcs: async (request) => {
      await catchUp(parts, request.to);
      if (request.vpcs.length === 0 || request.vpcs.length > VPCS_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${VPCS_MAX} VPCs`);
      const { found, notAsked } = await findVpcs(parts, askAround, request.vpcs);
      const errors = found.flatMap((one) => ("error" in one ? [withNotAsked(one.error, notAsked)] : []));
      return { vpcs: found.flatMap((one) => ("vpc" in one ? [wholeOf(one.vpc)] : [])), errors };
    },

    deleteVpcs: deleteVpcs(parts, addresses, askAround),
  };

  function mustBeZone(text: string): Zone {
    if (!isZone(text)) throw new CcError("BAD_REQUEST", `"${text}" is not a zone; cc host list shows zones`);
    if (!view.members().some((member) => member.zone === text)) throw new CcError("NOT_FOUND", `zone ${text} has no hosts; cc host list shows zones`);
    return text;
  }
}

const sortKey = ({ zone, name, id }: Record<"zone" | "name" | "id", string>): string => `${zone} ${name} ${id}`;

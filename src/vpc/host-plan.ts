import { type Cidr, type ContainerId, containsIp, type Ip, type PeerId, type VpcId } from "../base/index.ts";
import type { ContainerView, VpcView } from "../state/index.ts";
import { gatewayOf, type Piece, piecesOf } from "./blocks.ts";
import { isInUse, type Membership, placeOf } from "./membership.ts";
import type { HostNetwork, PassingHost, RemotePort, Underlay, VpcNetwork } from "./network.ts";
import { assignVnis } from "./vni.ts";

/** What a container of this host was joined to: kept beside its namespace, since it holds whatever the records say meanwhile. */
export type JoinedVpc = { readonly vpc: VpcId; readonly name: string; readonly cidr: Cidr; readonly vni: number; readonly address: Ip };

/** What is known when this host's part in VPCs is planned. */
export type KnownNetworks = {
  readonly self: PeerId;
  readonly vpcs: readonly VpcView[];
  /** Containers with a network namespace on this host. */
  readonly joined: ReadonlyMap<ContainerId, JoinedVpc>;
  /** VPCs that this host passes published ports on to. */
  readonly passing: ReadonlySet<VpcId>;
  /** Hosts that may pass ports on to these VPCs. */
  readonly passingHosts: readonly PassingHost[];
  /** VPCs that stay here without anybody, as long as they are: ready for the next container. */
  readonly kept: ReadonlyMap<VpcId, unknown>;
  readonly underlay: Underlay;
  /** Where another host is reached; undefined: it has not said so yet, or nothing may go to it. */
  readonly wayTo: (peer: PeerId) => Ip | undefined;
};

/** A container with a process, or on its way to one, in its VPC. */
export type ActiveMember = { readonly container: ContainerView; readonly place: Membership };

/**
 * Everybody who uses a VPC, by VPC, the oldest containers first. An address counts where the claim's host owns its block: nobody takes another's
 * traffic by saying that it has its address.
 */
export function activeMembers(vpcs: readonly VpcView[], containers: readonly ContainerView[]): ReadonlyMap<VpcId, readonly ActiveMember[]> {
  const owners = new Map(vpcs.map((vpc) => [vpc.id, piecesOf(vpc)]));
  const active = containers.flatMap((container) => {
    const place = isInUse(container) ? placeOf(container) : undefined;
    const pieces = place === undefined ? undefined : owners.get(place.vpc);
    return place === undefined || pieces === undefined || ownerOf(pieces, place.address) !== place.holder ? [] : [{ container, place }];
  });
  active.sort((a, b) => a.container.createdAtMs - b.container.createdAtMs || (a.container.id < b.container.id ? -1 : 1));
  return Map.groupBy(active, ({ place }) => place.vpc);
}

/** `pieces` in order, as `piecesOf` gives them. */
function ownerOf(pieces: readonly Piece[], ip: Ip): PeerId | undefined {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const piece = pieces[middle];
    if (piece !== undefined && piece.block.base.value <= ip.value) low = middle + 1;
    else high = middle;
  }
  const piece = pieces[low - 1];
  return piece !== undefined && containsIp(piece.block, ip) ? piece.owner : undefined;
}

/** What this host's kernel is to hold: the VPCs of its own containers, those that it passes ports on to, with everybody else in them, and what it keeps ready. */
export function hostNetwork(known: KnownNetworks, members: ReadonlyMap<VpcId, readonly ActiveMember[]>): HostNetwork {
  const vnis = assignVnis(known.vpcs);
  const views = new Map(known.vpcs.map((vpc) => [vpc.id, vpc]));
  const byVpc = new Map([...known.passing].map((id): [VpcId, [ContainerId, JoinedVpc][]] => [id, []]));
  for (const [container, joined] of known.joined) byVpc.set(joined.vpc, [...(byVpc.get(joined.vpc) ?? []), [container, joined]]);
  for (const id of known.kept.keys()) if (!byVpc.has(id) && views.get(id)?.gone === false) byVpc.set(id, []);
  const sorted = [...byVpc].sort(([a], [b]) => (a < b ? -1 : 1));
  const vpcs = sorted.flatMap(([id, joined]): VpcNetwork[] => {
    // A VPC whose record is lost here is as it was joined: what runs in it runs on.
    const shape = joined[0]?.[1] ?? views.get(id);
    if (shape === undefined) return [];
    const { cidr } = shape;
    const local = joined.map(([container, { address }]) => ({ container, address })).sort((a, b) => (a.container < b.container ? -1 : 1));
    const own = new Set(local.map(({ address }) => address.value));
    // Where nobody is, nobody is spoken to: a host does not follow others' containers for nothing.
    const isNeeded = joined.length > 0 || known.passing.has(id);
    const remote = (isNeeded ? (members.get(id) ?? []) : []).flatMap(({ place }): RemotePort[] => {
      const host = place.holder === known.self || own.has(place.address.value) ? undefined : known.wayTo(place.holder);
      return host === undefined ? [] : [{ address: place.address, host, peer: place.holder }];
    });
    const passing = known.passing.has(id) ? known.passingHosts : [];
    return [{ id, vni: vnis.get(id) ?? shape.vni, cidr, gateway: gatewayOf(cidr), local, remote, passing }];
  });
  return { underlay: known.underlay, vpcs };
}

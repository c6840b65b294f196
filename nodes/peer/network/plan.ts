import { type ContainerId, type Ip, type PeerId, parseIp, type VpcId, type Zone } from "../../../src/base/index.ts";
import type { FirewallState } from "../../../src/firewall/index.ts";
import { standingPorts } from "../../../src/ports/index.ts";
import type { View } from "../../../src/state/index.ts";
import {
  type ActiveMember,
  activeMembers,
  type HostNetwork,
  hostNetwork,
  type JoinedVpc,
  passingAddress,
  type TunnelPeer,
  type TunnelSide,
  tunnelAddress,
} from "../../../src/vpc/index.ts";
import { ruleOf } from "../core/handlers/firewall.ts";
import { firewallState } from "./firewall-state.ts";
import { underlayOf, type WayTo, wayTo } from "./ways.ts";

export const MTU_DEFAULT = 1_500;

/** What this host's kernel is to hold of VPCs, and who is active in each, in the whole mesh. */
export type Planned = {
  readonly network: HostNetwork;
  readonly members: ReadonlyMap<VpcId, readonly ActiveMember[]>;
  /** Hosts of the zone that are reached through the tunnel. */
  readonly tunnelPeers: readonly TunnelPeer[];
  /** Those that nothing goes to: encryption is required, and one of the two cannot have it. */
  readonly cutOff: readonly PeerId[];
};

export type PlanParts = {
  readonly self: PeerId;
  readonly zone: Zone;
  readonly view: View;
  readonly joined: ReadonlyMap<ContainerId, JoinedVpc>;
  /** VPCs that stay on this host for a while without a container. */
  readonly kept: ReadonlyMap<VpcId, unknown>;
  /** Bytes, as this host tells it to the others; undefined: it has not found its way to them yet. */
  readonly ownMtu: number | undefined;
  /** This host's own end of the tunnel. */
  readonly own: TunnelSide;
  readonly vxlanPort: number;
};

export function planHere(parts: PlanParts): Planned {
  const { self, zone, view, joined, kept } = parts;
  const vpcs = view.vpcs();
  const members = activeMembers(vpcs, view.containers());
  const everywhere = [...members.values()].flat().filter(({ container, place }) => view.vpc(place.vpc)?.zone === zone && container.spec.publishEverywhere);
  const passing = new Set(everywhere.map(({ place }) => place.vpc));
  const ways = waysFrom(parts);
  const passingHosts = [...ways.values()].flatMap(({ underlay, host }) => (host === undefined ? [] : [{ address: passingAddress(underlay), host }]));
  const known = { self, vpcs, joined, passing, passingHosts, kept, underlay: underlayHere(parts, ways), wayTo: (peer: PeerId) => ways.get(peer)?.host };
  const tunnelPeers = [...ways.values()].flatMap(({ peer, way, underlay, side: { end } }): TunnelPeer[] =>
    way === "tunnel" && end !== undefined ? [{ ...end, host: underlay, address: tunnelAddress(peer) }] : [],
  );
  const cutOff = [...ways.values()].flatMap(({ peer, way }) => (way === "none" ? [peer] : []));
  return { network: hostNetwork(known, members), members, tunnelPeers, cutOff };
}

/** Who is longer in the mesh comes first: of two that say they have one key, that one counts. */
function waysFrom({ self, zone, view, own }: PlanParts): ReadonlyMap<PeerId, WayTo> {
  const others = view.members().filter((member) => member.zone === zone && member.peer !== self);
  const ways = others.toSorted((a, b) => a.admittedAtMs - b.admittedAtMs).flatMap((member) => wayTo(own, member) ?? []);
  return new Map(ways.map((way) => [way.peer, way]));
}

function underlayHere({ self, zone, view, ownMtu, vxlanPort, own }: PlanParts, ways: ReadonlyMap<PeerId, WayTo>): HostNetwork["underlay"] {
  const near = view.members().filter((member) => member.zone === zone);
  const neighbours = [...ways.values()].flatMap(({ host }) => host ?? []);
  const mtus = near.flatMap(({ facts }) => ((facts?.underlayMtu ?? 0) > 0 ? [facts?.underlayMtu ?? 0] : []));
  const tunnel = own.end === undefined ? {} : { tunnel: tunnelAddress(self) };
  return { mtu: Math.min(ownMtu ?? MTU_DEFAULT, ...mtus), vxlanPort, neighbours, ...tunnel };
}

export function rulesHere(
  { network, members }: Pick<Planned, "network" | "members">,
  here: { readonly self: PeerId; readonly view: View; readonly own: Ip | undefined; readonly transits: ReadonlyMap<VpcId, Ip> },
): FirewallState {
  const { self, view, own, transits } = here;
  return firewallState({
    network,
    members,
    transits,
    own,
    hosts: view.members().flatMap((member) => underlayOf(member) ?? []),
    containers: (id) => view.container(id),
    ports: publishedHere(members, self),
    rules: view.firewallRules().flatMap((rule) => (rule.gone ? [] : (ruleOf(rule) ?? []))),
  });
}

/** Of containers with a process: here, or anywhere in the zone where they are published on every host. */
function publishedHere(members: Planned["members"], self: PeerId) {
  const active = [...members.values()].flat();
  const places = new Map(active.map(({ container, place }) => [container.id, place]));
  return standingPorts(active.map(({ container }) => container)).flatMap((port) => {
    const place = places.get(port.container.id);
    return place !== undefined && (port.holder === self || port.everywhere) ? [{ ...port, place }] : [];
  });
}

/** Where VXLAN reaches the other hosts; of one that has not said it yet: where its peer listens. */
export function addressesOfOthers(view: View, self: PeerId): readonly Ip[] {
  return view.members().flatMap((member) => (member.peer === self ? [] : (underlayOf(member) ?? meshAddressOf(member.addresses) ?? [])));
}

function meshAddressOf(multiaddrs: readonly string[]): Ip | undefined {
  for (const text of multiaddrs) {
    const [, address = ""] = /^\/ip4\/([^/]+)\//.exec(text) ?? [];
    const ip = parseIp(address);
    if (ip !== undefined && address !== "127.0.0.1") return ip;
  }
  return undefined;
}

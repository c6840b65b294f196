import { type ContainerId, type Ip, type PeerId, parseIp, type VpcId, type Zone } from "../../../src/base/index.ts";
import type { FirewallState } from "../../../src/firewall/index.ts";
import { standingPorts } from "../../../src/ports/index.ts";
import type { View } from "../../../src/state/index.ts";
import { type ActiveMember, activeMembers, type HostNetwork, hostNetwork, type JoinedVpc } from "../../../src/vpc/index.ts";
import { ruleOf } from "../core/handlers/firewall.ts";
import { firewallState } from "./firewall-state.ts";

const MTU_DEFAULT = 1_500;

/** What this host's kernel is to hold of VPCs, and who is active in each, in the whole mesh. */
export type Planned = { readonly network: HostNetwork; readonly members: ReadonlyMap<VpcId, readonly ActiveMember[]> };

export type PlanParts = {
  readonly self: PeerId;
  readonly zone: Zone;
  readonly view: View;
  readonly joined: ReadonlyMap<ContainerId, JoinedVpc>;
  /** VPCs that stay on this host for a while without a container. */
  readonly kept: ReadonlyMap<VpcId, unknown>;
  /** Bytes; undefined: this host has not found its way to the others yet. */
  readonly ownMtu: number | undefined;
  readonly vxlanPort: number;
};

export function planHere(parts: PlanParts): Planned {
  const { self, zone, view, joined, kept } = parts;
  const vpcs = view.vpcs();
  const members = activeMembers(vpcs, view.containers());
  const everywhere = [...members.values()].flat().filter(({ container, place }) => view.vpc(place.vpc)?.zone === zone && container.spec.publishEverywhere);
  const passing = new Set(everywhere.map(({ place }) => place.vpc));
  const known = { self, vpcs, joined, passing, kept, underlay: underlayHere(parts), underlayOf: (peer: PeerId) => underlayOf(view, peer) };
  return { network: hostNetwork(known, members), members };
}

function underlayHere({ self, zone, view, ownMtu, vxlanPort }: PlanParts): HostNetwork["underlay"] {
  const near = view.members().filter((member) => member.zone === zone);
  const neighbours = near.flatMap(({ peer }) => (peer === self ? [] : (underlayOf(view, peer) ?? [])));
  const mtus = near.flatMap(({ facts }) => ((facts?.underlayMtu ?? 0) > 0 ? [facts?.underlayMtu ?? 0] : []));
  return { mtu: Math.min(ownMtu ?? MTU_DEFAULT, ...mtus), vxlanPort, neighbours };
}

export function rulesHere(
  { network, members }: Planned,
  here: { readonly self: PeerId; readonly view: View; readonly own: Ip | undefined; readonly transits: ReadonlyMap<VpcId, Ip> },
): FirewallState {
  const { self, view, own, transits } = here;
  return firewallState({
    network,
    members,
    transits,
    own,
    hosts: view.members().flatMap(({ peer }) => underlayOf(view, peer) ?? []),
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
  return view.members().flatMap(({ peer, addresses }) => (peer === self ? [] : (underlayOf(view, peer) ?? meshAddressOf(addresses) ?? [])));
}

function meshAddressOf(multiaddrs: readonly string[]): Ip | undefined {
  for (const text of multiaddrs) {
    const [, address = ""] = /^\/ip4\/([^/]+)\//.exec(text) ?? [];
    const ip = parseIp(address);
    if (ip !== undefined && address !== "127.0.0.1") return ip;
  }
  return undefined;
}

function underlayOf(view: View, peer: PeerId): Ip | undefined {
  const text = view.member(peer)?.facts?.underlay ?? "";
  return text === "" ? undefined : parseIp(text);
}

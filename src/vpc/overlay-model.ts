import { type Cidr, formatCidr, formatIp, type Ip, isSameIp, type VpcId } from "../base/index.ts";
import { macOf } from "./mac.ts";
import { gatewayMac, type LocalPort, type Underlay, underlayFamily, type VpcNetwork, vpcMtu } from "./network.ts";
import { BRIDGE, formatMark, hostEndOf, type PortMark, parseMark, portName, TUNNEL_VXLAN, transitName, UPLINK, VXLAN } from "./overlay-names.ts";
import { isTunnelAddress } from "./tunnel.ts";

/** A device, in the words of `ip`. Undefined: it does not matter (wanted), or the kernel does not say it (seen). */
export type LinkModel = {
  readonly kind: string;
  /** What it has from its birth, as `ip link add` takes it: with another one it is made anew. */
  readonly fixed: string;
  /** The same, of its place: where its other end or its socket is. */
  readonly place: string;
  /** What its kind lets one change. */
  readonly options: Readonly<Record<string, string>>;
  readonly mac: string | undefined;
  readonly mtu: number | undefined;
  readonly alias: string;
  readonly master: string | undefined;
  /** As a port of a bridge. A kernel that is too old for one of them does not name it. */
  readonly flags: Readonly<Record<string, boolean>>;
  readonly up: boolean;
};

export type SideModel = {
  readonly links: ReadonlyMap<string, LinkModel>;
  /** By device, as `ip addr` takes them. IPv4 only: IPv6 is off. */
  readonly addresses: ReadonlyMap<string, readonly string[]>;
  /** By path below /proc/sys/net. A kernel without the thing has no such path. */
  readonly sysctls: ReadonlyMap<string, string>;
};

export const EMPTY_SIDE: SideModel = { links: new Map(), addresses: new Map(), sysctls: new Map() };

/** What the kernel holds of one VPC. */
export type VpcModel = {
  /** The namespace of the VPC, all of which is ours. */
  readonly inside: SideModel;
  /** The host's own namespace, of which only the end of the VPC's transit is. */
  readonly outside: SideModel;
  /** As `ip route` takes them. */
  readonly routes: readonly string[];
  /** Permanent ones on the bridge: hardware address by address. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** Port by hardware address. */
  readonly bridgeFdb: ReadonlyMap<string, string>;
  /** Other host by hardware address: of the VXLAN device, and of the one in the tunnel. */
  readonly vxlanFdb: ReadonlyMap<string, string>;
  readonly tunnelFdb: ReadonlyMap<string, string>;
};

/** Nothing is flooded: what state does not name is not sent, neither to other hosts nor to other containers. */
const QUIET = { learning: false, flood: false, mcast_flood: false, bcast_flood: false };
/** ARP of a container is answered by the bridge, from the neighbours; frames of a hardware address that is not its own are dropped. */
export const PORT_FLAGS = { ...QUIET, neigh_suppress: false, proxy_arp: true, locked: true };
/** There may be two, and nothing goes from other hosts to other hosts through this one. */
const VXLAN_FLAGS = { ...QUIET, neigh_suppress: true, proxy_arp: false, locked: false, isolated: true };
export const BRIDGE_OPTIONS = { mcast_snooping: "0", stp_state: "0", forward_delay: "0" };
/** VXLAN without a `local`. */
export const ANY_LOCAL = "0.0.0.0";
/** Both ends of a transit are where they belong. */
export const PAIRED = "paired";

const VETH: LinkModel = { kind: "veth", fixed: "", place: "", options: {}, mac: undefined, mtu: undefined, alias: "", master: undefined, flags: {}, up: true };
const PORT_LINK: LinkModel = { ...VETH, master: BRIDGE, flags: PORT_FLAGS };

/** In this order: a device takes over what `default` says when it is made. */
export const INSIDE_SYSCTLS: ReadonlyMap<string, string> = new Map([
  ["ipv6/conf/default/disable_ipv6", "1"],
  ["ipv6/conf/all/disable_ipv6", "1"],
  ["ipv4/ip_forward", "1"],
  // A packet from a container's side has a source in the VPC, one from the host's side has not.
  ["ipv4/conf/all/rp_filter", "1"],
  // There is one gateway and one way out: nobody has anything to say about better ones.
  ["ipv4/conf/all/accept_redirects", "0"],
  ["ipv4/conf/default/send_redirects", "0"],
  ["ipv4/conf/all/send_redirects", "0"],
  // The firewall has rules of its own for the bridge. New namespaces have it on, as soon as the kernel's module is there.
  ["bridge/bridge-nf-call-iptables", "0"],
  ["bridge/bridge-nf-call-ip6tables", "0"],
  ["bridge/bridge-nf-call-arptables", "0"],
]);

/** Of the transit's end on the host: published ports are reached from localhost too, and IPv6 would have an address by itself. */
const outsideSysctls = (transit: string): ReadonlyMap<string, string> =>
  new Map([
    [`ipv4/conf/${transit}/route_localnet`, "1"],
    [`ipv6/conf/${transit}/disable_ipv6`, "1"],
  ]);

export type AttachedPort = { readonly mark: PortMark; readonly mtu: number | undefined };

export type Transit = { readonly range: Cidr; readonly address: Ip };

/** Everything that a VPC is to have on this host, but for ports that are not attached: `attach` makes those. */
export function wantedVpc(underlay: Underlay, vpc: VpcNetwork, transit: Transit, attached: readonly AttachedPort[]): VpcModel {
  const mtu = vpcMtu(underlay);
  const [outer, own, host] = [transitName(vpc.id), formatIp(transit.address), formatIp(hostEndOf(transit.range))];
  const family = underlayFamily(underlay);
  const base: LinkModel = { ...VETH, mtu };
  const links = new Map<string, LinkModel>([
    [BRIDGE, { ...base, kind: "bridge", options: BRIDGE_OPTIONS, mac: gatewayMac(vpc) }],
    [
      VXLAN,
      {
        ...base,
        kind: "vxlan",
        fixed: vxlanFixed(vpc.vni, underlay.vxlanPort, false),
        place: vxlanPlace(family, true),
        options: { local: underlay.local === undefined ? ANY_LOCAL : formatIp(underlay.local) },
        master: BRIDGE,
        flags: VXLAN_FLAGS,
      },
    ],
    ...tunnelLinks(underlay, vpc, base),
    [UPLINK, { ...base, place: PAIRED, mac: macOf(vpc.id, transit.address) }],
  ]);
  const neighbours = new Map<string, string>();
  const bridgeFdb = new Map<string, string>();
  const fdbs = { [VXLAN]: new Map<string, string>(), [TUNNEL_VXLAN]: new Map<string, string>() };
  // A device speaks one family: a host of the other cannot be reached by it.
  const deviceTo = (other: Ip): typeof VXLAN | typeof TUNNEL_VXLAN | undefined => {
    if (isTunnelAddress(other)) return underlay.tunnel === undefined ? undefined : TUNNEL_VXLAN;
    return other.family === family ? VXLAN : undefined;
  };
  const passing = (vpc.passing ?? []).filter(({ host: other }) => deviceTo(other) !== undefined);
  for (const { address, host: other } of [...vpc.remote, ...passing]) {
    const device = deviceTo(other);
    if (device === undefined) continue;
    const mac = macOf(vpc.id, address);
    neighbours.set(formatIp(address), mac);
    bridgeFdb.set(mac, device);
    for (const [name, fdb] of Object.entries(fdbs))
      if (name === device) fdb.set(mac, formatIp(other));
      else fdb.delete(mac);
  }
  for (const { mark, mtu: portMtu } of attached) {
    const [name, mac] = [portName(mark.container), macOf(vpc.id, mark.address)];
    links.set(name, { ...PORT_LINK, mtu: portMtu, alias: formatMark(mark) });
    neighbours.set(formatIp(mark.address), mac);
    bridgeFdb.set(mac, name);
    for (const fdb of Object.values(fdbs)) fdb.delete(mac);
  }
  const gateway = formatIp(vpc.gateway);
  return {
    inside: {
      links,
      addresses: new Map([
        [BRIDGE, [`${gateway}/${vpc.cidr.bits}`]],
        [UPLINK, [`${own} peer ${host}/32`]],
      ]),
      sysctls: INSIDE_SYSCTLS,
    },
    outside: {
      links: new Map([[outer, { ...base, place: PAIRED, mac: macOf(vpc.id, hostEndOf(transit.range)), alias: vpc.id }]]),
      addresses: new Map([[outer, [`${host} peer ${own}/32`]]]),
      sysctls: outsideSysctls(outer),
    },
    // The first two the kernel makes by itself; they can be deleted all the same.
    routes: [
      `${formatCidr(vpc.cidr)} dev ${BRIDGE} proto kernel scope link src ${gateway}`,
      `${host} dev ${UPLINK} proto kernel scope link src ${own}`,
      `default via ${host} dev ${UPLINK}`,
      ...passing.map(({ address }) => `${formatIp(address)} dev ${BRIDGE} scope link`),
    ],
    neighbours,
    bridgeFdb,
    vxlanFdb: fdbs[VXLAN],
    tunnelFdb: fdbs[TUNNEL_VXLAN],
  };
}

/** Its socket is one of the host's namespace too, of the other family: both devices have the VPC's VNI. */
function tunnelLinks({ tunnel, vxlanPort }: Underlay, { vni }: VpcNetwork, base: LinkModel): (readonly [string, LinkModel])[] {
  if (tunnel === undefined) return [];
  const fixed = vxlanFixed(vni, vxlanPort, false);
  return [
    [TUNNEL_VXLAN, { ...base, kind: "vxlan", fixed, place: vxlanPlace(6, true), options: { local: formatIp(tunnel) }, master: BRIDGE, flags: VXLAN_FLAGS }],
  ];
}

export const vxlanFixed = (vni: number, port: number, learning: boolean): string => `id ${vni} dstport ${port} ${learning ? "learning" : "nolearning"}`;

/** `isOutside`: its socket is in another namespace than the device. */
export const vxlanPlace = (family: 4 | 6, isOutside: boolean): string => `IPv${family}, ${isOutside ? "socket outside" : "socket inside"}`;

/** The ports that say what they are, by name. */
export function portsOf({ inside }: Pick<VpcModel, "inside">): Map<string, AttachedPort> {
  const ports = new Map<string, AttachedPort>();
  for (const [name, { alias, kind, mtu }] of inside.links) {
    const mark = parseMark(alias);
    if (mark !== undefined && kind === "veth" && name === portName(mark.container)) ports.set(name, { mark, mtu });
  }
  return ports;
}

/** Which of state's ports are here as it says, and which are not: `attach` makes these. */
export function sortPorts(vpc: Pick<VpcNetwork, "local">, seen: VpcModel | undefined, mtu: number) {
  const ports = seen === undefined ? undefined : portsOf(seen);
  const attached: AttachedPort[] = [];
  const missing: LocalPort[] = [];
  for (const port of vpc.local) {
    const found = ports?.get(portName(port.container));
    const isRight = found !== undefined && found.mark.container === port.container && isSameIp(found.mark.address, port.address);
    if (isRight) attached.push(found);
    // With another MTU it stays as it is until its container's end, which cannot be seen from here, has the new one.
    if (!isRight || found.mtu !== mtu) missing.push(port);
  }
  return { attached, missing };
}

/** With one more port, which has just been made. */
export function withPort(model: VpcModel, vpc: VpcId, { mark, mtu }: AttachedPort): VpcModel {
  const [name, mac] = [portName(mark.container), macOf(vpc, mark.address)];
  const link: LinkModel = { ...PORT_LINK, mtu, alias: formatMark(mark) };
  return {
    ...model,
    inside: { ...model.inside, links: new Map([...model.inside.links, [name, link]]) },
    neighbours: new Map([...model.neighbours, [formatIp(mark.address), mac]]),
    bridgeFdb: new Map([...model.bridgeFdb, [mac, name]]),
  };
}

/** Without a port that was detached. An address that is another host's by now keeps its neighbour. */
export function withoutPort(model: VpcModel, vpc: VpcId, mark: PortMark): VpcModel {
  const name = portName(mark.container);
  const isHere = model.bridgeFdb.get(macOf(vpc, mark.address)) === name;
  const without = withoutLink(model, name);
  return isHere ? { ...without, neighbours: new Map([...without.neighbours].filter(([address]) => address !== formatIp(mark.address))) } : without;
}

/** Without a device, and all that goes with it in the kernel. */
export function withoutLink(model: VpcModel, name: string): VpcModel {
  const isBridge = name === BRIDGE;
  const stays = (line: string): boolean => !`${line} `.includes(` dev ${name} `);
  const links = [...model.inside.links].filter(([other]) => other !== name);
  return {
    ...model,
    inside: {
      ...model.inside,
      links: new Map(isBridge ? links.map(([other, link]) => [other, { ...link, master: undefined, flags: {} }]) : links),
      addresses: new Map([...model.inside.addresses].filter(([device]) => device !== name)),
    },
    routes: model.routes.filter(stays),
    neighbours: isBridge ? new Map() : model.neighbours,
    bridgeFdb: isBridge ? new Map() : new Map([...model.bridgeFdb].filter(([, port]) => port !== name)),
    vxlanFdb: name === VXLAN ? new Map() : model.vxlanFdb,
    tunnelFdb: name === TUNNEL_VXLAN ? new Map() : model.tunnelFdb,
  };
}

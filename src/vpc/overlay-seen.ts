import { type Cidr, formatIp, type Ip, isVpcId, parseIp, type VpcId } from "../base/index.ts";
import { type DumpedFdbEntry, type DumpedLink, type DumpedNamespace, type DumpedRoute, parseNamespace } from "./kernel-dump.ts";
import { ANY_LOCAL, EMPTY_SIDE, type LinkModel, PAIRED, type SideModel, type VpcModel, vxlanFixed, vxlanPlace } from "./overlay-model.ts";
import { BRIDGE, freeTransit, isTransit, isTransitName, TUNNEL_VXLAN, transitName, UPLINK, VXLAN } from "./overlay-names.ts";

/** What was read of the kernel at one moment. */
export type OverlaySeen = {
  /** The host's own namespace: transits only. */
  readonly host: SideModel;
  /** Undefined: the namespace is pinned, and could not be read. */
  readonly vpcs: ReadonlyMap<VpcId, VpcModel | undefined>;
};

/** The host's own namespace among those that were read. */
export const HOST_SECTION = "host";

/**
 * Reads what the observing program wrote: of each namespace its name, sysctls as lines of `PATH VALUE`, and the kernel's dumps (links, addresses,
 * routes, neighbours, FDB; of the host the first two), each behind its length. Undefined: of the host there is nothing to read.
 */
export function parseSeen(file: Buffer): OverlaySeen | undefined {
  const sections = sectionsOf(file);
  const host = sections.get(HOST_SECTION);
  if (host === undefined) return undefined;
  const ends = new Map(host.links.filter(({ name, kind }) => isTransitName(name) && kind === "veth").map((link) => [link.name, link]));
  const side = sideOf(host, [...ends.values()]);
  const vpcs = new Map<VpcId, VpcModel | undefined>();
  for (const [name, inside] of sections)
    if (isVpcId(name)) vpcs.set(name, inside === undefined ? undefined : vpcOf(name, inside, side, ends.get(transitName(name))));
  return { host: side, vpcs };
}

function sectionsOf(file: Buffer): Map<string, DumpedNamespace | undefined> {
  const sections = new Map<string, DumpedNamespace | undefined>();
  let at = 0;
  const count = (): number => {
    at += 4;
    return at <= file.length ? file.readUInt32BE(at - 4) : 0;
  };
  const bytes = (): Buffer => {
    const length = count();
    at += length;
    return file.subarray(at - length, at);
  };
  while (at < file.length) {
    const name = bytes().toString("utf8");
    const sysctls = bytes().toString("utf8");
    const dumps = Array.from({ length: Math.min(count(), file.length) }, bytes);
    sections.set(name, parseNamespace(sysctls, dumps));
  }
  return sections;
}

/** What is seen of a VPC that has no namespace. */
export function absentVpc(vpc: VpcId, host: SideModel): VpcModel {
  return { inside: EMPTY_SIDE, outside: endOf(vpc, host), routes: [], neighbours: new Map(), bridgeFdb: new Map(), vxlanFdb: new Map(), tunnelFdb: new Map() };
}

/** The address that a VPC has on its transit, where it is one of the range. Either end knows it. */
export function seenTransit(range: Cidr, { outside, inside }: Pick<VpcModel, "outside" | "inside">): Ip | undefined {
  const own = [
    ...[...outside.addresses.values()].flat().map((text) => / peer ([^/]+)\/32$/.exec(text)?.[1]),
    ...(inside.addresses.get(UPLINK) ?? []).map((text) => /^(\S+) peer /.exec(text)?.[1]),
  ];
  return own.map((text) => parseIp(text ?? "")).find((address) => address !== undefined && isTransit(range, address));
}

function endOf(vpc: VpcId, host: SideModel, place = ""): SideModel {
  const name = transitName(vpc);
  const link = host.links.get(name);
  if (link === undefined) return EMPTY_SIDE;
  return {
    links: new Map([[name, { ...link, place }]]),
    addresses: new Map([[name, host.addresses.get(name) ?? []]]),
    sysctls: new Map([...host.sysctls].filter(([path]) => path.includes(`/${name}/`))),
  };
}

function vpcOf(vpc: VpcId, dumped: DumpedNamespace, host: SideModel, far: DumpedLink | undefined): VpcModel {
  const inside = sideOf(dumped, dumped.links);
  const near = dumped.links.find(({ name }) => name === UPLINK);
  const place = near !== undefined && far !== undefined && isPair(near, far) ? PAIRED : "";
  const names = namesOf(dumped);
  return {
    inside: { ...inside, links: new Map([...inside.links].map(([name, link]) => [name, name === UPLINK ? { ...link, place } : link])) },
    outside: endOf(vpc, host, place),
    routes: dumped.routes.map((route) => routeText(route, names)),
    neighbours: new Map(
      dumped.neighbours.flatMap(({ device, address, mac, isPermanent }) => (isPermanent && names.get(device) === BRIDGE ? [[address, mac] as const] : [])),
    ),
    ...fdbOf(dumped, names),
  };
}

/** Both ends know the other's number, and that it is in another namespace. */
const isPair = (near: DumpedLink, far: DumpedLink): boolean =>
  near.isElsewhere && far.isElsewhere && near.other === far.index && far.other === near.index && near.kind === "veth" && far.kind === "veth";

const namesOf = ({ links }: DumpedNamespace): ReadonlyMap<number, string> => new Map(links.map(({ index, name }) => [index, name]));

function sideOf(dumped: DumpedNamespace, links: readonly DumpedLink[]): SideModel {
  const names = namesOf(dumped);
  const ours = new Map(links.map(({ index, name }) => [index, name]));
  const texts = dumped.addresses.flatMap(({ device, local, peer, bits }) => {
    const name = ours.get(device);
    return name === undefined ? [] : [{ name, text: peer === "" ? `${local}/${bits}` : `${local} peer ${peer}/${bits}` }];
  });
  return {
    links: new Map(links.map((link) => [link.name, linkOf(link, names)])),
    addresses: new Map([...Map.groupBy(texts, ({ name }) => name)].map(([name, list]) => [name, list.map(({ text }) => text)])),
    sysctls: dumped.sysctls,
  };
}

function linkOf(link: DumpedLink, names: ReadonlyMap<number, string>): LinkModel {
  const { kind, vxlan } = link;
  const isVxlan = kind === "vxlan";
  const local = vxlan.local || ANY_LOCAL;
  return {
    kind,
    fixed: isVxlan ? vxlanFixed(vxlan.id, vxlan.port, vxlan.learning) : "",
    place: isVxlan ? vxlanPlace(local.includes(":") ? 6 : 4, link.isElsewhere) : "",
    options: isVxlan ? { local } : link.bridge,
    mac: link.mac,
    mtu: link.mtu,
    alias: link.alias,
    master: link.master === undefined ? undefined : (names.get(link.master) ?? "elsewhere"),
    flags: link.portFlags,
    up: link.isUp,
  };
}

/** As `ip route` takes it; what it assumes anyway (`proto boot`, `scope global`) left out. */
function routeText({ type, to, via, device, source, metric, isKernels, isOnLink }: DumpedRoute, names: ReadonlyMap<number, string>): string {
  return [
    type,
    to,
    via === "" ? "" : ` via ${via}`,
    device === 0 ? "" : ` dev ${names.get(device)}`,
    isKernels ? " proto kernel" : "",
    isOnLink ? " scope link" : "",
    source === "" ? "" : ` src ${source}`,
    metric === undefined ? "" : ` metric ${metric}`,
  ].join("");
}

/** Of the bridge what was put there, of the VXLAN devices all. A word behind the port or host: not as we make them. */
function fdbOf({ fdb, links }: DumpedNamespace, names: ReadonlyMap<number, string>): Pick<VpcModel, "bridgeFdb" | "vxlanFdb" | "tunnelFdb"> {
  const bridgeFdb = new Map<string, string>();
  const far = new Map([VXLAN, TUNNEL_VXLAN].map((device) => [device, new Map<string, string>()]));
  const own = new Map(links.map(({ index, mac }) => [index, mac]));
  const isOfBridge = ({ master, device, mac, vlan }: DumpedFdbEntry): boolean =>
    names.get(master ?? 0) === BRIDGE && own.get(device) !== mac && vlan === undefined;
  for (const entry of fdb) {
    const { mac, state } = entry;
    const device = names.get(entry.device) ?? "";
    if (isOfBridge(entry)) bridgeFdb.set(mac, state === "static" ? device : `${device} ${state}`);
    else if (entry.isSelf) {
      const fdb = far.get(device);
      const known = fdb?.get(mac);
      fdb?.set(mac, `${known === undefined ? "" : `${known} and `}${entry.to}${entry.more}${state === "permanent" ? "" : ` ${state}`}`);
    }
  }
  return { bridgeFdb, vxlanFdb: far.get(VXLAN) ?? new Map(), tunnelFdb: far.get(TUNNEL_VXLAN) ?? new Map() };
}

/** The transits that have an address; of two with the same the first. */
export function takenTransits(sides: readonly SideModel[]): Map<string, string> {
  const taken = new Map<string, string>();
  for (const { addresses } of sides) {
    for (const [name, texts] of addresses) {
      for (const text of texts) {
        const address = / peer ([^/]+)\//.exec(text)?.[1];
        if (address !== undefined && !taken.has(address)) taken.set(address, name);
      }
    }
  }
  return taken;
}

/** What a VPC has, where it is no other's; else a free one. Undefined: the range is full. */
export function transitFor(range: Cidr, name: string, seen: VpcModel, taken: ReadonlyMap<string, string>): Ip | undefined {
  const own = seenTransit(range, seen);
  const owner = own === undefined ? undefined : taken.get(formatIp(own));
  return own !== undefined && (owner === undefined || owner === name) ? own : freeTransit(range, taken);
}

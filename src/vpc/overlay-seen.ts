import { type Cidr, formatIp, type Ip, isVpcId, parseIp, type VpcId } from "../base/index.ts";
import {
  ANY_LOCAL,
  BRIDGE_OPTIONS,
  EMPTY_SIDE,
  type LinkModel,
  PAIRED,
  PORT_FLAGS,
  type SideModel,
  type VpcModel,
  vxlanFixed,
  vxlanPlace,
} from "./overlay-model.ts";
import { BRIDGE, freeTransit, isTransit, isTransitName, transitName, UPLINK, VXLAN } from "./overlay-names.ts";

/** What was read of the kernel at one moment. */
export type OverlaySeen = {
  /** The host's own namespace: transits only. */
  readonly host: SideModel;
  /** Undefined: the namespace is pinned, and could not be read. */
  readonly vpcs: ReadonlyMap<VpcId, VpcModel | undefined>;
};

/** A device with what only tells whether two ends belong together. */
type SeenLink = { readonly link: LinkModel; readonly index: number; readonly otherIndex: number; readonly isElsewhere: boolean };
type SeenSide = {
  readonly links: ReadonlyMap<string, SeenLink>;
  readonly addresses: ReadonlyMap<string, readonly string[]>;
  readonly sysctls: SideModel["sysctls"];
};
type Row = Readonly<Record<string, unknown>>;

/**
 * Reads what the observing script wrote: sysctls as `PATH VALUE` and the answers of `ip` and `bridge`, a line of JSON each; of the host first
 * (devices of kind veth), then of every VPC behind a line `@ID` (addresses, routes, neighbours, FDB). Undefined: of the host there is nothing to read.
 */
export function parseSeen(text: string): OverlaySeen | undefined {
  const [first = "", ...sections] = text.split(/^@/m);
  if (rowsOf(first.split("\n").find((line) => line.startsWith("[")) ?? "") === undefined) return undefined;
  const host = sideOf(first.split("\n"), isTransitName);
  const vpcs = new Map<VpcId, VpcModel | undefined>();
  for (const section of sections) {
    const [id = "", ...lines] = section.split("\n");
    if (isVpcId(id)) vpcs.set(id, vpcOf(id, lines, host));
  }
  return { host: { ...host, links: plain(host.links) }, vpcs };
}

/** What is seen of a VPC that has no namespace. */
export function absentVpc(vpc: VpcId, host: SideModel): VpcModel {
  return { inside: EMPTY_SIDE, outside: endOf(vpc, host), routes: [], neighbours: new Map(), bridgeFdb: new Map(), vxlanFdb: new Map() };
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

function vpcOf(vpc: VpcId, lines: readonly string[], host: SeenSide): VpcModel | undefined {
  const answers = lines.filter((line) => line.startsWith("[")).map(rowsOf);
  const [devices, routes, neighbours, fdb] = answers;
  if (devices === undefined || routes === undefined || neighbours === undefined || fdb === undefined) return undefined;
  const inside = sideOf(lines, () => true);
  const [near, far] = [inside.links.get(UPLINK), host.links.get(transitName(vpc))];
  const place = near !== undefined && far !== undefined && isPair(near, far) ? PAIRED : "";
  const links = plain(inside.links);
  if (near !== undefined) links.set(UPLINK, { ...near.link, place });
  return {
    inside: { ...inside, links },
    outside: endOf(vpc, { ...host, links: plain(host.links) }, place),
    routes: routes.map(routeOf),
    neighbours: new Map(neighbours.flatMap((row) => (text(row, "dev") === BRIDGE ? [[text(row, "dst"), text(row, "lladdr")] as const] : []))),
    ...fdbOf(fdb, inside),
  };
}

/** Both ends know the other's number, and that it is in another namespace. */
const isPair = (near: SeenLink, far: SeenLink): boolean =>
  near.isElsewhere &&
  far.isElsewhere &&
  near.otherIndex === far.index &&
  far.otherIndex === near.index &&
  near.link.kind === "veth" &&
  far.link.kind === "veth";

const plain = (links: ReadonlyMap<string, SeenLink>): Map<string, LinkModel> => new Map([...links].map(([name, { link }]) => [name, link]));

function sideOf(lines: readonly string[], isOurs: (name: string) => boolean): SeenSide {
  const rows = (rowsOf(lines.find((line) => line.startsWith("[")) ?? "[]") ?? []).filter((row) => isOurs(text(row, "ifname")));
  return {
    links: new Map(rows.map((row) => [text(row, "ifname"), linkOf(row)])),
    addresses: new Map(rows.flatMap((row) => addressesOf(row))),
    sysctls: new Map(
      lines.flatMap((line) => {
        const [path = "", value] = line.split(" ");
        return value === undefined || line.startsWith("[") ? [] : [[path, value] as const];
      }),
    ),
  };
}

function linkOf(row: Row): SeenLink {
  const info = part(row, "linkinfo");
  const data = part(info, "info_data");
  const kind = text(info, "info_kind");
  const isElsewhere = row["link_netnsid"] !== undefined;
  const local = text(data, "local6") || text(data, "local") || ANY_LOCAL;
  const link: LinkModel = {
    kind,
    fixed: kind === "vxlan" ? vxlanFixed(number(data, "id"), number(data, "port"), data["learning"] === true) : "",
    place: kind === "vxlan" ? vxlanPlace(local.includes(":") ? 6 : 4, isElsewhere) : "",
    options: kind === "vxlan" ? { local } : kind === "bridge" ? bridgeOptions(data) : {},
    mac: text(row, "address"),
    mtu: number(row, "mtu"),
    alias: text(row, "ifalias"),
    master: text(row, "master") || undefined,
    flags: flagsOf(part(info, "info_slave_data")),
    up: list(row, "flags").includes("UP"),
  };
  return { link, index: number(row, "ifindex"), otherIndex: number(row, "link_index"), isElsewhere };
}

const bridgeOptions = (data: Row): Record<string, string> =>
  Object.fromEntries(Object.keys(BRIDGE_OPTIONS).flatMap((key) => (data[key] === undefined ? [] : [[key, String(data[key])]])));

function flagsOf(data: Row): Record<string, boolean> {
  return Object.fromEntries(Object.keys(PORT_FLAGS).flatMap((flag) => (typeof data[flag] === "boolean" ? [[flag, data[flag]]] : [])));
}

function addressesOf(row: Row): (readonly [string, readonly string[]])[] {
  const found = list(row, "addr_info")
    .filter(isRow)
    .filter((address) => text(address, "family") === "inet")
    .map((address) => {
      const [local, peer, bits] = [text(address, "local"), text(address, "address"), number(address, "prefixlen")];
      return peer === "" ? `${local}/${bits}` : `${local} peer ${peer}/${bits}`;
    });
  return found.length === 0 ? [] : [[text(row, "ifname"), found]];
}

/** As `ip route` takes it; what it assumes anyway (`proto boot`, `scope global`) left out. */
function routeOf(row: Row): string {
  const type = text(row, "type");
  const of = (word: string, key: string): string => (row[key] === undefined ? "" : ` ${word} ${String(row[key])}`);
  return [
    type === "" || type === "unicast" ? "" : `${type} `,
    text(row, "dst"),
    of("via", "gateway"),
    of("dev", "dev"),
    text(row, "protocol") === "kernel" ? " proto kernel" : "",
    text(row, "scope") === "link" ? " scope link" : "",
    of("src", "prefsrc"),
    of("metric", "metric"),
  ].join("");
}

/** Of the bridge what was put there, of the VXLAN device all. A word behind the port or host: not as we make them. */
function fdbOf(rows: readonly Row[], { links }: SeenSide): Pick<VpcModel, "bridgeFdb" | "vxlanFdb"> {
  const bridgeFdb = new Map<string, string>();
  const vxlanFdb = new Map<string, string>();
  for (const row of rows) {
    const [mac, device, state] = [text(row, "mac"), text(row, "ifname"), text(row, "state")];
    if (text(row, "master") === BRIDGE) {
      if (mac === links.get(device)?.link.mac || row["vlan"] !== undefined) continue;
      const port = state === "static" ? device : `${device} ${state}`;
      bridgeFdb.set(mac, port);
    } else if (device === VXLAN && list(row, "flags").includes("self")) {
      const more = ["port", "vni", "viaIf"].flatMap((key) => (row[key] === undefined ? [] : [` ${key} ${String(row[key])}`]));
      const known = vxlanFdb.get(mac);
      vxlanFdb.set(mac, `${known === undefined ? "" : `${known} and `}${text(row, "dst")}${more.join("")}${state === "permanent" ? "" : ` ${state}`}`);
    }
  }
  return { bridgeFdb, vxlanFdb };
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

/** Undefined: cut off. */
function rowsOf(line: string): Row[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return undefined;
  }
  return Array.isArray(json) ? json.filter(isRow) : undefined;
}

const isRow = (value: unknown): value is Row => typeof value === "object" && value !== null && !Array.isArray(value);
const text = (row: Row, key: string): string => (typeof row[key] === "string" ? row[key] : "");
const number = (row: Row, key: string): number => (typeof row[key] === "number" ? row[key] : 0);
const part = (row: Row, key: string): Row => (isRow(row[key]) ? row[key] : {});
const list = (row: Row, key: string): readonly unknown[] => (Array.isArray(row[key]) ? row[key] : []);

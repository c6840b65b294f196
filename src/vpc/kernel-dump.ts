import { formatIp } from "../base/index.ts";
import { type Attributes, attributesOf, macOfBytes, messagesOf, type NetlinkMessage, numberOf, textOf } from "./netlink.ts";

/** What the kernel says of one network namespace. Numbers of attributes are those of the kernel's uapi headers, and never change. */
export type DumpedNamespace = {
  /** By path below /proc/sys/net. */
  readonly sysctls: ReadonlyMap<string, string>;
  readonly links: readonly DumpedLink[];
  readonly addresses: readonly { readonly device: number; readonly local: string; readonly peer: string; readonly bits: number }[];
  readonly routes: readonly DumpedRoute[];
  readonly neighbours: readonly { readonly device: number; readonly address: string; readonly mac: string; readonly isPermanent: boolean }[];
  readonly fdb: readonly DumpedFdbEntry[];
};

export type DumpedLink = {
  readonly index: number;
  readonly name: string;
  /** Empty: a real device. */
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly alias: string;
  readonly master: number | undefined;
  /** The other end, or the device below. */
  readonly other: number | undefined;
  /** Its other end or its socket is in another namespace. */
  readonly isElsewhere: boolean;
  readonly vxlan: { readonly id: number; readonly port: number; readonly learning: boolean; readonly local: string };
  /** By name: what a kernel does not know is missing. */
  readonly bridge: Readonly<Record<string, string>>;
  readonly portFlags: Readonly<Record<string, boolean>>;
};

export type DumpedRoute = {
  readonly type: string;
  readonly to: string;
  readonly via: string;
  readonly device: number;
  readonly source: string;
  readonly metric: number | undefined;
  readonly isKernels: boolean;
  readonly isOnLink: boolean;
};

export type DumpedFdbEntry = {
  readonly device: number;
  readonly mac: string;
  readonly state: "permanent" | "static" | "dynamic";
  /** The bridge whose entry it is; undefined: the device's own. */
  readonly master: number | undefined;
  readonly isSelf: boolean;
  readonly vlan: number | undefined;
  readonly to: string;
  /** Beside the address. */
  readonly more: string;
};

const IFF_UP = 1;
const MAIN_TABLE = 254;
const [LINK_HEAD, ADDRESS_HEAD, ROUTE_HEAD, NEIGHBOUR_HEAD] = [16, 8, 12, 12];
const IFLA = { ADDRESS: 1, IFNAME: 3, MTU: 4, LINK: 5, MASTER: 10, LINKINFO: 18, IFALIAS: 20, LINK_NETNSID: 37 } as const;
const INFO = { KIND: 1, DATA: 2, SLAVE_DATA: 5 } as const;
const VXLAN = { ID: 1, LOCAL: 4, LEARNING: 7, PORT: 15, LOCAL6: 17 } as const;
const BRIDGE = { forward_delay: 1, stp_state: 5, mcast_snooping: 23 } as const;
const PORT = { learning: 8, flood: 9, proxy_arp: 10, mcast_flood: 27, bcast_flood: 30, neigh_suppress: 32, isolated: 33, locked: 39 } as const;
const [DESTINATION, OIF, PRIORITY, GATEWAY, SOURCE, TABLE] = [1, 4, 6, 5, 7, 15];
const NEIGHBOUR = { TO: 1, MAC: 2, VLAN: 5, PORT: 6, VNI: 7, VIA: 8, MASTER: 9 } as const;
const typesOf = (attributes: Readonly<Record<string, number>>): ReadonlySet<number> => new Set(Object.values(attributes));
const TYPES = {
  link: typesOf(IFLA),
  info: typesOf(INFO),
  vxlan: typesOf(VXLAN),
  bridge: typesOf(BRIDGE),
  port: typesOf(PORT),
  address: new Set([1, 2]),
  route: new Set([DESTINATION, OIF, PRIORITY, GATEWAY, SOURCE, TABLE]),
  neighbour: typesOf(NEIGHBOUR),
} as const;
const ROUTE_TYPES: Readonly<Record<number, string>> = { 1: "", 6: "blackhole ", 7: "unreachable ", 8: "prohibit ", 9: "throw " };
const [PROTO_KERNEL, SCOPE_LINK, FAMILY_IPV4, FAMILY_BRIDGE] = [2, 253, 2, 7];
const [NUD_NOARP, NUD_PERMANENT, NTF_SELF] = [0x40, 0x80, 2];

/** The dumps of one namespace in the order in which they were asked for; those behind the first two may be left out. Undefined: one was cut off. */
export function parseNamespace(sysctls: string, dumps: readonly Buffer[]): DumpedNamespace | undefined {
  const [links, addresses, ...more] = dumps.map(messagesOf);
  const [routes, neighbours, fdb] = dumps.length === 2 ? [[], [], []] : more;
  if (links === undefined || addresses === undefined || routes === undefined || neighbours === undefined || fdb === undefined) return undefined;
  return {
    sysctls: new Map(sysctls.split("\n").flatMap((line) => (line.includes(" ") ? [line.trim().split(" ") as [string, string]] : []))),
    links: links.map(linkOf),
    addresses: addresses.map(addressOf),
    routes: routes.flatMap(routeOf),
    neighbours: neighbours.map(neighbourOf),
    fdb: fdb.filter(({ body }) => body[0] === FAMILY_BRIDGE).map(fdbEntryOf),
  };
}

function linkOf({ body }: NetlinkMessage): DumpedLink {
  const link = attributesOf(body, TYPES.link, LINK_HEAD);
  const info = nested(link.get(IFLA.LINKINFO), TYPES.info);
  const kind = textOf(info.get(INFO.KIND));
  const dataOf = (wanted: "vxlan" | "bridge"): Attributes => nested(kind === wanted ? info.get(INFO.DATA) : undefined, TYPES[wanted]);
  const vxlan = dataOf("vxlan");
  return {
    index: body.readInt32LE(4),
    name: textOf(link.get(IFLA.IFNAME)),
    kind,
    mac: macOfBytes(link.get(IFLA.ADDRESS)),
    mtu: numberOf(link.get(IFLA.MTU)) ?? 0,
    isUp: (body.readUInt32LE(8) & IFF_UP) !== 0,
    alias: textOf(link.get(IFLA.IFALIAS)),
    master: numberOf(link.get(IFLA.MASTER)),
    other: numberOf(link.get(IFLA.LINK)),
    isElsewhere: link.has(IFLA.LINK_NETNSID),
    vxlan: {
      id: numberOf(vxlan.get(VXLAN.ID)) ?? 0,
      port: portOf(vxlan.get(VXLAN.PORT)),
      learning: numberOf(vxlan.get(VXLAN.LEARNING)) === 1,
      local: addressText(vxlan.get(VXLAN.LOCAL6)) || addressText(vxlan.get(VXLAN.LOCAL)),
    },
    bridge: known(BRIDGE, dataOf("bridge"), String),
    portFlags: known(PORT, nested(info.get(INFO.SLAVE_DATA), TYPES.port), (value) => value === 1),
  };
}

/** 0 for what is too short to be one: what a damaged dump says is looked at again. */
const portOf = (bytes: Buffer | undefined): number => (bytes !== undefined && bytes.length >= 2 ? bytes.readUInt16BE() : 0);

function known<T>(names: Readonly<Record<string, number>>, attributes: Attributes, as: (value: number) => T): Record<string, T> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([name, type]) => {
      const value = numberOf(attributes.get(type));
      return value === undefined ? [] : [[name, as(value)]];
    }),
  );
}

function addressOf({ body }: NetlinkMessage): DumpedNamespace["addresses"][number] {
  const address = attributesOf(body, TYPES.address, ADDRESS_HEAD);
  const [local, peer] = [addressText(address.get(2)), addressText(address.get(1))];
  return { device: body.readUInt32LE(4), local: local || peer, peer: local === peer ? "" : peer, bits: body[1] ?? 0 };
}

/** Of the main table. */
function routeOf({ body }: NetlinkMessage): DumpedRoute[] {
  const route = attributesOf(body, TYPES.route, ROUTE_HEAD);
  const [family, bits, , , table, protocol, scope, type = 0] = body;
  if (family !== FAMILY_IPV4 || (numberOf(route.get(TABLE)) ?? table) !== MAIN_TABLE) return [];
  const to = addressText(route.get(DESTINATION));
  return [
    {
      type: ROUTE_TYPES[type] ?? `${type} `,
      to: to === "" ? "default" : bits === 32 ? to : `${to}/${bits}`,
      via: addressText(route.get(GATEWAY)),
      device: numberOf(route.get(OIF)) ?? 0,
      source: addressText(route.get(SOURCE)),
      metric: numberOf(route.get(PRIORITY)),
      isKernels: protocol === PROTO_KERNEL,
      isOnLink: scope === SCOPE_LINK,
    },
  ];
}

function neighbourOf({ body }: NetlinkMessage): DumpedNamespace["neighbours"][number] {
  const neighbour = attributesOf(body, TYPES.neighbour, NEIGHBOUR_HEAD);
  return {
    device: body.readInt32LE(4),
    address: addressText(neighbour.get(NEIGHBOUR.TO)),
    mac: macOfBytes(neighbour.get(NEIGHBOUR.MAC)),
    isPermanent: (body.readUInt16LE(8) & NUD_PERMANENT) !== 0,
  };
}

function fdbEntryOf({ body }: NetlinkMessage): DumpedFdbEntry {
  const entry = attributesOf(body, TYPES.neighbour, NEIGHBOUR_HEAD);
  const state = body.readUInt16LE(8);
  const port = entry.has(NEIGHBOUR.PORT) ? portOf(entry.get(NEIGHBOUR.PORT)) : undefined;
  const more = [
    ["port", port],
    ["vni", numberOf(entry.get(NEIGHBOUR.VNI))],
    ["via", numberOf(entry.get(NEIGHBOUR.VIA))],
  ].flatMap(([what, value]) => (value === undefined ? [] : [` ${what} ${value}`]));
  return {
    device: body.readInt32LE(4),
    mac: macOfBytes(entry.get(NEIGHBOUR.MAC)),
    state: (state & NUD_PERMANENT) !== 0 ? "permanent" : (state & NUD_NOARP) !== 0 ? "static" : "dynamic",
    master: numberOf(entry.get(NEIGHBOUR.MASTER)),
    isSelf: ((body[10] ?? 0) & NTF_SELF) !== 0,
    vlan: numberOf(entry.get(NEIGHBOUR.VLAN)),
    to: addressText(entry.get(NEIGHBOUR.TO)),
    more: more.join(""),
  };
}

const nested = (value: Buffer | undefined, types: ReadonlySet<number>): Attributes => (value === undefined ? new Map() : attributesOf(value, types));

/** Empty for what is no address, or not there. */
function addressText(value: Buffer | undefined): string {
  if (value?.length === 4) return value.join(".");
  return value?.length === 16 ? formatIp({ family: 6, value: BigInt(`0x${value.toString("hex")}`) }) : "";
}

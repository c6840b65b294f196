/**
 * The names of a VPC: what a container gets when it asks its gateway.
 *
 * Every host answers from its own state for the VPCs that it has containers of. Nothing is asked of another host, so names
 * work while the mesh is cut, and what they say is as new as this host's records. There is a table for each VPC
 * (`NameTable`), replaced as a whole when something changes. One server process a host answers for all of them and tells VPCs apart by the
 * address that a query comes from; two VPCs with the same CIDR and the same names are two tables.
 *
 *   NAME.VPC.cc.internal, ID.VPC.cc.internal   a container's address. Of two with one name the older has it; an id is nobody's name
 *   VALUE.KEY.VPC.cc.internal                  all healthy containers with that label, in random order
 *   gateway.VPC.cc.internal                    the gateway (`_gateway` too: a container may be called `gateway`, and then that name is its own)
 *   NAME, ID, VALUE.KEY                        the same, where there is such a one; else the host's resolvers are asked
 *   D.C.B.A.in-addr.arpa                       of the VPC's own CIDR, and never asked of anybody else
 *   everything else                            the host's resolvers
 *
 * Bare names. Containers have `search VPC.cc.internal`, so resolvers ask for a name without a dot with the VPC's behind it. A
 * name with a dot, like VALUE.KEY, they first ask for as it is (ndots is 1), and musl's never asks for it otherwise. So a
 * bare VALUE.KEY is answered here where a container of the VPC has that label, healthy or not: a group that is down for a moment must not
 * become a stranger's address in the internet. It hides a public name of two labels for this VPC, as its owner chose by the label; and once no container has the
 * label, the bare name is the internet's: who cannot have that writes the whole name. Keys with dots have whole names only.
 *
 * What is under cc.internal and does not exist is NXDOMAIN, also other VPCs' names: their addresses lead nowhere here. What exists,
 * but not in the type that was asked for, is an empty answer; clients ask for AAAA beside A, and take an NXDOMAIN for both.
 *
 * Labels are found by DNS where their value is one DNS label and their key one or more; case does not count, so `tier=Web` and `tier=web`
 * are one group here. Other labels have no name.
 *
 * Rejected: names kept by each host's /etc/hosts in the container (no groups, a file to write in each of them at each change);
 * the library dns-packet for messages (see names-message.ts: bytes that are not UTF-8 and dots in labels come back as another name, even as
 * packets that it cannot read itself, three quarters of mutated queries only throw, and without compression a record takes 46 bytes instead of 16);
 * a cache of forwarded answers (the host's resolvers have one, a millisecond away, and identical
 * questions in flight are asked once; a second cache would be one more place where an answer can be stale or planted); the same view in
 * every VPC, with other VPCs' names in it; ndots:2 for containers, which would send each name with one dot to the VPC first.
 */
import { type Cidr, type ContainerId, containsIp, type Ip, type VpcId } from "../base/index.ts";
import { lowerCase, type ReplyRecord, TYPE } from "./names-message.ts";

/** What this host knows of the names of one VPC. Data only. */
export type NameTable = {
  readonly vpc: VpcId;
  readonly name: string;
  readonly cidr: Cidr;
  readonly gateway: Ip;
  /** The address by which its queries arrive: of the transit's VPC end on this host. */
  readonly source: Ip;
  /** All that live, on whatever host, older ones first. */
  readonly containers: readonly NamedContainer[];
};

export type NamedContainer = {
  readonly id: ContainerId;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly address: Ip;
  /** Only healthy ones are in groups. */
  readonly healthy: boolean;
};

/** The records of a name, by the type that is asked for. */
export type Addresses = { readonly v4: readonly ReplyRecord[]; readonly v6: readonly ReplyRecord[] };

/** A table made ready for questions. */
export type NameIndex = {
  readonly cidr: Cidr;
  /** Lower-case labels of the VPC's own domain. */
  readonly domain: readonly string[];
  readonly gateway: Addresses;
  readonly containers: ReadonlyMap<string, Addresses>;
  /** By `value.key`; empty when none is healthy. */
  readonly groups: ReadonlyMap<string, Addresses>;
  /** What stands above groups: exists, but has no records. */
  readonly above: ReadonlySet<string>;
  /** By the value of an IPv4 address, the label under the VPC's domain. */
  readonly hosts: ReadonlyMap<number, string>;
};

/** `zoneLabels`: as in `Reply`. */
export type Finding =
  | { readonly kind: "addresses"; readonly addresses: Addresses; readonly zoneLabels: number }
  | { readonly kind: "host"; readonly labels: readonly string[]; readonly zoneLabels: number }
  /** The zone itself. */
  | { readonly kind: "zone"; readonly zoneLabels: number }
  /** It exists, without a record of any type. */
  | { readonly kind: "bare"; readonly zoneLabels: number }
  | { readonly kind: "absent"; readonly zoneLabels: number }
  | { readonly kind: "elsewhere" };

const ZONE = ["cc", "internal"];
const REVERSE = ["in-addr", "arpa"];
const GATEWAY = "gateway";
/** No container's name has an underscore. */
const GATEWAY_ALWAYS = "_gateway";
const LABEL = /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/** The name of a label's group inside its VPC; undefined where DNS cannot say it. */
function groupName(key: string, value: string): string | undefined {
  const parts = [value, ...key.split(".")];
  return parts.every((part) => LABEL.test(part)) ? lowerCase(parts.join(".")) : undefined;
}

export function indexNames({ name, cidr, gateway, containers: given }: NameTable): NameIndex {
  const containers = new Map<string, Addresses>();
  const groups = new Map<string, Growing>();
  const hosts = new Map<number, string>();
  const groupOf = groupFinder(groups);
  // Ids first: a container that is called like another's id does not get its traffic.
  for (const { id, address } of given) containers.set(id, addressesOf(address));
  for (const { id, name: ownName, labels, address, healthy } of given) {
    const own = lowerCase(ownName);
    const addresses = containers.get(id) ?? addressesOf(address);
    const isNamed = !containers.has(own);
    if (isNamed) containers.set(own, addresses);
    const value = address.family === 4 ? Number(address.value) : undefined;
    if (value !== undefined && !hosts.has(value)) hosts.set(value, isNamed ? own : id);
    for (const key of Object.keys(labels)) {
      const group = groupOf(key, labels[key] ?? "");
      if (group !== undefined && healthy) join(group, addresses);
    }
  }
  if (gateway.family === 4) hosts.set(Number(gateway.value), containers.has(GATEWAY) ? GATEWAY_ALWAYS : GATEWAY);
  return { cidr, domain: [lowerCase(name), ...ZONE], gateway: addressesOf(gateway), containers, groups, above: namesAbove(groups.keys()), hosts };
}

type Growing = { readonly v4: ReplyRecord[]; readonly v6: ReplyRecord[] };

/** The group of a label, made when it is first met. Thousands of containers have few labels: each is looked at once. */
function groupFinder(groups: Map<string, Growing>): (key: string, value: string) => Growing | undefined {
  const met = new Map<string, Growing | undefined>();
  return (key, value) => {
    // No key has a space.
    const label = `${key} ${value}`;
    if (met.has(label)) return met.get(label);
    const name = groupName(key, value);
    const group = name === undefined ? undefined : (groups.get(name) ?? { v4: [], v6: [] });
    if (name !== undefined && group !== undefined) groups.set(name, group);
    met.set(label, group);
    return group;
  };
}

/** Of `tier=Web` and `Tier=web` both are one group, and a container that has both is in it once. */
function join(group: Growing, { v4, v6 }: Addresses): void {
  for (const record of v4) if (group.v4.at(-1) !== record) group.v4.push(record);
  for (const record of v6) if (group.v6.at(-1) !== record) group.v6.push(record);
}

function addressesOf(ip: Ip): Addresses {
  if (ip.family === 4) {
    const data = Buffer.allocUnsafe(4);
    data.writeUInt32BE(Number(ip.value));
    return { v4: [{ type: TYPE.A, data }], v6: [] };
  }
  return { v4: [], v6: [{ type: TYPE.AAAA, data: Buffer.from(ip.value.toString(16).padStart(32, "0"), "hex") }] };
}

function namesAbove(groups: Iterable<string>): ReadonlySet<string> {
  const above = new Set<string>();
  for (const group of groups) for (let dot = group.indexOf("."); dot >= 0; dot = group.indexOf(".", dot + 1)) above.add(group.slice(dot + 1));
  return above;
}

/** What the labels of a name (lower case) mean in this VPC. */
export function findName(index: NameIndex, labels: readonly string[]): Finding {
  if (endsWith(labels, ZONE)) return findInZone(index, labels);
  if (endsWith(labels, REVERSE)) return findReverse(index, labels);
  // A bare name is a zone of its own: no part of it that we do not know is ours to speak for.
  const zoneLabels = labels.length;
  const name = labels.join(".");
  const addresses = zoneLabels === 1 ? index.containers.get(name) : zoneLabels === 2 ? index.groups.get(name) : undefined;
  return addresses === undefined ? { kind: "elsewhere" } : { kind: "addresses", addresses, zoneLabels };
}

function findInZone(index: NameIndex, labels: readonly string[]): Finding {
  const zoneLabels = ZONE.length;
  if (labels.length === zoneLabels) return { kind: "zone", zoneLabels };
  if (!endsWith(labels, index.domain)) return { kind: "absent", zoneLabels };
  const name = labels.slice(0, -index.domain.length).join(".");
  const gateway = name === GATEWAY || name === GATEWAY_ALWAYS ? index.gateway : undefined;
  const addresses = index.containers.get(name) ?? gateway ?? index.groups.get(name);
  if (addresses !== undefined) return { kind: "addresses", addresses, zoneLabels };
  return name === "" || index.above.has(name) ? { kind: "bare", zoneLabels } : { kind: "absent", zoneLabels };
}

/** Reverse names whose numbers lie in the VPC's CIDR are ours, whether or not an address is in use. */
function findReverse(index: NameIndex, labels: readonly string[]): Finding {
  const { cidr } = index;
  if (cidr.base.family !== 4) return { kind: "elsewhere" };
  const numbers = labels.slice(0, -REVERSE.length).toReversed();
  const odd = numbers.findIndex((number) => !/^(0|[1-9]\d{0,2})$/.test(number) || Number(number) > 255);
  const octets = numbers.slice(0, Math.min(4, odd < 0 ? numbers.length : odd)).map(Number);
  const range = { base: ipOf(octets), bits: octets.length * 8 };
  const isOurs = range.bits >= cidr.bits && containsIp(cidr, range.base);
  if (!isOurs) return { kind: "elsewhere" };
  // The zone is cut where reverse zones can be: at a dot.
  const zoneLabels = REVERSE.length + Math.floor(cidr.bits / 8);
  if (numbers.length > octets.length) return { kind: "absent", zoneLabels };
  if (labels.length === zoneLabels) return { kind: "zone", zoneLabels };
  if (octets.length < 4) return { kind: "bare", zoneLabels };
  const host = index.hosts.get(Number(range.base.value));
  return host === undefined ? { kind: "absent", zoneLabels } : { kind: "host", labels: [host, ...index.domain], zoneLabels };
}

function ipOf(octets: readonly number[]): Ip {
  return { family: 4, value: BigInt([0, 1, 2, 3].reduce((sum, at) => sum * 256 + (octets[at] ?? 0), 0)) };
}

function endsWith(labels: readonly string[], end: readonly string[]): boolean {
  return labels.length >= end.length && end.every((label, at) => labels[labels.length - end.length + at] === label);
}

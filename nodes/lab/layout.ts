import { createHash } from "node:crypto";
import { join } from "node:path";
import { base32, ok, type Result, refuse } from "../../src/base/index.ts";

/** Where one lab keeps its things. All of it follows from the folder, so that `down` needs nothing else. */
export type LabLayout = {
  readonly top: string;
  readonly name: string;
  /** Below the checkout; everything of the lab but its interface and its cgroups is in here. */
  readonly folder: string;
  /** Five characters that stand for the folder in names that the whole machine shares. */
  readonly tag: string;
  /** Namespace files, on a mount of its own that is private, so that no host of the lab copies them. */
  readonly namespaces: string;
  /** Path below every cgroup hierarchy. */
  readonly cgroup: string;
  /** The machine's own leg on the underlay. */
  readonly machineLink: string;
  readonly stateFile: string;
};

export type HostPlan = {
  readonly number: number;
  readonly name: string;
  readonly zone: string;
  /** Behind the home router; its address is one of that network. */
  readonly home: boolean;
  readonly address: string;
  readonly cgroup: string;
  readonly folder: string;
  readonly config: string;
  readonly log: string;
  /** The peer's standard output: its `ready` line. */
  readonly output: string;
};

export const HOSTS_MAX = 64;
export const API_PORT = 7443;
export const MESH_PORT = 4001;
export const REGISTRY_PORT = 5000;
/** The second registry asks for a name and a password. */
export const PRIVATE_REGISTRY_PORT = 5001;
/** Labs of tests are named so, and may be taken down by whoever starts the tests. */
export const TEST_LAB_PREFIX = "test-";

const NAME = /^[a-z0-9][a-z0-9-]{0,40}$/;

export function layoutOf(top: string, name: string): Result<LabLayout> {
  if (!NAME.test(name)) return refuse("BAD_USAGE", `"${name}" can't name a lab; use small letters, digits and dashes`);
  const folder = join(top, ".lab", name);
  const tag = base32(createHash("sha256").update(folder).digest()).slice(0, 5);
  return ok({
    top,
    name,
    folder,
    tag,
    namespaces: join(folder, "ns"),
    cgroup: `cc-lab-${tag}`,
    machineLink: `cclab-${tag}`,
    stateFile: join(folder, "lab.json"),
  });
}

export const machineAddress = (subnet: string): string => `${subnet}.1`;
export const registryAddress = (subnet: string): string => `${subnet}.2`;

/** The network behind the home router, beside the underlay `10.231.N`. */
export const homeSubnet = (subnet: string): string => subnet.replace(/^10\.231\./, "10.232.");
/** What a provider would give to the router: it has to look public, or routers refuse to map ports. Nothing of it leaves the lab. */
export const outsideSubnet = (subnet: string): string => subnet.replace(/^10\.231\./, "11.231.");
export const routerOutside = (subnet: string): string => `${outsideSubnet(subnet)}.3`;
export const routerInside = (subnet: string): string => `${homeSubnet(subnet)}.1`;

/** `subnet` is the first three numbers of a /24. `.3` to `.10` are kept for a router and the like. */
export function hostOf(layout: LabLayout, subnet: string, number: number, zone: string, home = false): HostPlan {
  const name = `h${number}`;
  const folder = join(layout.folder, "hosts", name);
  return {
    number,
    name,
    zone,
    home,
    address: `${home ? homeSubnet(subnet) : subnet}.${10 + number}`,
    cgroup: `${layout.cgroup}/${name}`,
    folder,
    config: join(folder, "peer.json"),
    log: join(folder, "peer.log"),
    output: join(folder, "peer.out"),
  };
}

/**
 * The first /24 of 10.231.0.0/16 that overlaps nothing in `taken` (addresses or CIDRs of the machine's routes), searched
 * from a place that follows from the tag, so that two labs seldom want the same one. With `home` also the networks behind the
 * router and on its outside have to be free.
 */
export function chooseSubnet(tag: string, taken: readonly string[], home = false): Result<string> {
  const used = taken.map(parseRange).filter((range) => range !== undefined);
  const start = createHash("sha256").update(tag).digest().readUInt8(0);
  for (let step = 0; step < 256; step += 1) {
    const subnet = `10.231.${(start + step) % 256}`;
    const wanted = [subnet, ...(home ? [homeSubnet(subnet), outsideSubnet(subnet)] : [])].map((network) => parseRange(`${network}.0/24`));
    if (!wanted.some((network) => network === undefined || used.some((range) => range.first <= network.last && network.first <= range.last))) return ok(subnet);
  }
  return refuse("NO_ROOM", "every network of 10.231.0.0/16 is in use on this machine: take other labs down first");
}

type Range = { readonly first: number; readonly last: number };

/** An IPv4 address or CIDR as numbers; a default route ("default", /0) is no range that is in use. */
function parseRange(text: string): Range | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?$/.exec(text);
  if (match === null) return undefined;
  const bits = match[5] === undefined ? 32 : Number(match[5]);
  if (bits === 0 || bits > 32) return undefined;
  const address = match.slice(1, 5).reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - bits);
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1 };
}

/** Zones for `count` hosts: `a,a,b` by turns; fewer than hosts repeat. */
export function zonesOf(text: string, count: number): Result<readonly string[]> {
  const zones = text.split(",").map((zone) => zone.trim());
  const bad = zones.find((zone) => !/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(zone));
  if (bad !== undefined) return refuse("BAD_USAGE", `"${bad}" can't name a zone; give for example --zones a,a,b`);
  if (zones.length > count) return refuse("BAD_USAGE", `${zones.length} zones for ${count} hosts`);
  return ok(Array.from({ length: count }, (_, index) => zones[index % zones.length] ?? "a"));
}

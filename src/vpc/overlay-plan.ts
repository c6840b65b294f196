import type { VpcId } from "../base/index.ts";
import { ANY_LOCAL, type LinkModel, type SideModel, type VpcModel, withoutLink } from "./overlay-model.ts";
import { BRIDGE, isTransitName, pinOf, TUNNEL_VXLAN, UPLINK, VXLAN } from "./overlay-names.ts";

/**
 * Lines for one tool in one namespace: that of the VPC, or the host's own. `pin` makes the VPC's namespace with its lines as sysctls,
 * `unpin` gives it up. Every line is tried, also after one that failed.
 */
export type Batch = { readonly at: "vpc" | "host"; readonly tool: "ip" | "bridge" | "sysctl" | "pin" | "unpin"; readonly lines: readonly string[] };
/** In this order. Empty: all is as it should be. */
export type Plan = readonly Batch[];

/** Devices that the kernel puts into every namespace, and that cannot be deleted. */
const KERNELS_OWN = /^(lo|tunl0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|sit0|ip6tnl0|ip6gre0)$/;

/**
 * What makes `seen` into `wanted`. First what stands in the way of something wanted, then what is wanted, then what is not: of what
 * stays nothing is taken away even for a moment, and what goes to another port or host goes there in one step.
 */
export function planVpc(vpc: VpcId, isPinned: boolean, seen: VpcModel, wanted: VpcModel): Plan {
  const first: string[] = [];
  let have = seen;
  for (const [name, link] of wanted.inside.links) {
    const found = have.inside.links.get(name);
    if (found === undefined || isBornAs(found, link)) continue;
    first.push(`link del ${name}`);
    have = withoutLink(have, name);
  }
  const host = planHostEnd(vpc, have, wanted);
  return [
    { at: "vpc", tool: "ip", lines: first },
    isPinned
      ? { at: "vpc", tool: "sysctl", lines: sysctlLines(have.inside.sysctls, wanted.inside.sysctls) }
      : { at: "vpc", tool: "pin", lines: assignments(wanted.inside.sysctls) },
    ...host.batches,
    { at: "vpc", tool: "ip", lines: insideLines(host.have, wanted) },
    { at: "vpc", tool: "bridge", lines: fdbLines(host.have, wanted) },
  ].filter(({ tool, lines }) => tool === "pin" || lines.length > 0) as Plan;
}

/** Everything of a VPC that no container here has. */
export function planRemoval(isPinned: boolean, seen: VpcModel): Plan {
  // One by one, as the kernel would take down the namespace's rest at leisure: until then its VNI is taken.
  const inside = [...seen.inside.links].filter(([, { kind }]) => kind === "veth" || kind === "vxlan").map(([name]) => `link del ${name}`);
  // One end takes the other with it.
  const outside = [...seen.outside.links].filter(([, { place }]) => place === "").map(([name]) => `link del ${name}`);
  const batches: Plan = [
    { at: "vpc", tool: "ip", lines: inside },
    { at: "host", tool: "ip", lines: outside },
  ];
  return [...batches.filter(({ lines }) => lines.length > 0), ...(isPinned ? [{ at: "vpc", tool: "unpin", lines: [] } as const] : [])];
}

/** The host's own namespace: it forwards, and has no transit of a VPC that is not here. */
export function planHost(seen: SideModel, transits: ReadonlySet<string>): Plan {
  const strays = [...seen.links].filter(([name, { kind }]) => isTransitName(name) && kind === "veth" && !transits.has(name));
  const batches: Plan = [
    { at: "host", tool: "sysctl", lines: sysctlLines(seen.sysctls, new Map([["ipv4/ip_forward", "1"]])) },
    { at: "host", tool: "ip", lines: strays.map(([name]) => `link del ${name}`) },
  ];
  return batches.filter(({ lines }) => lines.length > 0);
}

/** The transit's two ends and the VXLAN device: the host's namespace is where they are made. */
function planHostEnd(vpc: VpcId, seen: VpcModel, wanted: VpcModel): { readonly have: VpcModel; readonly batches: Plan } {
  const links = new Map(seen.inside.links);
  const lines: string[] = [];
  const sysctls: string[] = [];
  for (const [name, link] of wanted.outside.links) {
    let have = seen.outside.links.get(name);
    let addresses = seen.outside.addresses.get(name) ?? [];
    if (have !== undefined && !isBornAs(have, link)) {
      lines.push(`link del ${name}`);
      have = undefined;
      addresses = [];
    }
    if (have === undefined) {
      const uplink = wanted.inside.links.get(UPLINK);
      lines.push(`link add ${name}${macAndMtu(link)} type veth peer name ${UPLINK}${macAndMtu(uplink)} netns ${pinOf(vpc)}`);
      if (uplink !== undefined) links.set(UPLINK, asMade(uplink));
      have = asMade(link);
      sysctls.push(...assignments(wanted.outside.sysctls));
    } else sysctls.push(...sysctlLines(seen.outside.sysctls, wanted.outside.sysctls));
    lines.push(...linkLines(name, have, link), ...addressLines(name, addresses, wanted.outside.addresses.get(name) ?? []));
  }
  for (const name of [VXLAN, TUNNEL_VXLAN]) {
    const vxlan = wanted.inside.links.get(name);
    if (vxlan === undefined || links.has(name)) continue;
    const local = vxlan.options["local"] ?? ANY_LOCAL;
    lines.push(`link add ${name} netns ${pinOf(vpc)}${macAndMtu(vxlan)} type vxlan ${vxlan.fixed}${local === ANY_LOCAL ? "" : ` local ${local}`}`);
    links.set(name, asMade(vxlan));
  }
  return {
    have: { ...seen, inside: { ...seen.inside, links } },
    batches: [
      { at: "host", tool: "ip", lines },
      { at: "host", tool: "sysctl", lines: sysctls },
    ],
  };
}

function insideLines(have: VpcModel, wanted: VpcModel): string[] {
  const lines: string[] = [];
  for (const [name, link] of wanted.inside.links) {
    let found = have.inside.links.get(name);
    if (found === undefined && name === BRIDGE) {
      lines.push(`link add ${name}${macAndMtu(link)} type bridge ${words(link.options)} vlan_default_pvid 0`);
      found = asMade(link);
    }
    if (found !== undefined) lines.push(...linkLines(name, found, link));
  }
  const strays = strayLinks(have, wanted);
  /** With an address a device loses routes. */
  const readdressed: string[] = [];
  for (const device of new Set([...wanted.inside.addresses.keys(), ...have.inside.addresses.keys()])) {
    if (strays.includes(device)) continue;
    const changes = addressLines(device, have.inside.addresses.get(device) ?? [], wanted.inside.addresses.get(device) ?? []);
    if (changes.length > 0) readdressed.push(` dev ${device} `);
    lines.push(...changes);
  }
  for (const route of wanted.routes) {
    const isLost = readdressed.some((device) => `${route} `.includes(device));
    if (isLost || !have.routes.includes(route)) lines.push(`route replace ${route}`);
  }
  for (const [address, mac] of wanted.neighbours) {
    if (have.neighbours.get(address) !== mac) lines.push(`neigh replace ${address} lladdr ${mac} dev ${BRIDGE} nud permanent`);
  }
  for (const address of have.neighbours.keys()) if (!wanted.neighbours.has(address)) lines.push(`neigh del ${address} dev ${BRIDGE}`);
  for (const route of have.routes) {
    const goesAlong = strays.some((name) => `${route} `.includes(` dev ${name} `)) || /proto kernel/.test(route);
    if (!goesAlong && !wanted.routes.includes(route)) lines.push(`route del ${route}`);
  }
  for (const name of strays) lines.push(have.inside.links.get(name)?.kind === "" ? `link set ${name} nomaster` : `link del ${name}`);
  return lines;
}

function fdbLines(have: VpcModel, wanted: VpcModel): string[] {
  const lines: string[] = [];
  const gone = strayLinks(have, wanted);
  const far = [
    { device: VXLAN, has: have.vxlanFdb, wants: wanted.vxlanFdb },
    { device: TUNNEL_VXLAN, has: have.tunnelFdb, wants: wanted.tunnelFdb },
  ];
  // The way to the host before the way to the device: nothing arrives there that has no destination.
  for (const { device, has, wants } of far) {
    for (const [mac, host] of wants) {
      const found = has.get(mac);
      if (found === host) continue;
      if (found?.includes(" ")) lines.push(`fdb del ${mac} dev ${device} self`);
      lines.push(`fdb replace ${mac} dev ${device} self permanent dst ${host}`);
    }
  }
  for (const [mac, port] of wanted.bridgeFdb) {
    const found = have.bridgeFdb.get(mac);
    if (found === port) continue;
    if (found?.includes(" ")) lines.push(bridgeFdbDel(mac, found));
    lines.push(`fdb replace ${mac} dev ${port} master static`);
  }
  for (const [mac, port] of have.bridgeFdb) if (!wanted.bridgeFdb.has(mac) && !gone.includes(port.split(" ", 1)[0] ?? "")) lines.push(bridgeFdbDel(mac, port));
  for (const { device, has, wants } of far) {
    if (gone.includes(device)) continue;
    for (const mac of has.keys()) if (!wants.has(mac)) lines.push(`fdb del ${mac} dev ${device} self`);
  }
  return lines;
}

/** The bridge's own entries are `self`. */
function bridgeFdbDel(mac: string, port: string): string {
  const device = port.split(" ", 1)[0];
  return `fdb del ${mac} dev ${device} ${device === BRIDGE ? "self" : "master"}`;
}

/** In the namespace of a VPC, which is ours, and not wanted there. A machine's real device is only let go of. */
function strayLinks(have: VpcModel, wanted: VpcModel): string[] {
  return [...have.inside.links]
    .filter(([name, { kind, master }]) => !wanted.inside.links.has(name) && !KERNELS_OWN.test(name) && (kind !== "" || master !== undefined))
    .map(([name]) => name);
}

const isBornAs = (have: LinkModel, want: LinkModel): boolean => have.kind === want.kind && have.fixed === want.fixed && have.place === want.place;

/** As `link add` leaves it. */
const asMade = (link: LinkModel): LinkModel => ({ ...link, up: false, master: undefined, flags: {}, alias: "" });

const words = (options: Readonly<Record<string, string>>): string =>
  Object.entries(options)
    .map(([key, value]) => `${key} ${value}`)
    .join(" ");

const macAndMtu = (link: LinkModel | undefined): string =>
  `${link?.mac === undefined ? "" : ` address ${link.mac}`}${link?.mtu === undefined ? "" : ` mtu ${link.mtu}`}`;

function linkLines(name: string, have: LinkModel, want: LinkModel): string[] {
  const set = `link set ${name}`;
  const lines: string[] = [];
  if (want.mac !== undefined && have.mac !== want.mac) lines.push(`${set} address ${want.mac}`);
  if (want.mtu !== undefined && have.mtu !== want.mtu) lines.push(`${set} mtu ${want.mtu}`);
  if (have.alias !== want.alias) lines.push(`${set} alias ${want.alias === "" ? '""' : want.alias}`);
  if (Object.entries(want.options).some(([key, value]) => (have.options[key] ?? value) !== value))
    lines.push(`${set} type ${want.kind} ${words(want.options)}`);
  const isNewPort = have.master !== want.master;
  if (isNewPort) lines.push(want.master === undefined ? `${set} nomaster` : `${set} master ${want.master}`);
  const flags = Object.entries(want.flags);
  if (flags.some(([key, value]) => (isNewPort ? undefined : (have.flags[key] ?? value)) !== value))
    lines.push(`${set} type bridge_slave ${flagWords(want.flags)}`);
  if (!have.up) lines.push(`${set} up`);
  return lines;
}

export const flagWords = (flags: Readonly<Record<string, boolean>>): string =>
  Object.entries(flags)
    .map(([flag, isOn]) => `${flag} ${isOn ? "on" : "off"}`)
    .join(" ");

/** What is too much goes first, the last before the others: the kernel drops an address with an earlier one of its subnet. So all are said again after it. */
function addressLines(device: string, have: readonly string[], want: readonly string[]): string[] {
  const strays = have.filter((address) => !want.includes(address));
  const missing = strays.length > 0 ? want : want.filter((address) => !have.includes(address));
  return [...strays.toReversed().map((address) => `addr del ${address} dev ${device}`), ...missing.map((address) => `addr replace ${address} dev ${device}`)];
}

/** What the kernel does not know (its IPv6 is off) is passed over. */
function sysctlLines(have: ReadonlyMap<string, string>, want: ReadonlyMap<string, string>): string[] {
  return assignments(new Map([...want].filter(([path, value]) => (have.get(path) ?? value) !== value)));
}

const assignments = (sysctls: ReadonlyMap<string, string>): string[] => [...sysctls].map(([path, value]) => `${path} ${value}`);

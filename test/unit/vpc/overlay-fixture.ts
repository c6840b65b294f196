import { base32, type ContainerId, type Ip, type PeerId, parseCidr, parseIp, type VpcId } from "../../../src/base/index.ts";
import { gatewayOf, type LocalPort, type RemotePort, TRANSIT_CIDR, tunnelAddress, type Underlay, type VpcNetwork } from "../../../src/vpc/index.ts";
import type { LinkModel, VpcModel } from "../../../src/vpc/overlay-model.ts";
import type { Plan } from "../../../src/vpc/overlay-plan.ts";

export function ip(text: string): Ip {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(`${text} is no address`);
  return parsed;
}

export function cidr(text: string) {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new TypeError(parsed.message);
  return parsed.value;
}

const idOf = (letter: string, seed: number): string => `${letter}${base32(new Uint8Array(13).fill(seed)).slice(0, 20)}`;
export const vpcId = (seed: number): VpcId => idOf("n", seed) as VpcId;
export const containerId = (seed: number): ContainerId => idOf("c", seed) as ContainerId;

export const UNDERLAY: Underlay = { mtu: 1_500, vxlanPort: 4_789, neighbours: [] };
export const TRANSIT = { range: TRANSIT_CIDR, address: ip("100.127.240.2") };

export const localPort = (seed: number): LocalPort => ({ container: containerId(seed), address: ip(`10.0.0.${seed}`) });
/** Of a host that is reached through the tunnel. */
export const tunnelPort = (last: number, host: number): RemotePort => ({ ...remotePort(last, host), host: tunnelAddress(`peer ${host}` as PeerId) });
export const remotePort = (last: number, host: number): RemotePort => ({
  address: ip(`10.0.0.${last}`),
  host: ip(`172.31.0.${host}`),
  peer: `peer ${host}` as PeerId,
});

export function network(more: Partial<VpcNetwork> = {}): VpcNetwork {
  const range = cidr("10.0.0.0/16");
  return { id: vpcId(1), vni: 77, cidr: range, gateway: gatewayOf(range), local: [], remote: [], ...more };
}

export const planText = (plan: Plan): readonly string[] => plan.flatMap(({ at, tool, lines }) => [`${at}, ${tool}:`, ...lines.map((line) => `  ${line}`)]);

/** What of `want` is not so in `have`, and what is too much; in words. */
export function differences(have: VpcModel, want: VpcModel): readonly string[] {
  return [
    ...linkDifferences(have.inside.links, want.inside.links),
    ...linkDifferences(have.outside.links, want.outside.links),
    ...mapDifferences("sysctl", have.inside.sysctls, want.inside.sysctls),
    ...mapDifferences("sysctl outside", have.outside.sysctls, want.outside.sysctls),
    ...mapDifferences("addresses", listed(have.inside.addresses), listed(want.inside.addresses)),
    ...mapDifferences("addresses outside", listed(have.outside.addresses), listed(want.outside.addresses)),
    ...mapDifferences("route", new Map(have.routes.map((route) => [route, ""])), new Map(want.routes.map((route) => [route, ""]))),
    ...mapDifferences("neighbour", have.neighbours, want.neighbours),
    ...mapDifferences("bridge", have.bridgeFdb, want.bridgeFdb),
    ...mapDifferences("vxlan", have.vxlanFdb, want.vxlanFdb),
    ...mapDifferences("tunnel", have.tunnelFdb, want.tunnelFdb),
  ];
}

const listed = (addresses: ReadonlyMap<string, readonly string[]>): ReadonlyMap<string, string> =>
  new Map([...addresses].map(([device, list]) => [device, list.toSorted().join(", ")]));

function mapDifferences(what: string, have: ReadonlyMap<string, string>, want: ReadonlyMap<string, string>): readonly string[] {
  return [...new Set([...have.keys(), ...want.keys()])].flatMap((key) =>
    have.get(key) === want.get(key) ? [] : [`${what} ${key}: ${have.get(key)}, not ${want.get(key)}`],
  );
}

function linkDifferences(have: ReadonlyMap<string, LinkModel>, want: ReadonlyMap<string, LinkModel>): readonly string[] {
  const words = (link: LinkModel | undefined, as: LinkModel | undefined): string =>
    link === undefined ? "none" : JSON.stringify({ ...link, mac: as?.mac === undefined ? "any" : link.mac, mtu: as?.mtu === undefined ? 0 : link.mtu });
  return [...new Set([...have.keys(), ...want.keys()])].flatMap((name) => {
    const [seen, wanted] = [words(have.get(name), want.get(name)), words(want.get(name), want.get(name))];
    return seen === wanted || (name === "lo" && !want.has(name)) ? [] : [`${name}: ${seen}, not ${wanted}`];
  });
}

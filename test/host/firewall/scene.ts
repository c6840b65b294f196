import { type ContainerId, type Ip, parseCidr, parseIp, type VpcId } from "../../../src/base/index.ts";
import type { FirewallRule, FirewallState, Labels, PublishedPort } from "../../../src/firewall/index.ts";
import { gatewayMac, macOf } from "../../../src/vpc/index.ts";

/**
 * Two hosts, a machine outside and containers of two VPCs with the same CIDR, all of them network namespaces, as VPCs lay them out.
 *
 *   out 172.31.0.254, 198.51.100.9 ── h1 172.31.0.1 ─┬─ one@h1: web 10.7.0.2, db 10.7.0.3
 *                                  │                 └─ two@h1: twin 10.7.0.2
 *                                  └─ h2 172.31.0.2 ─── one@h2: far 10.7.0.4
 */
export const ip = (text: string): Ip => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
};
const cidr = (text: string) => {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new TypeError(parsed.message);
  return parsed.value;
};
const id = <T extends string>(text: string): T => text.padEnd(21, "a") as T;

export const GATEWAY = ip("10.7.0.1");
export const HOST_TRANSIT = ip("100.127.240.1");
export const VXLAN_PORT = 4788;
export const OUTSIDE = "172.31.0.254";
export const WORLD = "198.51.100.9";
export const HOSTS = { h1: ip("172.31.0.1"), h2: ip("172.31.0.2") } as const;
export type HostName = keyof typeof HOSTS;

export const VPCS = {
  one: { id: id<VpcId>("none"), vni: 101, transit: { h1: ip("100.127.240.2"), h2: ip("100.127.240.2") } },
  two: { id: id<VpcId>("ntwo"), vni: 102, transit: { h1: ip("100.127.240.3"), h2: ip("100.127.240.3") } },
} as const;
export type VpcName = keyof typeof VPCS;
/** Where a VPC has a namespace. */
export const SPREAD: readonly (readonly [VpcName, HostName])[] = [
  ["one", "h1"],
  ["one", "h2"],
  ["two", "h1"],
];

type Container = { readonly id: ContainerId; readonly vpc: VpcName; readonly host: HostName; readonly address: Ip; readonly labels: Labels };
export const CONTAINERS = {
  web: { id: id<ContainerId>("cweb"), vpc: "one", host: "h1", address: ip("10.7.0.2"), labels: { app: "web", tier: "front" } },
  db: { id: id<ContainerId>("cdb"), vpc: "one", host: "h1", address: ip("10.7.0.3"), labels: { app: "db" } },
  far: { id: id<ContainerId>("cfar"), vpc: "one", host: "h2", address: ip("10.7.0.4"), labels: { app: "web" } },
  twin: { id: id<ContainerId>("ctwin"), vpc: "two", host: "h1", address: ip("10.7.0.2"), labels: {} },
} as const satisfies Record<string, Container>;
export type ContainerName = keyof typeof CONTAINERS;
export const containersOf = (vpc: VpcName, host?: HostName): readonly (Container & { readonly name: ContainerName })[] =>
  (Object.keys(CONTAINERS) as ContainerName[])
    .map((name) => ({ ...CONTAINERS[name], name }))
    .filter((container) => container.vpc === vpc && (host === undefined || container.host === host));

export const hostDevice = (vpc: VpcName): string => `cc-${VPCS[vpc].id.slice(1, 12)}`;
export const portDevice = (container: ContainerName): string => `p${CONTAINERS[container].id.slice(1, 14)}`;
export const macAt = (vpc: VpcName, address: Ip) => macOf(VPCS[vpc].id, address);
export const macOfContainer = (name: ContainerName) => macAt(CONTAINERS[name].vpc, CONTAINERS[name].address);
export const macOfGateway = (vpc: VpcName) => gatewayMac({ id: VPCS[vpc].id, gateway: GATEWAY });

export type StateInput = { readonly host?: HostName; readonly published?: readonly PublishedPort[]; readonly rules?: readonly FirewallRule[] };

/** What the firewall of a host is told. */
export function stateOf({ host = "h1", published = [], rules = [] }: StateInput = {}): FirewallState {
  const others = Object.values(HOSTS).filter((address) => address !== HOSTS[host]);
  return {
    transit: { range: cidr("100.127.240.0/20"), host: HOST_TRANSIT },
    underlay: { own: HOSTS[host], vxlanPort: VXLAN_PORT, neighbours: others, hosts: Object.values(HOSTS) },
    vpcs: SPREAD.filter(([, where]) => where === host).map(([vpc]) => ({
      id: VPCS[vpc].id,
      gateway: GATEWAY,
      hostDevice: hostDevice(vpc),
      transit: VPCS[vpc].transit[host],
      ports: containersOf(vpc, host).map(({ id: container, address, labels }) => ({
        container,
        device: `p${container.slice(1, 14)}`,
        mac: macAt(vpc, address),
        address,
        labels,
      })),
      members: containersOf(vpc),
      rules: rules.filter((rule) => rule.vpc === VPCS[vpc].id),
    })),
    published,
  };
}

export const publish = (container: ContainerName, hostPort: number, more: Partial<PublishedPort> = {}): PublishedPort => ({
  hostPort,
  protocol: "tcp",
  vpc: VPCS[CONTAINERS[container].vpc].id,
  address: CONTAINERS[container].address,
  port: 80,
  ...more,
});

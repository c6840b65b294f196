import { addressAt, type ContainerId, type Ip, type VpcId } from "../../../src/base/index.ts";
import type { ElsewherePort, FirewallRule, FirewallState, VpcFirewall } from "../../../src/firewall/index.ts";
import type { BoundPort } from "../../../src/ports/index.ts";
import type { ContainerView } from "../../../src/state/index.ts";
import { type ActiveMember, type HostNetwork, type Membership, macOf, portName, TRANSIT_CIDR, transitName, type VpcNetwork } from "../../../src/vpc/index.ts";

export type KnownForRules = {
  readonly network: HostNetwork;
  readonly members: ReadonlyMap<VpcId, readonly ActiveMember[]>;
  /** The VPCs that have a namespace here. */
  readonly transits: ReadonlyMap<VpcId, Ip>;
  readonly own: Ip | undefined;
  /** Of all hosts of the mesh. */
  readonly hosts: readonly Ip[];
  readonly containers: (id: ContainerId) => ContainerView | undefined;
  /** Published on this host: by its own containers, and by others on every host of the zone. */
  readonly ports: readonly (BoundPort & { readonly place: Membership })[];
  /** Published by other hosts. */
  readonly elsewhere: readonly ElsewherePort[];
  readonly rules: readonly FirewallRule[];
};

/** Until this host knows its own address nothing is passed on under it: an address that nobody has. */
const NOBODY: Ip = { family: 4, value: 0n };

/** What this host's rules follow from. */
export function firewallState({ network, members, transits, own, hosts, containers, ports, elsewhere, rules }: KnownForRules): FirewallState {
  const published = ports.map(({ hostAddress, hostPort, protocol, containerPort, place }) => ({
    ...(hostAddress === undefined ? {} : { at: hostAddress }),
    hostPort,
    protocol,
    vpc: place.vpc,
    address: place.address,
    port: containerPort,
  }));
  const vpcs = network.vpcs.flatMap((vpc) => {
    const transit = transits.get(vpc.id);
    return transit === undefined ? [] : [vpcFirewall(vpc, transit, members.get(vpc.id) ?? [], { containers, rules })];
  });
  return {
    transit: { range: TRANSIT_CIDR, host: addressAt(TRANSIT_CIDR, 1n) },
    underlay: { own: own ?? NOBODY, vxlanPort: network.underlay.vxlanPort, neighbours: network.underlay.neighbours, hosts },
    vpcs,
    published,
    publishedElsewhere: elsewhere,
  };
}

function vpcFirewall(
  vpc: VpcNetwork,
  transit: Ip,
  members: readonly ActiveMember[],
  { containers, rules }: Pick<KnownForRules, "containers" | "rules">,
): VpcFirewall {
  const ports = vpc.local.map(({ container, address }) => ({
    container,
    device: portName(container),
    mac: macOf(vpc.id, address),
    address,
    labels: { ...containers(container)?.spec.labels },
  }));
  return {
    id: vpc.id,
    gateway: vpc.gateway,
    hostDevice: transitName(vpc.id),
    transit,
    ports,
    members: members.map(({ container, place }) => ({ address: place.address, labels: { ...container.spec.labels } })),
    rules: rules.filter((rule) => rule.vpc === vpc.id),
  };
}

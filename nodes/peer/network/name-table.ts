import type { Ip, PeerId } from "../../../src/base/index.ts";
import { type ActiveMember, gatewayOf, type NameTable, type VpcNetwork } from "../../../src/vpc/index.ts";

/**
 * The names of a VPC as this host knows them: whoever runs on a host that it can reach, and nobody else. What has stopped, or is out of
 * reach, has no name until it is back; what lives is named also while the mesh is cut.
 */
export function nameTable(vpc: VpcNetwork, name: string, source: Ip, members: readonly ActiveMember[], isReachable: (peer: PeerId) => boolean): NameTable {
  const containers = members.flatMap(({ container, place }) => {
    if (container.phase?.phase !== "running" || !isReachable(place.holder)) return [];
    return [{ id: container.id, name: container.name, labels: { ...container.spec.labels }, address: place.address, healthy: true }];
  });
  return { vpc: vpc.id, name, cidr: vpc.cidr, gateway: gatewayOf(vpc.cidr), source, containers };
}

import { compareIps, formatIp } from "../base/index.ts";
import type { FirewallState, PublishedPort } from "./state.ts";
import { compareTexts } from "./table.ts";

/** A published port and the port by which the host hands it to the VPC's namespace. */
export type HandedPort = PublishedPort & { readonly transitPort: number };

const PORT_MAX = 65_535;

/**
 * Published ports of the VPCs that are on this host, each by a port of its own between host and VPC: the host's port, and where two
 * addresses of the host give one port to two containers of a VPC, the highest free one. Of two that claim the same address and port
 * (possible after a partition) one counts, the same on every look; the other's owner was refused or will be told.
 */
export function handedPorts({ vpcs, published }: Pick<FirewallState, "vpcs" | "published">): readonly HandedPort[] {
  const here = new Set(vpcs.map(({ id }) => id));
  const counted = new Map<string, PublishedPort>();
  for (const entry of published.filter(({ vpc }) => here.has(vpc)).sort(comparePublished)) {
    const claim = `${addressText(entry)} ${entry.protocol} ${entry.hostPort}`;
    if (!counted.has(claim)) counted.set(claim, entry);
  }
  const perVpc = Map.groupBy(counted.values(), ({ vpc, protocol }) => `${vpc} ${protocol}`);
  return [...perVpc.values()].flatMap(withTransitPorts);
}

function withTransitPorts(entries: readonly PublishedPort[]): readonly HandedPort[] {
  const wanted = new Set(entries.map(({ hostPort }) => hostPort));
  const first = new Map<number, PublishedPort>();
  for (const entry of entries) if (!first.has(entry.hostPort)) first.set(entry.hostPort, entry);
  let free = PORT_MAX;
  return entries.flatMap((entry) => {
    if (first.get(entry.hostPort) === entry) return [{ ...entry, transitPort: entry.hostPort }];
    while (wanted.has(free)) free -= 1;
    const transitPort = free;
    free -= 1;
    return transitPort > 0 ? [{ ...entry, transitPort }] : [];
  });
}

const addressText = ({ at }: Pick<PublishedPort, "at">): string => (at === undefined ? "any" : formatIp(at));

/** By port, then all addresses before single ones; what follows only makes the order complete. */
function comparePublished(a: PublishedPort, b: PublishedPort): number {
  return (
    a.hostPort - b.hostPort ||
    compareTexts(a.protocol, b.protocol) ||
    (a.at === undefined || b.at === undefined ? Number(b.at === undefined) - Number(a.at === undefined) : compareIps(a.at, b.at)) ||
    compareTexts(a.vpc, b.vpc) ||
    compareIps(a.address, b.address) ||
    a.port - b.port
  );
}

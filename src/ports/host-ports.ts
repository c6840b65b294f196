import { formatIp, type Ip, isSameIp, ok, type Random, type Result, refuse } from "../base/index.ts";
import type { PortProtocol, PublishedPort } from "./published-port.ts";

/** A port of a host, on one of its addresses or (undefined) on every one. */
export type HostPort = { readonly hostAddress: Ip | undefined; readonly hostPort: number; readonly protocol: PortProtocol };

/** A port of the host that somebody has; `by` in words, as in "container web" or "another program". */
export type TakenPort = HostPort & { readonly by: string };

/** A publishing as it stands on a host. */
export type BoundPort = PublishedPort & HostPort;

/**
 * Free ports are chosen from here: above what services have by convention, below what Linux gives to outgoing connections
 * (32768 to 60999), which would clash with a translation of the same port at random times.
 */
const CHOSEN_FIRST = 20_000;
const CHOSEN_LAST = 32_767;

/** Whether packets to the one could be meant for the other: every address includes each. */
function collide(a: HostPort, b: HostPort): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort) return false;
  return a.hostAddress === undefined || b.hostAddress === undefined || isSameIp(a.hostAddress, b.hostAddress);
}

/** The first of `taken` that `wanted` cannot stand beside. */
export function findCollision<T extends HostPort>(wanted: HostPort, taken: readonly T[]): T | undefined {
  return taken.find((other) => collide(wanted, other));
}

/**
 * Gives every publishing of a container its port on this host. The same random numbers give the same ports.
 * Refuses with IN_USE (a port that was asked for is taken, by whom) or NO_ROOM (none is free).
 */
export function bindHostPorts(ports: readonly PublishedPort[], taken: readonly TakenPort[], random: Random): Result<readonly BoundPort[]> {
  const asked = ports.filter((port): port is BoundPort => port.hostPort !== undefined);
  for (const port of asked) {
    const other = findCollision(port, taken);
    if (other !== undefined)
      return refuse("IN_USE", `port ${formatHostPort(port)} is taken by ${other.by}; publish on another, or leave it out to have one chosen`);
  }
  const bound: BoundPort[] = [];
  const all: HostPort[] = [...taken, ...asked];
  for (const port of ports) {
    const hostPort = port.hostPort ?? choose(port, all, random);
    if (hostPort === undefined) return refuse("NO_ROOM", `no port from ${CHOSEN_FIRST} to ${CHOSEN_LAST} of the host is free for ${port.protocol}`);
    bound.push({ ...port, hostPort });
    if (port.hostPort === undefined) all.push({ ...port, hostPort });
  }
  return ok(bound);
}

/** From a random place upwards, and around. */
function choose(port: Omit<HostPort, "hostPort" | "containerPort">, taken: readonly HostPort[], random: Random): number | undefined {
  const used = new Set(taken.filter((other) => collide({ ...port, hostPort: other.hostPort }, other)).map((other) => other.hostPort));
  const count = CHOSEN_LAST - CHOSEN_FIRST + 1;
  const start = random.below(count);
  for (let step = 0; step < count; step += 1) {
    const candidate = CHOSEN_FIRST + ((start + step) % count);
    if (!used.has(candidate)) return candidate;
  }
  return undefined;
}

function formatHostPort({ hostAddress, hostPort, protocol }: HostPort): string {
  return `${hostAddress === undefined ? "" : `${formatIp(hostAddress)}:`}${hostPort}/${protocol}`;
}

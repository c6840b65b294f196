import { type ContainerId, type Ip, isSameIp, type PeerId, parseIp } from "../../../src/base/index.ts";
import { type BoundPort, type RouterForward, standingPorts } from "../../../src/ports/index.ts";
import type { ContainerView } from "../../../src/state/index.ts";
import { splitListen } from "../membership.ts";

/** Which of its own ports a peer has the router forward. */
export type OwnForward = "mesh" | "api";
/** A port that the router is to forward, and whose it is. */
export type WantedForward = RouterForward & { readonly of: OwnForward | ContainerId };

/** Between two starts of one that ends again and again its ports stay as they are: who has noted them would find others. */
const SERVED: ReadonlySet<string> = new Set(["starting", "running", "stopping", "backoff"]);

/** Whether somebody is there to answer: a container that has ended keeps its port of the host, but not the router's. */
export const isServed = ({ gone, phase }: Pick<ContainerView, "gone" | "phase">): boolean => !gone && SERVED.has(phase?.phase ?? "");

/** The peer's own first, then containers of this host, the oldest first: a router has room for so many. */
export function wantedForwards(own: readonly WantedForward[], containers: readonly ContainerView[], self: PeerId): readonly WantedForward[] {
  const served = containers.filter((container) => container.best?.holder === self && container.spec.forward && isServed(container));
  const oldestFirst = served.toSorted((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1));
  return [...own, ...standingPorts(oldestFirst).map(({ container, ...port }) => forwardOf(port, container.id, container.name || container.id))];
}

function forwardOf({ hostAddress, hostPort, protocol }: BoundPort, of: ContainerId, name: string): WantedForward {
  return { of, protocol, port: hostPort, externalPort: hostPort, description: `cc ${name}`, ...(hostAddress === undefined ? {} : { hostAddress }) };
}

/** Whether a port that is wanted of the router is this one. */
export function isForwardOf(forward: WantedForward, id: ContainerId, { hostAddress, hostPort, protocol }: BoundPort): boolean {
  if (forward.of !== id || forward.port !== hostPort || forward.protocol !== protocol) return false;
  return hostAddress === undefined || forward.hostAddress === undefined ? hostAddress === forward.hostAddress : isSameIp(hostAddress, forward.hostAddress);
}

export type OwnPorts = { readonly forward: { readonly mesh: boolean; readonly api: boolean }; readonly listen: readonly string[]; readonly apiListen: string };

/** The peer's own ports, where the configuration has them forwarded. A port that is chosen anew at each start cannot be. */
export function ownForwards({ forward, listen, apiListen }: OwnPorts): readonly WantedForward[] {
  const [, meshAddress = "", meshPort = ""] = listen.map((text) => /^\/ip4\/([^/]+)\/tcp\/(\d+)$/.exec(text)).find((match) => match !== null) ?? [];
  const api = splitListen(apiListen);
  return [...(forward.mesh ? ownForward("mesh", meshAddress, Number(meshPort)) : []), ...(forward.api ? ownForward("api", api.host, api.port) : [])];
}

function ownForward(of: OwnForward, address: string, port: number): WantedForward[] {
  const ip: Ip | undefined = parseIp(address);
  if (port === 0) return [];
  const at = ip === undefined || ip.value === 0n ? {} : { hostAddress: ip };
  return [{ of, protocol: "tcp", port, externalPort: port, description: `container cloud ${of}`, ...at }];
}

import { formatIp, type Ip } from "../../../src/base/index.ts";
import { passingAddress } from "../../../src/vpc/index.ts";
import { CONTAINERS, type ContainerName, containersOf, GATEWAY, HOSTS, type HostName, macAt, portDevice, SPREAD, type VpcName } from "./scene.ts";

/** What the scene's namespaces hold, as lines for `ip` and `bridge`. */
export const HOST_NAMES = Object.keys(HOSTS) as HostName[];
export const QUIET = "learning off flood off mcast_flood off";
export const otherHosts = (vpc: VpcName, host: HostName): readonly { readonly passing: Ip; readonly at: Ip }[] =>
  SPREAD.filter(([other, where]) => other === vpc && where !== host).map(([, where]) => ({ passing: passingAddress(HOSTS[where]), at: HOSTS[where] }));

export function forwarding(vpc: VpcName, host: HostName): readonly string[] {
  const remote = [
    ...containersOf(vpc)
      .filter((container) => container.host !== host)
      .map((container) => ({ address: container.address, at: HOSTS[container.host] })),
    ...otherHosts(vpc, host).map(({ passing, at }) => ({ address: passing, at })),
  ];
  return [
    ...containersOf(vpc, host).map(({ name, address }) => `fdb replace ${macAt(vpc, address)} dev ${portDevice(name)} master static`),
    ...remote.flatMap(({ address, at }) => [
      `fdb replace ${macAt(vpc, address)} dev vx0 master static`,
      `fdb replace ${macAt(vpc, address)} dev vx0 self permanent dst ${formatIp(at)}`,
    ]),
  ];
}

export const inContainer = (name: ContainerName): readonly string[] => [
  "link set lo up",
  `addr add ${formatIp(CONTAINERS[name].address)}/24 dev eth0`,
  "link set eth0 up",
  `route add default via ${formatIp(GATEWAY)}`,
];

export const batch = (tool: "ip" | "bridge", name: string | undefined, lines: readonly string[]): string =>
  `${tool} ${name === undefined ? "" : `-n ${name} `}-batch - <<'END'\n${lines.join("\n")}\nEND`;

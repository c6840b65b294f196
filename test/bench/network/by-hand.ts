import type { Place, Places } from "./places.ts";

/** Two that speak to each other: from, to, and by which address. */
export type Pair = { readonly from: Place; readonly to: Place; readonly address: string };
export type ByHand = { readonly vxlan: Pair; readonly routes: Pair; readonly veth: Pair };

const VNI = 4_242;
/** In the lab's hosts, which have VPCs' devices too: none of their numbers. */
const SHARED_VNI = 16_000_042;
const VXLAN_PORT = 4_789;
const VXLAN_MTU = 1_450;
const CONTAINERS = ["10.61.0.2", "10.61.0.3"] as const;
const SHARED_CONTAINERS = ["10.64.0.2", "10.64.0.3"] as const;

/** A leg on the lab's wire: makes the device `eth0` in the namespace of this process. */
type OnWire = (pid: number, port: string) => Promise<void>;

/**
 * What people make by hand between two hosts on the lab's own wire: VXLAN as a VPC of ours has it (a bridge and a VXLAN device in a namespace of
 * their own, static entries) but without a single rule, routes to each other's containers without any overlay, and a bare pair of devices.
 */
export async function makeByHand(places: Places, onWire: OnWire, addresses: readonly [string, string]): Promise<ByHand> {
  const [one, two] = [await makeHost(places, onWire, addresses, 0), await makeHost(places, onWire, addresses, 1)];
  const [from, to] = [await places.make(), await places.make()];
  await places.run(from, `ip link add eth0 type veth peer name eth0 netns ${to.pid}`, "ip addr add 10.63.0.1/24 dev eth0", "ip link set eth0 up");
  await places.run(to, "ip addr add 10.63.0.2/24 dev eth0", "ip link set eth0 up");
  return {
    vxlan: { from: one.overlaid, to: two.overlaid, address: CONTAINERS[1] },
    routes: { from: one.routed, to: two.routed, address: routedAddress(1) },
    veth: { from, to, address: "10.63.0.2" },
  };
}

const routedAddress = (at: number): string => `10.62.${at}.2`;
const macOf = (at: number): string => `02:61:0a:3d:00:0${at + 2}`;

async function makeHost(places: Places, onWire: OnWire, addresses: readonly [string, string], at: 0 | 1) {
  const other = 1 - at;
  const [own = "", far = ""] = [addresses[at], addresses[other]];
  const [host, bridge, overlaid, routed] = [await places.make(), await places.make(), await places.make(), await places.make()];
  await onWire(host.pid, `hand${at}`);
  await places.run(
    host,
    `ip addr add ${own}/24 dev eth0`,
    "ip link set eth0 up",
    "echo 1 >/proc/sys/net/ipv4/ip_forward",
    vxlanLine(bridge, VNI, own),
    `ip link add routed type veth peer name eth0 netns ${routed.pid}`,
    `ip addr add 10.62.${at}.1/24 dev routed`,
    "ip link set routed up",
    `ip route add 10.62.${other}.0/24 via ${far}`,
  );
  await places.run(routed, `ip addr add ${routedAddress(at)}/24 dev eth0`, "ip link set eth0 up", `ip route add default via 10.62.${at}.1`);
  await bridged(places, bridge, { at, container: overlaid, device: "eth0", addresses: CONTAINERS, far });
  return { overlaid, routed };
}

/** A container of ours, the namespace of its host, and that host's address. */
export type Standing = { readonly container: Place; readonly host: Place; readonly address: string };

/** The same VXLAN once more, between the containers and hosts of ours themselves: a second device in each. */
export async function makeBetween(places: Places, standing: readonly [Standing, Standing]): Promise<Pair> {
  for (const at of [0, 1] as const) {
    const [own, far] = [standing[at], standing[at === 0 ? 1 : 0]];
    const bridge = await places.make();
    await places.run(own.host, vxlanLine(bridge, SHARED_VNI, own.address));
    await bridged(places, bridge, { at, container: own.container, device: "eth1", addresses: SHARED_CONTAINERS, far: far.address });
  }
  return { from: standing[0].container, to: standing[1].container, address: SHARED_CONTAINERS[1] };
}

/** Its socket stays in the host's namespace. */
const vxlanLine = (bridge: Place, vni: number, own: string): string =>
  `ip link add vx0 netns ${bridge.pid} mtu ${VXLAN_MTU} type vxlan id ${vni} local ${own} dev eth0 dstport ${VXLAN_PORT} nolearning`;

type Leg = {
  readonly at: 0 | 1;
  readonly container: Place;
  readonly device: string;
  readonly addresses: readonly [string, string];
  /** The other host. */
  readonly far: string;
};

/** The bridge with the VXLAN device that is there, and a container on it. */
async function bridged(places: Places, bridge: Place, { at, container, device, addresses, far }: Leg): Promise<void> {
  const other = 1 - at;
  const quiet = "learning off flood off mcast_flood off";
  await places.run(
    bridge,
    "ip link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0",
    "[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables",
    `ip link set br0 mtu ${VXLAN_MTU}`,
    "ip link set vx0 master br0",
    `ip link set vx0 type bridge_slave ${quiet} neigh_suppress on`,
    "ip link set vx0 up",
    "ip link set br0 up",
    `ip link add port mtu ${VXLAN_MTU} type veth peer name ${device} address ${macOf(at)} mtu ${VXLAN_MTU} netns ${container.pid}`,
    "ip link set port master br0",
    `ip link set port type bridge_slave ${quiet}`,
    "ip link set port up",
    `bridge fdb replace ${macOf(at)} dev port master static`,
    `bridge fdb replace ${macOf(other)} dev vx0 master static`,
    `bridge fdb replace ${macOf(other)} dev vx0 self permanent dst ${far}`,
    ...[at, other].map((one) => `ip neigh replace ${addresses[one]} lladdr ${macOf(one)} dev br0 nud permanent`),
  );
  await places.run(container, `ip addr add ${addresses[at]}/24 dev ${device}`, `ip link set ${device} up`);
}

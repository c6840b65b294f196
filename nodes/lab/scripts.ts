import { shellQuote } from "../../src/base/index.ts";
import { type HostPlan, type LabLayout, machineAddress, outsideSubnet, registryAddress, routerInside } from "./layout.ts";

/**
 * Everything that the lab does to the machine, as POSIX shell text (run with -e). Written so that a script that was cut
 * off half-way can be run again.
 */
export const netFile = (layout: LabLayout, name: string): string => `${layout.namespaces}/net-${name}`;
export const mountFile = (layout: LabLayout, host: HostPlan): string => `${layout.namespaces}/mnt-${host.name}`;
export const utsFile = (layout: LabLayout, host: HostPlan): string => `${layout.namespaces}/uts-${host.name}`;
export const WIRE = "wire";
export const REGISTRY = "registry";
/** The machine's port on the underlay bridge; a host's port has the host's name. */
const MACHINE_PORT = "machine";

/** The bridge of the network behind the home router; in the same namespace as the underlay's, so that faults cover both. */
export const HOME = "home";

export const inNet = (file: string, script: string): string => `nsenter --net=${shellQuote(file)} sh -ec ${shellQuote(script)}`;

export function makeNet(file: string): string {
  const quoted = shellQuote(file);
  return `touch ${quoted}
mountpoint -q ${quoted} || unshare --net=${quoted} true`;
}

/** A private mount for namespace files, the bridge in a network namespace of its own, and the machine's leg on it. */
export function wireScript(layout: LabLayout, subnet: string): string {
  const wire = netFile(layout, WIRE);
  const folder = shellQuote(layout.namespaces);
  // A bridge of its own namespace: no rule of the machine's owner (Docker's, a firewall's) sees its frames.
  return `mkdir -p ${folder}
mountpoint -q ${folder} || mount --bind ${folder} ${folder}
mount --make-private ${folder}
${makeNet(wire)}
${inNet(
  wire,
  `if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi
ip link set lo up
ip link add ${WIRE} type bridge mcast_snooping 0 stp_state 0 forward_delay 0
ip link set ${WIRE} up`,
)}
ip link add ${layout.machineLink} type veth peer name ${MACHINE_PORT} netns ${shellQuote(wire)}
ip addr add ${machineAddress(subnet)}/24 dev ${layout.machineLink}
ip link set ${layout.machineLink} up
${inNet(wire, `ip link set ${MACHINE_PORT} master ${WIRE} up`)}`;
}

/** A network namespace with one leg, `eth0`, on a bridge; its port there is called `port`. `way`: how it reaches what is not on the bridge. */
function legScript(layout: LabLayout, port: string, address: string, bridge: string, way: string): string {
  const wire = netFile(layout, WIRE);
  const net = netFile(layout, port);
  return `${makeNet(net)}
${inNet(
  wire,
  `if ip link show ${port} >/dev/null 2>&1; then ip link del ${port}; fi
ip link add ${port} type veth peer name eth0 netns ${shellQuote(net)}
ip link set ${port} master ${bridge} up`,
)}
${inNet(
  net,
  `ip link set lo up
ip addr add ${address}/24 dev eth0
ip link set eth0 up
${way}`,
)}`;
}

/** Outside addresses of home routers are on the underlay's wire. */
const toRouters = (subnet: string): string => `ip route add ${outsideSubnet(subnet)}.0/24 dev eth0`;

export function hostLegScript(layout: LabLayout, host: HostPlan, subnet: string): string {
  if (host.home) return legScript(layout, host.name, host.address, HOME, `ip route add default via ${routerInside(subnet)}`);
  return legScript(layout, host.name, host.address, WIRE, toRouters(subnet));
}

export function registryLegScript(layout: LabLayout, subnet: string): string {
  return legScript(layout, REGISTRY, registryAddress(subnet), WIRE, toRouters(subnet));
}

/** The host's mount and host name namespaces, still a copy of the machine's. */
export function hostNamespacesScript(layout: LabLayout, host: HostPlan): string {
  const mounts = shellQuote(mountFile(layout, host));
  const names = shellQuote(utsFile(layout, host));
  return `touch ${mounts} ${names}
mkdir -p ${shellQuote(host.folder)}
unshare --mount=${mounts} --uts=${names} --propagation private true`;
}

/**
 * Makes the copy a host of its own; runs inside its three namespaces. It gets a /run of its own (what peers and crun keep
 * there, and the names of network namespaces, are then the host's and end with it) and the /sys of its own network.
 * Shared propagation comes last: before, it would carry the unmounting out.
 */
export function hostMountsScript(host: HostPlan, drop: readonly string[]): string {
  const lines = drop.map((point) => `umount -l ${shellQuote(point)} 2>/dev/null || :`);
  return `hostname ${host.name}
${lines.join("\n")}
mount -t tmpfs -o mode=755,size=256m tmpfs /run
mkdir -p /run/cc /run/lock /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount --make-rprivate /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount -l /run/cgroup
rmdir /run/cgroup
if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi
mount --make-rshared /`;
}

/** Runs `argv` inside a host: in its cgroup, its namespaces, and `cwd`. The process id does not change on the way. */
export function enterHost(layout: LabLayout, host: HostPlan, cgroups: readonly string[], cwd: string, argv: readonly string[]): string[] {
  const join = cgroups.map((root) => `echo $$ >${shellQuote(`${root}/${host.cgroup}/peer/cgroup.procs`)}`).join("; ");
  const nsenter = `exec nsenter --mount=${shellQuote(mountFile(layout, host))} --uts=${shellQuote(utsFile(layout, host))} --net=${shellQuote(netFile(layout, host.name))}`;
  return ["sh", "-ec", `${join}; ${nsenter} sh -c 'cd "$1" && shift && exec "$@"' sh "$@"`, "sh", cwd, ...argv];
}

/** Runs `argv` in the network and cgroup of a part of the lab that is no host: the registry, the router. */
export function enterPart(layout: LabLayout, part: string, cgroups: readonly string[], argv: readonly string[]): string[] {
  const join = cgroups.map((root) => `echo $$ >${shellQuote(`${root}/${layout.cgroup}/${part}/cgroup.procs`)}`).join("; ");
  return ["sh", "-ec", `${join}; exec nsenter --net=${shellQuote(netFile(layout, part))} "$@"`, "sh", ...argv];
}

/**
 * One fault on the underlay. `to` left out: everybody. One way: only frames that `from` sends are lost. `addresses`: one of the two is behind
 * the home router and the other is not, so no frame goes from port to port, and packets are told by their addresses on the home's side.
 */
export type Fault = {
  readonly from: string;
  readonly to?: string;
  readonly oneWay: boolean;
  readonly addresses?: { readonly from: string; readonly to: string };
};

function ruleBetween(from: string, to: string, addresses: Fault["addresses"]): string[] {
  if (addresses === undefined) return [`iifname "${from}" oifname "${to}" drop`];
  return [`iifname "${from}" ip daddr ${addresses.to} drop`, `oifname "${to}" ip saddr ${addresses.from} drop`];
}

/** The whole fault table, as one transaction: what is not in `faults` is healed by it. */
export function faultRuleset(faults: readonly Fault[]): string {
  const rules = faults.flatMap((fault) => {
    const { from, to, addresses } = fault;
    const turned = addresses && { from: addresses.to, to: addresses.from };
    const forth = to === undefined ? [`iifname "${from}" drop`] : ruleBetween(from, to, addresses);
    const back = to === undefined ? [`oifname "${from}" drop`] : ruleBetween(to, from, turned);
    return fault.oneWay ? forth : [...forth, ...back];
  });
  return `add table bridge fault
delete table bridge fault
table bridge fault {
  chain forward {
    type filter hook forward priority 0; policy accept;
${[...new Set(rules)].map((rule) => `    ${rule}\n`).join("")}  }
}
`;
}

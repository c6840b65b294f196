import { shellQuote } from "../../src/base/index.ts";
import { type HostPlan, type LabLayout, machineAddress, registryAddress } from "./layout.ts";

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

const inNet = (file: string, script: string): string => `nsenter --net=${shellQuote(file)} sh -ec ${shellQuote(script)}`;

function makeNet(file: string): string {
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

/** A network namespace with one leg, `eth0`, on the underlay; its port on the bridge is called `port`. */
function legScript(layout: LabLayout, port: string, address: string): string {
  const wire = netFile(layout, WIRE);
  const net = netFile(layout, port);
  return `${makeNet(net)}
${inNet(
  wire,
  `if ip link show ${port} >/dev/null 2>&1; then ip link del ${port}; fi
ip link add ${port} type veth peer name eth0 netns ${shellQuote(net)}
ip link set ${port} master ${WIRE} up`,
)}
${inNet(
  net,
  `ip link set lo up
ip addr add ${address}/24 dev eth0
ip link set eth0 up`,
)}`;
}

export function hostLegScript(layout: LabLayout, host: HostPlan): string {
  return legScript(layout, host.name, host.address);
}

export function registryLegScript(layout: LabLayout, subnet: string): string {
  return legScript(layout, REGISTRY, registryAddress(subnet));
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

/** Runs `argv` in the registry's network and cgroup. */
export function enterRegistry(layout: LabLayout, cgroups: readonly string[], argv: readonly string[]): string[] {
  const join = cgroups.map((root) => `echo $$ >${shellQuote(`${root}/${layout.cgroup}/${REGISTRY}/cgroup.procs`)}`).join("; ");
  return ["sh", "-ec", `${join}; exec nsenter --net=${shellQuote(netFile(layout, REGISTRY))} "$@"`, "sh", ...argv];
}

/** One fault on the underlay. `to` left out: everybody. One way: only frames that `from` sends are lost. */
export type Fault = { readonly from: string; readonly to?: string; readonly oneWay: boolean };

/** The whole fault table, as one transaction: what is not in `faults` is healed by it. */
export function faultRuleset(faults: readonly Fault[]): string {
  const rules = faults.flatMap((fault) => {
    const forth = fault.to === undefined ? `iifname "${fault.from}" drop` : `iifname "${fault.from}" oifname "${fault.to}" drop`;
    const back = fault.to === undefined ? `oifname "${fault.from}" drop` : `iifname "${fault.to}" oifname "${fault.from}" drop`;
    return fault.oneWay ? [forth] : [forth, back];
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

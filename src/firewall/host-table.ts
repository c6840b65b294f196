import { formatCidr, formatIp, type Ip } from "../base/index.ts";
import { TUNNEL_CIDR, TUNNEL_DEVICE } from "../vpc/index.ts";
import type { HandedPort } from "./published.ts";
import type { FirewallState } from "./state.ts";
import { type ChainPlan, elementsOf, type SetPlan, setElements, type TablePlan } from "./table.ts";

/** Names of devices between host and VPCs; nobody else's may begin like this. What is not known yet is closed, not open. */
const FROM_VPC = 'iifname "cc-*"';
const TO_VPC = 'oifname "cc-*"';

/** Never the destination of a container, whatever the host's routes say: this host's own, links (metadata services), multicast, reserved. */
const CLOSED_ALWAYS = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"];

const HOST_COUNTERS = [
  "vpc_wrong_source",
  "vpc_invalid",
  "vpc_to_closed",
  "vpc_to_host",
  "forwarded_to_vpc",
  "vxlan_from_stranger",
  "vxlan_in_clear",
  "tunnel_not_vxlan",
  "names_from_outside",
] as const;

/** The table in the host's own namespace: none where no VPC is. `handed` are all published ports. */
export function hostTables(state: FirewallState, handed: readonly HandedPort[]): readonly TablePlan[] {
  if (state.vpcs.length === 0) return [];
  return [{ family: "inet", counters: HOST_COUNTERS, sets: hostSets(state, handed), chains: hostChains(state) }];
}

const ofFamily = (addresses: readonly Ip[], family: 4 | 6): ReadonlyMap<string, string> =>
  setElements(addresses.filter((ip) => ip.family === family).map(formatIp));

function hostSets({ transit, underlay, vpcs, publishedElsewhere = [] }: FirewallState, ports: readonly HandedPort[]): readonly SetPlan[] {
  const transitOf = new Map(vpcs.map((vpc) => [vpc.id, formatIp(vpc.transit)]));
  const target = ({ vpc, transitPort }: HandedPort): string => `${transitOf.get(vpc)} . ${transitPort}`;
  const onAll = ports.filter(({ at }) => at === undefined).map((port) => [`${port.protocol} . ${port.hostPort}`, target(port)] as const);
  const onOne = ports.flatMap((port) => (port.at === undefined ? [] : [[`${formatIp(port.at)} . ${port.protocol} . ${port.hostPort}`, target(port)] as const]));
  return [
    {
      name: "transit",
      kind: "set",
      spec: ["type ifname . ipv4_addr"],
      elements: setElements(vpcs.map((vpc) => `"${vpc.hostDevice}" . ${formatIp(vpc.transit)}`)),
    },
    { name: "closed", kind: "set", spec: ["type ipv4_addr", "flags interval"], elements: setElements([...CLOSED_ALWAYS, formatCidr(transit.range)]) },
    { name: "hosts", kind: "set", spec: ["type ipv4_addr"], elements: ofFamily(underlay.hosts, 4) },
    {
      name: "elsewhere",
      kind: "set",
      spec: ["type ipv4_addr . inet_proto . inet_service"],
      elements: setElements(
        publishedElsewhere.flatMap(({ host, protocol, hostPort }) => (host.family === 4 ? [`${formatIp(host)} . ${protocol} . ${hostPort}`] : [])),
      ),
    },
    { name: "neighbours", kind: "set", spec: ["type ipv4_addr"], elements: ofFamily(underlay.neighbours, 4) },
    { name: "neighbours6", kind: "set", spec: ["type ipv6_addr"], elements: ofFamily(underlay.neighbours, 6) },
    { name: "published", kind: "map", spec: ["type inet_proto . inet_service : ipv4_addr . inet_service"], elements: elementsOf(onAll) },
    { name: "published_at", kind: "map", spec: ["type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"], elements: elementsOf(onOne) },
  ];
}

/**
 * Priorities, between those of others: conntrack is at -200, DNAT of the owner's ruleset and Docker's at -100, their filters at 0,
 * their masquerading at 100. What comes from a VPC is looked at before anybody else's DNAT; of everything else theirs comes first.
 *
 * A packet between hosts passes each chain of type filter of its hooks, and each costs it some tenths of a microsecond: so there is one a hook,
 * VXLAN is its first rule, and what concerns connections of VPCs stands in chains of type nat. These see the first packet of each connection only (what
 * they drop never becomes one), and nothing that is not tracked.
 */
function hostChains({ transit, underlay }: FirewallState): readonly ChainPlan[] {
  const host = formatIp(transit.host);
  const range = formatCidr(transit.range);
  const tunnel = formatCidr(TUNNEL_CIDR);
  const vxlan = `udp dport ${underlay.vxlanPort}`;
  return [
    { name: "vxlan_in", hook: "type filter hook prerouting priority -300; policy accept;", rules: [`${vxlan} goto from_host`] },
    {
      // VXLAN's source ports are hashes: tracked, each flow inside would take entries of the host's table, and no answer ever fits one.
      name: "from_host",
      rules: [
        "ip saddr @neighbours notrack accept",
        // The kernel takes a packet for any of its addresses from every device: this one says who sent it.
        `ip6 saddr ${tunnel} iifname != "${TUNNEL_DEVICE}" counter name "vxlan_from_stranger" drop`,
        "ip6 saddr @neighbours6 notrack accept",
        // Others' VXLAN that only passes through is not ours to drop.
        'fib daddr type local counter name "vxlan_from_stranger" drop',
      ],
    },
    { name: "vxlan_out", hook: "type filter hook output priority -300; policy accept;", rules: [`${vxlan} goto to_host`] },
    {
      name: "to_host",
      rules: [
        "ip daddr @neighbours notrack accept",
        // Whatever becomes of the device and its route (a moment without them, a default route of IPv6): not in the clear.
        `ip6 daddr ${tunnel} oifname != "${TUNNEL_DEVICE}" counter name "vxlan_in_clear" drop`,
        "ip6 daddr @neighbours6 notrack accept",
      ],
    },
    // Here and not in the input hook: another's DNAT (Docker's published ports) would have turned away what is for this host.
    { name: "from_vpc", hook: "type nat hook prerouting priority -101; policy accept;", rules: [`${FROM_VPC} goto from_vpc_device`] },
    { name: "from_vpc_device", rules: ["iifname . ip saddr @transit goto from_vpc_address", 'counter name "vpc_wrong_source" drop'] },
    {
      name: "from_vpc_address",
      rules: [
        "fib daddr type local goto host_service",
        'ip daddr @closed counter name "vpc_to_closed" drop',
        // From there it is as from outside: who may use a published port may use it from a container.
        "ip daddr . meta l4proto . th dport @elsewhere accept",
        'ip daddr @hosts counter name "vpc_to_closed" drop',
      ],
    },
    {
      name: "host_service",
      rules: [`ip daddr ${host} meta l4proto { tcp, udp } th dport 53 accept`, "jump published_port", 'counter name "vpc_to_host" drop'],
    },
    {
      name: "published_port",
      rules: ["dnat ip to ip daddr . meta l4proto . th dport map @published_at", "dnat ip to meta l4proto . th dport map @published"],
    },
    {
      name: "prerouting",
      hook: "type nat hook prerouting priority -99; policy accept;",
      rules: [`${FROM_VPC} accept`, "fib daddr type local goto published_port"],
    },
    { name: "output", hook: "type nat hook output priority -99; policy accept;", rules: ["fib daddr type local goto published_port"] },
    {
      name: "input",
      hook: "type filter hook input priority -1; policy accept;",
      rules: [
        `${vxlan} goto to_vxlan`,
        `${FROM_VPC} goto input_from_vpc`,
        `iifname "${TUNNEL_DEVICE}" goto from_tunnel`,
        // Whoever has a way to this host could send there, since Linux takes any of its addresses on any device.
        `iifname != "lo" ip daddr ${host} counter name "names_from_outside" drop`,
      ],
    },
    // Neighbours' is not tracked. A stranger's that comes so far was for somebody else, until another's DNAT turned it here.
    { name: "to_vxlan", rules: ["ct state untracked accept", 'counter name "vxlan_from_stranger" drop'] },
    {
      // Once more, for what passes no chain of type nat: it is not tracked, or fits no connection.
      name: "input_from_vpc",
      rules: ["ct state established,related accept", `ip daddr ${host} meta l4proto { tcp, udp } th dport 53 accept`, 'counter name "vpc_to_host" drop'],
    },
    // Who is in the mesh is no guest of this host: its services are behind its owner's rules, which name other devices.
    { name: "from_tunnel", rules: ["meta l4proto ipv6-icmp accept", 'counter name "tunnel_not_vxlan" drop'] },
    {
      name: "forward",
      hook: "type filter hook forward priority -1; policy accept;",
      rules: [
        `iifname "${TUNNEL_DEVICE}" counter name "tunnel_not_vxlan" drop`,
        `${FROM_VPC} ct state invalid,untracked counter name "vpc_invalid" drop`,
        `${TO_VPC} goto forward_to_vpc`,
      ],
    },
    {
      // Whoever knows a transit address and sends to it directly has passed by what is published at which address.
      name: "forward_to_vpc",
      rules: ["ct state established,related accept", "ct status dnat accept", 'counter name "forwarded_to_vpc" drop'],
    },
    {
      name: "postrouting",
      hook: "type nat hook postrouting priority 101; policy accept;",
      rules: [
        // Answers to loopback, and to a VPC that called this host's address and was handed back to itself, must come back this way.
        `${TO_VPC} ip saddr { 127.0.0.0/8, ${range} } masquerade`,
        `${TO_VPC} accept`,
        `ip saddr ${range} masquerade`,
      ],
    },
  ];
}

import { formatIp } from "../base/index.ts";
import { BRIDGE, macOf, passingAddress, UPLINK } from "../vpc/index.ts";
import type { HandedPort } from "./published.ts";
import type { FirewallState, VpcFirewall } from "./state.ts";
import { type ChainPlan, elementsOf, setElements, type TablePlan } from "./table.ts";

const VPC_COUNTERS = ["invalid_state", "not_forwarded", "gateway_service", "too_many_questions"] as const;
export const BRIDGE_COUNTERS = [
  "false_mac",
  "false_address",
  "false_arp",
  "sent_dhcp",
  "sent_broadcast",
  "sent_ipv6",
  "other_ethertype",
  "overlay_not_ip",
] as const;

/** vx0 and vx1; in this namespace nobody else makes devices. */
const OVERLAY_DEVICES = "vx*";

const [FROM_CONTAINERS, TO_CONTAINERS] = [`iifname "${BRIDGE}"`, `oifname "${BRIDGE}"`];
const [FROM_HOST, TO_HOST] = [`iifname "${UPLINK}"`, `oifname "${UPLINK}"`];

/**
 * Of one VPC's containers here together. A little more than the name server answers to one VPC, so that it is still the one who says that it
 * was too much; and never more at once than the kernel keeps for its socket on most machines (some 550 packets), so that others find room.
 */
const QUESTIONS_MAX = "12000/second burst 500 packets";

type Surroundings = Pick<FirewallState, "transit" | "underlay">;

/** The tables in a VPC's namespace; `handed` are its published ports. */
export function vpcTables(vpc: VpcFirewall, handed: readonly HandedPort[], surroundings: Surroundings): readonly TablePlan[] {
  const here = new Set(vpc.ports.map(({ address }) => formatIp(address)));
  const passesOn = handed.some(({ address }) => !here.has(formatIp(address)));
  return [
    {
      family: "inet",
      counters: VPC_COUNTERS,
      sets: [
        { name: "here", kind: "set", spec: ["type ipv4_addr"], elements: setElements(here) },
        {
          name: "published",
          kind: "map",
          spec: ["type inet_proto . inet_service : ipv4_addr . inet_service"],
          elements: elementsOf(
            handed.map(({ protocol, transitPort, address, port }) => [`${protocol} . ${transitPort}`, `${formatIp(address)} . ${port}`] as const),
          ),
        },
      ],
      chains: routedChains(vpc, surroundings),
    },
    {
      family: "bridge",
      counters: BRIDGE_COUNTERS,
      sets: [
        {
          name: "ports",
          kind: "set",
          spec: ["type ifname . ether_addr . ipv4_addr"],
          elements: setElements(vpc.ports.map(({ device, mac, address }) => `"${device}" . ${mac} . ${formatIp(address)}`)),
        },
        // Only says why a frame is dropped.
        {
          name: "macs",
          kind: "set",
          spec: ["type ifname . ether_addr"],
          elements: setElements(vpc.ports.map(({ device, mac }) => `"${device}" . ${mac}`)),
        },
      ],
      chains: bridgedChains(vpc, passesOn, surroundings),
    },
  ];
}

function routedChains({ gateway }: VpcFirewall, { transit, underlay }: Surroundings): readonly ChainPlan[] {
  const dnsAtHost = `${formatIp(transit.host)}:53`;
  const questions = `${FROM_CONTAINERS} ip daddr ${formatIp(gateway)} meta l4proto { tcp, udp } th dport 53`;
  return [
    // Before connections are tracked: what is too much takes no room there either.
    {
      name: "questions",
      hook: "type filter hook prerouting priority -300; policy accept;",
      rules: [`${questions} limit rate over ${QUESTIONS_MAX} counter name "too_many_questions" drop`],
    },
    {
      name: "prerouting",
      hook: "type nat hook prerouting priority -100; policy accept;",
      rules: [`${FROM_HOST} dnat ip to meta l4proto . th dport map @published`, `${questions} dnat ip to ${dnsAtHost}`],
    },
    {
      name: "postrouting",
      hook: "type nat hook postrouting priority 100; policy accept;",
      rules: [
        `${TO_HOST} masquerade`,
        // Passed on to a container of another host: its answer must come back to this one, which the gateway's address would not do,
        // every host being the gateway.
        `${TO_CONTAINERS} ct status dnat ip daddr != @here snat ip to ${formatIp(passingAddress(underlay.own))}`,
      ],
    },
    {
      name: "forward",
      hook: "type filter hook forward priority 0; policy drop;",
      rules: [
        "ct state established,related accept",
        // Answers to a host that passed a port on: their questions came by the bridge and were not seen here, so before `invalid`.
        `${FROM_CONTAINERS} ${TO_CONTAINERS} ip saddr @here accept`,
        // Else they would leave as they are: no translation applies to what is not tracked.
        'ct state invalid counter name "invalid_state" drop',
        `${FROM_CONTAINERS} ${TO_HOST} ip saddr @here accept`,
        `${FROM_HOST} ${TO_CONTAINERS} ct status dnat accept`,
        'counter name "not_forwarded" drop',
      ],
    },
    {
      name: "input",
      hook: "type filter hook input priority 0; policy drop;",
      rules: [
        "ct state established,related accept",
        `${FROM_CONTAINERS} ip daddr ${formatIp(gateway)} icmp type echo-request accept`,
        'counter name "gateway_service" drop',
      ],
    },
  ];
}

/** Stateless: this family has no conntrack. */
function bridgedChains(vpc: VpcFirewall, passesOn: boolean, { underlay }: Surroundings): readonly ChainPlan[] {
  const gatewayMac = macOf(vpc.id, vpc.gateway);
  // To other hosts this one's passing address is a container like any; here its frames are for the bridge itself.
  const answers = `ether daddr ${macOf(vpc.id, passingAddress(underlay.own))} ether daddr set ${gatewayMac} meta pkttype set host accept`;
  return [
    {
      name: "prerouting",
      hook: "type filter hook prerouting priority -300; policy accept;",
      // Every frame passes these: compared, not looked up in sets, which takes three times as long.
      rules: [`iifname "${OVERLAY_DEVICES}" goto from_overlay`, "ether type ip goto from_container", "goto not_ip"],
    },
    // Other hosts filter what their containers send. ARP is answered on each host and never crosses, so what comes is a lie.
    { name: "from_overlay", rules: ['ether type != ip counter name "overlay_not_ip" drop', ...(passesOn ? [answers] : [])] },
    {
      name: "from_container",
      rules: [
        'udp dport 67-68 counter name "sent_dhcp" drop',
        'ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 counter name "sent_broadcast" drop',
        "iifname . ether saddr . ip saddr @ports accept",
        'iifname . ether saddr != @macs counter name "false_mac" drop',
        'counter name "false_address" drop',
      ],
    },
    {
      name: "not_ip",
      rules: [
        "ether type arp arp htype 1 arp ptype ip iifname . ether saddr . arp saddr ip @ports iifname . arp saddr ether . arp saddr ip @ports accept",
        'iifname . ether saddr != @macs counter name "false_mac" drop',
        'ether type arp counter name "false_arp" drop',
        'ether type ip6 counter name "sent_ipv6" drop',
        'counter name "other_ethertype" drop',
      ],
    },
  ];
}

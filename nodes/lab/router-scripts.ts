import { createHash } from "node:crypto";
import { shellQuote } from "../../src/base/index.ts";
import { homeSubnet, type LabLayout, machineAddress, routerInside, routerOutside } from "./layout.ts";
import { HOME, inNet, makeNet, netFile, WIRE } from "./scripts.ts";

/** The home router as text: its network, its rules, and the configuration of the daemon that maps ports. */
export const ROUTER = "router";
/** The router's ports on the two bridges, and its own ends of them. */
const [WAN_PORT, LAN_PORT] = ["wan", "lan"];
const [WAN, LAN] = ["wan0", "lan0"];
/** The daemon adds its rules to these; a base chain jumps to each. */
const TABLE = "home";
const CHAINS = { forward: "mapped_forward", prerouting: "mapped_prerouting", postrouting: "mapped_postrouting" };

/** The switch of the home: hosts behind the router reach each other whether it is on or not. */
export function homeWireScript(layout: LabLayout): string {
  return inNet(
    netFile(layout, WIRE),
    `ip link show dev ${HOME} >/dev/null 2>&1 || ip link add ${HOME} type bridge mcast_snooping 0 stp_state 0 forward_delay 0
ip link set ${HOME} up`,
  );
}

/**
 * Switches the router on: one leg on the underlay with a public-looking address, one at home. The machine itself gets a way to the hosts
 * behind it, which none of the lab's hosts has: it is where people sit who look into the lab.
 */
export function routerScript(layout: LabLayout, subnet: string): string {
  const net = netFile(layout, ROUTER);
  const outside = routerOutside(subnet);
  return `${makeNet(net)}
${inNet(
  netFile(layout, WIRE),
  [
    [WAN_PORT, WAN, WIRE],
    [LAN_PORT, LAN, HOME],
  ]
    .map(
      ([port, end, bridge]) => `if ip link show dev ${port} >/dev/null 2>&1; then ip link del ${port}; fi
ip link add ${port} type veth peer name ${end} netns ${shellQuote(net)}
ip link set ${port} master ${bridge} up`,
    )
    .join("\n"),
)}
${inNet(
  net,
  `ip link set lo up
ip addr add ${outside}/24 dev ${WAN}
ip addr add ${routerInside(subnet)}/24 dev ${LAN}
ip link set ${WAN} up
ip link set ${LAN} up
ip route add ${subnet}.0/24 dev ${WAN} src ${outside}
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<'END'
${routerRuleset(subnet)}END`,
)}
ip route replace ${outside}/32 dev ${layout.machineLink}
ip route replace ${homeSubnet(subnet)}.0/24 via ${outside} dev ${layout.machineLink}`;
}

/** Cuts the cables, so that nothing is closed in good order. Nothing happens where there are none. */
export function routerOffScript(layout: LabLayout): string {
  const cut = [WAN_PORT, LAN_PORT].map((port) => `if ip link show dev ${port} >/dev/null 2>&1; then ip link del ${port}; fi`).join("\n");
  return inNet(netFile(layout, WIRE), cut);
}

/** What a home router does: out with its own address, in only what is an answer or was mapped. */
export function routerRuleset(subnet: string): string {
  return `table inet ${TABLE} {
  chain ${CHAINS.forward} { }
  chain ${CHAINS.prerouting} { }
  chain ${CHAINS.postrouting} { }
  chain input {
    type filter hook input priority 0; policy accept;
    iifname "${WAN}" ct state established,related accept
    iifname "${WAN}" ip protocol icmp accept
    iifname "${WAN}" drop
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "${LAN}" oifname "${WAN}" accept
    iifname "${WAN}" ip saddr ${machineAddress(subnet)} accept
    jump ${CHAINS.forward}
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    jump ${CHAINS.prerouting}
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    jump ${CHAINS.postrouting}
    oifname "${WAN}" ip saddr ${homeSubnet(subnet)}.0/24 snat ip to ${routerOutside(subnet)}
  }
}
`;
}

export type DaemonOptions = {
  /** Both, where left out. */
  readonly only?: "pcp" | "upnp" | undefined;
  /** Describes itself as the first version of UPnP's gateways, as most routers that people have. */
  readonly version1?: boolean;
};

/** miniupnpd's configuration. Leases of seconds are allowed, so that tests see them end; its port is another one after each start. */
export function daemonConfiguration(layout: Pick<LabLayout, "tag">, subnet: string, options: DaemonOptions = {}): string {
  const hash = createHash("sha256").update(`router ${layout.tag}`).digest("hex");
  return `ext_ifname=${WAN}
listening_ip=${LAN}
http_port=0
enable_upnp=${options.only === "pcp" ? "no" : "yes"}
enable_natpmp=${options.only === "upnp" ? "no" : "yes"}
force_igd_desc_v1=${options.version1 === true ? "yes" : "no"}
ipv6_disable=yes
secure_mode=yes
min_lifetime=2
max_lifetime=86400
friendly_name=home router
uuid=${hash.slice(0, 8)}-${hash.slice(8, 12)}-4000-8000-${hash.slice(12, 24)}
upnp_table_name=${TABLE}
upnp_nat_table_name=${TABLE}
upnp_forward_chain=${CHAINS.forward}
upnp_nat_chain=${CHAINS.prerouting}
upnp_nat_postrouting_chain=${CHAINS.postrouting}
allow 1-65535 ${homeSubnet(subnet)}.0/24 1-65535
deny 0-65535 0.0.0.0/0 0-65535
`;
}

/** Words that list what is mapped, in the router's network. */
export const listMappings = (layout: LabLayout): string[] => [
  "nsenter",
  `--net=${netFile(layout, ROUTER)}`,
  "nft",
  "list",
  "chain",
  "inet",
  TABLE,
  CHAINS.prerouting,
];

export type RouterMapping = { readonly protocol: string; readonly externalPort: number; readonly address: string; readonly port: number };

/** The rules of mappings, as nft prints them: older ones show the protocol as a number of the packet's header. */
export function parseMappings(listing: string): RouterMapping[] {
  const names: Readonly<Record<string, string>> = { "0x6": "tcp", "0x11": "udp" };
  return [...listing.matchAll(/(?:@nh,72,8|l4proto|ip protocol) (\S+) th dport (\d+) dnat ip to ([\d.]+):(\d+)/g)].map(
    ([, protocol = "", external, address = "", port]) => {
      return { protocol: names[protocol] ?? protocol, externalPort: Number(external), address, port: Number(port) };
    },
  );
}

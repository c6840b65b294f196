/**
 * The firewall of one host: which packets go where between containers, VPCs, the host and the world. Devices and routes are src/vpc's.
 *
 * `rulesetsOf` is a pure function from state to nftables tables, one list for each place: the host's namespace, each VPC's, and each
 * container's where a user's rule concerns it. Tables are data; their text is made whole (one transaction that takes the place of
 * whatever was there) or as the change from one state to the next: elements of sets and maps, and chains of at most 32 rules, so that
 * one more of anything costs the same however much is there. Both lead to the same table in the kernel.
 *
 * Host (`inet cc`): published ports are one map lookup (protocol, port → the VPC's transit address and a port there); packets from VPCs
 * are held to their transit address and kept from this host, other hosts, link-local addresses and each other; VXLAN is taken from
 * neighbours only, of those in the encrypted tunnel from its device only, which takes nothing else and never lets their packets out in the clear. VPC (`inet cc`, `bridge cc`): the second half of published ports, names at the gateway, and per bridge port the one
 * hardware and IP address that may send, for IP and ARP; all else is dropped and counted by kind. Container (`inet cc`): users' rules,
 * stateful, in its own namespace, since bridges have no conntrack and a container has no CAP_NET_ADMIN to change them. A port of another
 * host's container is passed on through the overlay with the host's `passingAddress` for the client's, so that answers come back.
 *
 * Others' rulesets are left alone and keep their say: our base chains accept, and drop only what comes from a VPC, goes to one, or is
 * VXLAN. Accepting here overrides nobody's drop, so a host whose own policy is to drop forwarded packets must let the transit range
 * through (README). Their DNAT comes before ours, but for packets from VPCs, which it could lead to the host's services.
 *
 * A changed or flushed table is found by the generation of its namespace, which the kernel raises with every transaction: all places in
 * one short program, without listing any. Where others write too (the host), a raised generation only starts a comparison.
 *
 * What a rule with `log` met is kept by the kernel in a set, bounded and with a count: other side, protocol, port. `newlyLogged` says what
 * is new since the last look.
 *
 * Rejected: nft's `log` (from a namespace it reaches the kernel's log only after net.netfilter.nf_log_all_netns was set for the whole
 * machine, and then lets every container write there) and its NFLOG groups (a netlink socket in each namespace, which Node cannot open);
 * listing every table each 10 s (200 VPCs would take a twelfth of a core); `nft monitor` (a process for each VPC); one table for all
 * VPCs on the host (addresses overlap); a chain per container on the bridge (no conntrack there); rules as intervals of one set
 * (overlapping ranges are refused); lists of rules with handles (a deletion has to list them first); rules by iptables (3.4 s for
 * 1,000); `allow` that closes everything else (adding a harmless rule would cut a service off); passing ports on from host to host below the
 * overlay (loopback could not reach them, and owners' firewalls would see foreign traffic); passing them on with the underlay address (that
 * host may be a client of its own, whose answers would go astray) or with an address of the VPC (a /29 has five); a userspace proxy.
 */
export * from "./driver.ts";
export * from "./rule.ts";
export * from "./rule-input.ts";
export * from "./rulesets.ts";
export * from "./state.ts";

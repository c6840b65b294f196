/**
 * Ports of containers that others reach: how users write them, which port of the host each gets, and how the home router forwards them.
 *
 * Published ports are pure. `parsePublishedPorts` reads what users write and refuses what could stand on no host; `findCollision` says which
 * two cannot stand beside each other; `bindHostPorts` gives a host's free ports to those that named none, or says who has the one that was
 * named. The translation itself is rules of the firewall.
 *
 * `RouterMappings` keeps at the router what is wanted of it. `planMappings` compares what is wanted with what is held and says what is due: it
 * knows no history but what is held and which tries failed, so that one loop does first requests, renewals at half the lease, removals,
 * restarts of the router and of the peer. The router is the host's default gateway, asked for every 10 s; behind another one everything is
 * asked for anew. Protocols are drivers, tried in their order, PCP before UPnP; a protocol that answered is kept until it falls silent.
 * Whether the router restarted is looked at every 20 s: PCP's epoch, or with UPnP one mapping, each time another. What is held is booked in a
 * file before it is asked for, since a mapping without a lease stays until somebody removes it; PCP's nonces follow from a secret of the host.
 * If the router gives another external port than was wanted, that is taken and said, and kept for as long as it can be: people have noted it.
 * A killed host's mappings end with their lease; without leases (UPnP error 725) they end when the host returns, or never.
 *
 * UPnP is by hand. `@achingbrain/nat-port-mapper` 4.0.5, which the design names, was tried against miniupnpd and read: it removes by the
 * internal port and without a protocol, so that a mapping stays (seen), and only what the same process made; leases are never under an hour
 * nor 0 (60 s became 3,600: seen), so no router that knows only permanent ones; it speaks WANIPConnection:2 only, which older routers lack;
 * it asks on every address of the host (each VPC has one here) instead of the gateway's interface, believes whoever answers first, renews
 * by its own timers 60 s before the end and logs failures away, cannot look whether a mapping is there, and reads answers of any length.
 *
 * Rejected: NAT-PMP (what speaks only that is no longer sold; it is recognised and said), listening for a router's multicast announcements
 * (hosts' firewalls drop them, so the look is needed anyway, and it is one small packet), asking both protocols at once (many routers are
 * the same program behind both, and the loser's mapping would have to be taken back), devices other than the gateway (any machine on the network can
 * answer a search, and would learn what is published), returning to the preferred external port once it is free (whoever uses the other
 * one would lose it), UPnP's AddAnyPortMapping (miniupnpd answers with the port of another mapping of the same host and overwrites that: seen; so a
 * wanted port is looked up first, and a substitute is of our choice), removing mappings when the peer stops (its containers run on).
 */
export { type BoundPort, bindHostPorts, findCollision, type HostPort, type TakenPort } from "./host-ports.ts";
export { isPublicAddress, MAPPINGS_MAX, type MappingStatus, type RouterForward, reachedFromOutside } from "./mapping-status.ts";
export * from "./port-book.ts";
export * from "./published-port.ts";
export * from "./router-driver.ts";
export * from "./router-mappings.ts";

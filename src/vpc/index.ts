/**
 * VPCs: which addresses and blocks there are and whose they are, what a host's kernel holds of them, and their names.
 *
 * The overlay. `HostNetwork` (network.ts) says what one host is to hold; it comes from records alone. `wantedVpc` makes a model of it in the words of
 * `ip` and `bridge`, `parseSeen` makes the same model of what the kernel says, and `planVpc` gives the lines that make the one into the
 * other: what is in the way goes first, then what is wanted comes, then what is too much goes, so that of what stays nothing is
 * interrupted. The driver looks and applies; it remembers what it saw or made, so that a change costs the lines that differ (`follow`), and looks
 * at the kernel itself for what others broke (`converge`), when something failed, and for a port that should be there already.
 *
 * Each VPC has a network namespace of its own on each host that has containers of it: a bridge with the gateway's address, a VXLAN device whose socket
 * is in the host's namespace, and a transit to the host. Nothing is learned and nothing flooded: FDB and neighbours say where each address
 * is, the bridge itself answers ARP, and a port takes frames of its own hardware address only. A gateway has the same hardware address
 * everywhere, and an address keeps its own when it moves. What a port is, and that its container's end is done, is written on the port (`formatMark`),
 * so no file can disagree with the kernel. A script that outlives its peer is waited for by the next. A container waits for its port, so that is made by
 * one program of ours from the lines for `ip` and `bridge` (drivers/overlay/port-program.ts); all else by these.
 *
 * The tunnel. Between two hosts that both have WireGuard, VXLAN goes through it: by a second VXLAN device in each VPC, to addresses of a network of
 * its own (tunnel.ts), which one WireGuard device a host carries (`planTunnel`, and a driver that looks and follows as the overlay's does). A host's
 * address there follows from its peer id, its key stands in its signed facts, and `wayBetween` says for each pair which way both go. The firewall
 * keeps what belongs into the tunnel from every other device.
 *
 * Rejected: learning and multicast (broadcasts of one container on every host, and any of them can claim any address); host routes
 * instead of VXLAN (two VPCs with the same addresses cannot have them, and hosts must share a link); VLANs of one bridge for all VPCs (its routing
 * would need VRFs, which not every kernel has); entries made when an address is first asked for (the first packet waits for a
 * peer, which may be down); a fixed `local` of the VXLAN device (an address of the host that changes would be written into every VPC);
 * names below /run/netns (everybody's, and `ip netns` mounts a /sys for each call); netlink from Node (its packages
 * are young; batches are fast enough); encryption for a zone as a whole (one host without it would undo it for all); the underlay's own addresses
 * inside WireGuard, with a rule for VXLAN's port (rp_filter drops what comes back, and the host's owner has rules of his own); a process kept in each namespace (200 of them); deleting by what was remembered (state names what may stay).
 */
export * from "./blocks.ts";
export * from "./host-plan.ts";
export * from "./mac.ts";
export * from "./membership.ts";
export type { NameServer } from "./name-server.ts";
export type { NamedContainer, NameTable } from "./names.ts";
export * from "./network.ts";
export * from "./overlay-driver.ts";
export type { LinkModel, SideModel, VpcModel } from "./overlay-model.ts";
export { BRIDGE, portName, transitName, UPLINK } from "./overlay-names.ts";
export type { OverlaySeen } from "./overlay-seen.ts";
export type { VpcParts } from "./parts.ts";
export { passingAddress } from "./passing.ts";
export * from "./tunnel.ts";
export * from "./tunnel-driver.ts";
export type { TunnelPeer } from "./tunnel-plan.ts";
export * from "./underlay.ts";
export * from "./vni.ts";
export { VpcAddresses } from "./vpc-addresses.ts";
export * from "./vpc-cidr.ts";

import type { Cidr, ContainerId, Ip, PeerId, VpcId } from "../base/index.ts";
import { macOf } from "./mac.ts";

/** How one host takes part in the VPCs of its zone: everything that its kernel is to hold, as state says. Data only. */
export type HostNetwork = {
  readonly underlay: Underlay;
  /**
   * Those with a port here, and whoever else is to have a namespace here. Named is what may stay: a VPC or a port that is left out
   * is taken down, so a host whose store may lack something names what runs here as well.
   */
  readonly vpcs: readonly VpcNetwork[];
};

export type Underlay = {
  /** Of the way between hosts, bytes; VPCs get what VXLAN leaves of it. The same on every host of the zone: the least that one of them has. */
  readonly mtu: number;
  /**
   * This host's end of VXLAN; left out: the kernel takes the source that its route to the other host has, so a new address of this
   * host changes nothing here. Given where that is not the address which others know: several addresses on one network.
   * The other hosts' addresses are of its family, without it IPv4.
   */
  readonly local?: Ip;
  /**
   * This host's address in the encrypted tunnel; left out: it has none. Hosts that are named by such an address are reached through it, by a VXLAN
   * device of its own; `mtu` leaves room for it.
   */
  readonly tunnel?: Ip;
  /** UDP port of VXLAN, the same in the whole mesh. */
  readonly vxlanPort: number;
  /** Addresses of the zone's other hosts, in the tunnel or on the underlay, by which they are reached: VXLAN is taken from these only. */
  readonly neighbours: readonly Ip[];
};

export type VpcNetwork = {
  readonly id: VpcId;
  /** 24 bits. */
  readonly vni: number;
  readonly cidr: Cidr;
  /** The first address: every host has it, with the same MAC. */
  readonly gateway: Ip;
  readonly local: readonly LocalPort[];
  readonly remote: readonly RemotePort[];
  /** Other hosts that pass published ports on to containers here. */
  readonly passing?: readonly PassingHost[];
};

/** A container of this host in a VPC. */
export type LocalPort = { readonly container: ContainerId; readonly address: Ip };

/** `address` is its `passingAddress`, which what it passes on has; `host` as of a remote port. */
export type PassingHost = { readonly address: Ip; readonly host: Ip };

/** A container of another host; `host` is that host's address in the tunnel or on the underlay. */
export type RemotePort = { readonly address: Ip; readonly host: Ip; readonly peer: PeerId };

/** From where VPCs get an address on their host: few people's, so that hosts in a network of 100.64.0.0/10 keep theirs. */
export const TRANSIT_CIDR: Cidr = { base: { family: 4, value: 0x647ff000n }, bits: 20 };

/** Bytes that VXLAN adds to a packet over IPv4: Ethernet, IP, UDP and its own header. Over IPv6 20 more. */
const VXLAN_OVERHEAD = { 4: 50, 6: 70 } as const;

/** The family of the addresses that VXLAN runs over. */
export const underlayFamily = ({ local }: Pick<Underlay, "local">): 4 | 6 => local?.family ?? 4;

/** The largest packet of a container, bytes. */
export const vpcMtu = (underlay: Pick<Underlay, "mtu" | "local">): number => underlay.mtu - VXLAN_OVERHEAD[underlayFamily(underlay)];

export const gatewayMac = (vpc: Pick<VpcNetwork, "id" | "gateway">) => macOf(vpc.id, vpc.gateway);

import type { Cidr, ContainerId, Ip, VpcId } from "../base/index.ts";
import type { Mac } from "../vpc/index.ts";
import type { FirewallRule, Labels } from "./rule.ts";

/** Everything that the rulesets of one host follow from. Data only, in any order; the order of lists says nothing. */
export type FirewallState = {
  readonly transit: TransitRange;
  readonly underlay: FirewallUnderlay;
  /** VPCs with a namespace on this host. */
  readonly vpcs: readonly VpcFirewall[];
  readonly published: readonly PublishedPort[];
  /** Of other hosts' addresses all else is closed to containers; absent: none. */
  readonly publishedElsewhere?: readonly ElsewherePort[];
};

/** A port that another host publishes, at the address by which hosts know it. */
export type ElsewherePort = { readonly host: Ip; readonly protocol: "tcp" | "udp"; readonly hostPort: number };

export type TransitRange = {
  /** Addresses between the host and its VPCs. Nothing outside the host ever sees one. */
  readonly range: Cidr;
  /** The host's own, the same towards every VPC; its port 53 is the name server's. */
  readonly host: Ip;
};

export type FirewallUnderlay = {
  /** This host's own address between hosts. */
  readonly own: Ip;
  readonly vxlanPort: number;
  /** Hosts that VXLAN is taken from. */
  readonly neighbours: readonly Ip[];
  /** Addresses of all hosts of the mesh: closed to containers. */
  readonly hosts: readonly Ip[];
};

export type VpcFirewall = {
  readonly id: VpcId;
  readonly gateway: Ip;
  /** The host's end of the way to the VPC's namespace. */
  readonly hostDevice: string;
  /** The VPC's address on that way. */
  readonly transit: Ip;
  /** Its containers on this host. */
  readonly ports: readonly FirewallPort[];
  /** Its containers on all hosts, those of this host included. */
  readonly members: readonly VpcMember[];
  readonly rules: readonly FirewallRule[];
};

export type FirewallPort = {
  readonly container: ContainerId;
  /** On the VPC's bridge. */
  readonly device: string;
  readonly mac: Mac;
  readonly address: Ip;
  readonly labels: Labels;
};

export type VpcMember = { readonly address: Ip; readonly labels: Labels };

export type PublishedPort = {
  /** One of the host's addresses; absent: all of them. */
  readonly at?: Ip;
  readonly hostPort: number;
  readonly protocol: "tcp" | "udp";
  readonly vpc: VpcId;
  /** A container of another host: the port is passed on to it, and it sees this host's `passingAddress` instead of the client's. */
  readonly address: Ip;
  readonly port: number;
};

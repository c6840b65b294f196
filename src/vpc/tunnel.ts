import { createHash } from "node:crypto";
import { addressAt, type Cidr, containsIp, type Ip, type PeerId } from "../base/index.ts";

/** How a host wants what its containers say to other hosts. */
export type Encryption = "auto" | "required" | "off";

/** The host's one WireGuard device. Not `cc-...`: from such devices the firewall drops. */
export const TUNNEL_DEVICE = "ccwg0";

/** Addresses of hosts inside the tunnel (RFC 4193; its 40 bits were drawn once). Nobody outside ever sees one. */
export const TUNNEL_CIDR: Cidr = { base: { family: 6, value: 0xfd6b_914e_a3d7_0000n << 64n }, bits: 48 };

/** Bytes: IPv6, UDP and WireGuard's own; over IPv4 20 of them are left unused. */
const WIREGUARD_OVERHEAD = 80;
/** VXLAN over the tunnel's IPv6, beyond that over IPv4. */
const IPV6_EXTRA = 20;
/** With less a device has no IPv6. */
const IPV6_MTU_MIN = 1_280;
const HOST_BITS_BYTES = 10;

/**
 * A host's address in the tunnel. It follows from the peer's id, and WireGuard takes packets that have it from the holder of that
 * host's key only: no host can pass for another, whatever its records say.
 */
export function tunnelAddress(peer: PeerId): Ip {
  const hash = createHash("sha256").update(`cc-tunnel-1\n${peer}`).digest();
  return addressAt(TUNNEL_CIDR, BigInt(`0x${hash.subarray(0, HOST_BITS_BYTES).toString("hex")}`));
}

export const isTunnelAddress = (ip: Ip): boolean => containsIp(TUNNEL_CIDR, ip);

/** Of the device, bytes. */
export const tunnelMtu = (underlayMtu: number): number => underlayMtu - WIREGUARD_OVERHEAD;

/** What a host with a tunnel tells the others, bytes: VXLAN over IPv4 gets as much of it as over the tunnel, so all of a zone may send packets of one size. */
export const mtuBesideTunnel = (underlayMtu: number): number => underlayMtu - WIREGUARD_OVERHEAD - IPV6_EXTRA;

export const isWideEnough = (underlayMtu: number): boolean => tunnelMtu(underlayMtu) >= IPV6_MTU_MIN;

/** A host's public end of the tunnel, as its facts have it. */
export type TunnelEnd = { readonly publicKey: string; readonly port: number };

/** 32 bytes in base64, as WireGuard writes keys. */
export function isTunnelKey(text: string): boolean {
  return /^[A-Za-z0-9+/]{43}=$/.test(text) && Buffer.from(text, "base64").toString("base64") === text;
}

/** What two hosts that may exchange VPCs' packets know of each other. */
export type TunnelSide = { readonly end: TunnelEnd | undefined; readonly isRequired: boolean };

/** How two hosts exchange VPCs' packets. */
export type TunnelWay = "tunnel" | "clear" | "none";

/**
 * How two hosts exchange VPCs' packets; both come to the same answer. Each pair by itself: a host without WireGuard puts nobody else
 * in the clear. Where one of them requires encryption and cannot have it, nothing goes between them, in neither direction.
 */
export function wayBetween(one: TunnelSide, other: TunnelSide): TunnelWay {
  if (one.end !== undefined && other.end !== undefined) return "tunnel";
  return one.isRequired || other.isRequired ? "none" : "clear";
}

/** Whether what a host's containers say to other hosts is encrypted, in one word: of its ways to all others. */
export function encryptionOf(ways: ReadonlySet<TunnelWay>): "" | "yes" | "partly" | "no" | "cut off" {
  if (ways.has("clear")) return ways.has("tunnel") ? "partly" : "no";
  if (ways.has("tunnel")) return "yes";
  return ways.has("none") ? "cut off" : "";
}

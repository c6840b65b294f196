import { isIPv4, isIPv6 } from "node:net";
import { ok, type Result, refuse } from "./result.ts";

/** An address of either family. The value is the address as an unsigned number of 32 or 128 bits. */
export type Ip = { readonly family: 4 | 6; readonly value: bigint };

/** Addresses from `base`, whose host bits are zero: `bits` of them are fixed. */
export type Cidr = { readonly base: Ip; readonly bits: number };

const V4_BITS = 32;
const V6_BITS = 128;
const V6_GROUPS = 8;

export const widthOf = ({ family }: Pick<Ip, "family">): number => (family === 4 ? V4_BITS : V6_BITS);

/** Undefined for anything but an address; zones (`fe80::1%eth0`) are none. */
export function parseIp(text: string): Ip | undefined {
  if (isIPv4(text)) return { family: 4, value: BigInt(text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0)) };
  if (!isIPv6(text) || text.includes("%")) return undefined;
  return { family: 6, value: BigInt(`0x${expandV6(text)}`) };
}

/** 32 hexadecimal digits. */
function expandV6(text: string): string {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const v4 = dotted?.[2] === undefined ? undefined : parseIp(dotted[2]);
  const plain = v4 === undefined ? text : `${dotted?.[1]}${(v4.value >> 16n).toString(16)}:${(v4.value & 0xffffn).toString(16)}`;
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = tail === undefined ? left : [...left, ...new Array<string>(V6_GROUPS - left.length - right.length).fill("0"), ...right];
  return groups.map((group) => group.padStart(4, "0")).join("");
}

/** The one text of an address: for IPv6 as RFC 5952 has it. */
export function formatIp({ family, value }: Ip): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join(".");
  const groups = Array.from({ length: V6_GROUPS }, (_, at) => Number((value >> BigInt(16 * (V6_GROUPS - 1 - at))) & 0xffffn));
  const zeros = longestZeros(groups);
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  return zeros === undefined ? hex(groups) : `${hex(groups.slice(0, zeros.start))}::${hex(groups.slice(zeros.end))}`;
}

/** The first of the longest runs of two and more zero groups. */
function longestZeros(groups: readonly number[]): { readonly start: number; readonly end: number } | undefined {
  let best: { readonly start: number; readonly end: number } | undefined;
  for (let start = 0; start < groups.length; start += 1) {
    let end = start;
    while (groups[end] === 0) end += 1;
    if (end - start > Math.max(1, best === undefined ? 0 : best.end - best.start)) best = { start, end };
  }
  return best;
}

export const isSameIp = (a: Ip, b: Ip): boolean => a.family === b.family && a.value === b.value;

/** Sorts IPv4 before IPv6, then by value. */
export function compareIps(a: Ip, b: Ip): number {
  if (a.family !== b.family) return a.family - b.family;
  return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
}

/** `ADDRESS/BITS` with all host bits zero; the refusal names the CIDR that was probably meant. */
export function parseCidr(text: string): Result<Cidr> {
  const [, address = "", digits = ""] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const ip = parseIp(address);
  const bits = Number(digits);
  if (ip === undefined || bits > widthOf(ip)) return refuse("BAD_REQUEST", `"${text}" is no CIDR: give one like 10.7.0.0/16`);
  const cidr = networkAround(ip, bits);
  if (!isSameIp(cidr.base, ip)) return refuse("BAD_REQUEST", `${text} has bits behind its first ${bits}: its network is ${formatCidr(cidr)}`);
  return ok(cidr);
}

/** The network of so many bits that an address is in. */
export function networkAround(ip: Ip, bits: number): Cidr {
  const hostBits = BigInt(widthOf(ip) - bits);
  return { base: { family: ip.family, value: (ip.value >> hostBits) << hostBits }, bits };
}

export const formatCidr = ({ base, bits }: Cidr): string => `${formatIp(base)}/${bits}`;

/** How many addresses it has. */
export const sizeOf = ({ base, bits }: Cidr): bigint => 1n << BigInt(widthOf(base) - bits);

/** The address `offset` behind its first. Throws RangeError outside. */
export function addressAt(cidr: Cidr, offset: bigint): Ip {
  if (offset < 0n || offset >= sizeOf(cidr)) throw new RangeError(`${formatCidr(cidr)} has no address ${offset}`);
  return { family: cidr.base.family, value: cidr.base.value + offset };
}

export function containsIp(cidr: Cidr, ip: Ip): boolean {
  return cidr.base.family === ip.family && ip.value >= cidr.base.value && ip.value < cidr.base.value + sizeOf(cidr);
}

/** Whether `inner` lies in `outer` as a whole. */
export function containsCidr(outer: Cidr, inner: Cidr): boolean {
  return outer.bits <= inner.bits && containsIp(outer, inner.base);
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return containsIp(a, b.base) || containsIp(b, a.base);
}

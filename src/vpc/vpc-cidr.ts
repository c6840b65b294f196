import { type Cidr, formatCidr, ok, overlaps, parseCidr, type Result, refuse } from "../base/index.ts";

/** Sizes of VPCs as prefix lengths: below /29 nothing is left beside the gateway, above /8 there is no private network. */
const BITS = { min: 8, max: 29 } as const;

/** Networks that are somebody else's everywhere (RFC 6890), with what they are. */
const SPECIAL: readonly (readonly [string, string])[] = [
  ["0.0.0.0/8", "this network"],
  ["127.0.0.0/8", "loopback"],
  ["169.254.0.0/16", "link-local"],
  ["224.0.0.0/4", "multicast"],
  ["240.0.0.0/4", "reserved"],
];

/** A network that a VPC must not overlap, with what it is. */
export type InUse = { readonly cidr: Cidr; readonly what: string };

/** The addresses of a VPC as a user asks for them, or why it cannot have these. `inUse`: the hosts' own networks and the transit range. */
export function vpcCidr(text: string, inUse: readonly InUse[]): Result<Cidr> {
  const parsed = parseCidr(text);
  if (!parsed.ok) return parsed;
  const cidr = parsed.value;
  if (cidr.base.family === 6) return refuse("BAD_REQUEST", `${text}: VPCs with IPv6 addresses are not there yet; give an IPv4 CIDR like 10.7.0.0/16`);
  if (cidr.bits < BITS.min || cidr.bits > BITS.max) return refuse("BAD_SIZE", `a VPC is a /${BITS.min} to a /${BITS.max}, not a /${cidr.bits}`);
  const special = SPECIAL.map(([range, what]) => ({ cidr: cidrOf(range), what }));
  const clash = [...special, ...inUse].find((other) => overlaps(other.cidr, cidr));
  return clash === undefined ? ok(cidr) : refuse("BAD_REQUEST", `${text} overlaps ${formatCidr(clash.cidr)} (${clash.what}); choose another CIDR`);
}

function cidrOf(text: string): Cidr {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new TypeError(parsed.message);
  return parsed.value;
}

/** What a zone's default VPC may have, in the order in which it is tried: seldom used elsewhere. */
const DEFAULT_CIDRS = ["10.210.0.0/16", "10.211.0.0/16", "172.30.0.0/16", "10.212.0.0/16", "192.168.210.0/24"] as const;

/** The first that overlaps nothing in use; where all do, the first: a VPC that is in nobody's way would be none. */
export function defaultVpcCidr(inUse: readonly InUse[]): Cidr {
  const found = DEFAULT_CIDRS.map((text) => vpcCidr(text, inUse)).find((cidr) => cidr.ok);
  return found?.ok === true ? found.value : cidrOf(DEFAULT_CIDRS[0]);
}

import { type Cidr, containsIp, formatIp, type Ip, isSameIp, parseCidr, parseIp } from "../base/index.ts";
import { expiresMs, type HeldMapping, keyOf, type Retry, type WantedMapping } from "./plan-mappings.ts";
import type { PortProtocol } from "./published-port.ts";
import type { RouterRoute, RouterVia } from "./router-driver.ts";

/** A port of this host that is to be reached from outside the router. */
export type RouterForward = {
  readonly protocol: PortProtocol;
  /** Of the host. */
  readonly port: number;
  /** Where it is published on one address of the host only. */
  readonly hostAddress?: Ip;
  readonly externalPort: number;
  readonly description: string;
};

export type MappingStatus = Pick<RouterForward, "protocol" | "port" | "externalPort"> &
  (
    | {
        readonly state: "mapped";
        readonly via: RouterVia;
        readonly externalAddress: Ip;
        /** Differs from `externalPort` where another has that; `note` says so. */
        readonly mappedPort: number;
        /** Wall-clock time; undefined: the router knows no leases, and it stays until it is removed. */
        readonly untilMs: number | undefined;
        /** What is not as one would wish. */
        readonly note: string | undefined;
      }
    | { readonly state: "asking" }
    | { readonly state: "failed"; readonly reason: string; readonly againAtMs: number | undefined }
  );

/** A router keeps some tens of mappings, cheap ones 32; the rest of a long list would only push others' out. */
export const MAPPINGS_MAX = 128;

const NOT_PUBLIC: readonly Cidr[] = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"],
  ...["::/127", "fc00::/7", "fe80::/10", "ff00::/8"],
].map(cidrOf);

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  if (!cidr.ok) throw new RangeError(cidr.message);
  return cidr.value;
}

/** Whether the world can route to it: behind a router with another address stands one more router. */
export const isPublicAddress = (ip: Ip): boolean => !NOT_PUBLIC.some((range) => containsIp(range, ip));

/**
 * Whether a host is reached from outside its own network by one of the libp2p multiaddrs that it announces: a public address, its own or its
 * router's, or a name, which only its owner can have given it.
 */
export function reachedFromOutside(multiaddrs: readonly string[]): boolean {
  return multiaddrs.some((text) => {
    const [, kind = "", value = ""] = /^\/(ip[46]|dns[46]?|dnsaddr)\/([^/]+)/.exec(text) ?? [];
    const ip = kind.startsWith("ip") ? parseIp(value) : undefined;
    return kind.startsWith("dns") || (ip !== undefined && isPublicAddress(ip));
  });
}

export type SortedForwards = {
  readonly wanted: readonly WantedMapping[];
  /** Which cannot be asked for, and why; by their place in the list. */
  readonly impossible: ReadonlyMap<RouterForward, string>;
};

/** What of the forwards the router is to be asked for, with the address by which it knows this host. */
export function mappingsFor(forwards: readonly RouterForward[], route: RouterRoute, leaseSeconds: number): SortedForwards {
  const wanted = new Map<string, WantedMapping>();
  const impossible = new Map<RouterForward, string>();
  for (const forward of forwards) {
    const { protocol, port, hostAddress, externalPort, description } = forward;
    const mapping: WantedMapping = { protocol, internalAddress: route.local, internalPort: port, externalPort, leaseSeconds, description };
    const key = keyOf(mapping);
    const before = wanted.get(key);
    if (hostAddress !== undefined && !isSameIp(hostAddress, route.local)) {
      impossible.set(forward, `it is published on ${formatIp(hostAddress)} only, and the router knows this host as ${formatIp(route.local)}`);
    } else if (before !== undefined && before.externalPort !== externalPort) {
      impossible.set(forward, `the port has one external port already, ${before.externalPort}`);
    } else if (before === undefined && wanted.size >= MAPPINGS_MAX) {
      impossible.set(forward, `a host asks its router for ${MAPPINGS_MAX} ports and no more`);
    } else if (before === undefined) wanted.set(key, mapping);
  }
  return { wanted: [...wanted.values()], impossible };
}

export type StatusParts = {
  readonly route: RouterRoute | undefined;
  readonly sorted: SortedForwards;
  readonly held: readonly HeldMapping[];
  readonly retries: ReadonlyMap<string, Retry>;
  /** Of a protocol that was found and has gone silent: since when nothing renews what is held by it. */
  readonly silent: ReadonlyMap<RouterVia, string>;
  /** Why there is nobody to ask; undefined: there is, or it is not known yet. */
  readonly nobody: string | undefined;
  readonly nowMs: number;
  /** What makes wall-clock time of `nowMs`' clock. */
  readonly wallOffsetMs: number;
};

export function statusOfForward(forward: RouterForward, parts: StatusParts): MappingStatus {
  const { protocol, port, externalPort } = forward;
  const base = { protocol, port, externalPort };
  const failed = (reason: string, againMs?: number): MappingStatus => {
    return { ...base, state: "failed", reason, againAtMs: againMs === undefined ? undefined : Math.round(againMs + parts.wallOffsetMs) };
  };
  const impossible = parts.sorted.impossible.get(forward);
  if (impossible !== undefined) return failed(impossible);
  if (parts.nobody !== undefined || parts.route === undefined) return parts.nobody === undefined ? { ...base, state: "asking" } : failed(parts.nobody);
  const key = keyOf({ protocol, internalAddress: parts.route.local, internalPort: port });
  const held = parts.held.find((mapping) => keyOf(mapping) === key);
  const retry = parts.retries.get(key);
  if (held?.externalAddress !== undefined && !held.lost && held.preferredPort === externalPort && expiresMs(held) > parts.nowMs) {
    const { externalAddress, externalPort: mappedPort, via } = held;
    const untilMs = held.leaseSeconds === 0 ? undefined : Math.round(expiresMs(held) + parts.wallOffsetMs);
    return { ...base, state: "mapped", via, externalAddress, mappedPort, untilMs, note: noteOn(held, retry, parts.silent.get(via)) };
  }
  return retry?.of === "map" ? failed(retry.reason, retry.againMs) : { ...base, state: "asking" };
}

function noteOn(
  { externalAddress, externalPort, preferredPort, because }: HeldMapping,
  retry: Retry | undefined,
  silent: string | undefined,
): string | undefined {
  const notes: string[] = [];
  if (externalPort !== preferredPort) notes.push(`instead of ${preferredPort}: ${because ?? "the router gave another port"}`);
  if (externalAddress !== undefined && !isPublicAddress(externalAddress)) {
    notes.push(`the router's own address ${formatIp(externalAddress)} is not public: another router stands before it, and the world does not reach this port`);
  }
  if (retry?.of === "map") notes.push(`it could not be renewed: ${retry.reason}`);
  else if (silent !== undefined) notes.push(silent);
  return notes.length === 0 ? undefined : notes.join("; ");
}

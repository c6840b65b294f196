import { formatIp, type Ip, isSameIp } from "../base/index.ts";
import type { PortProtocol } from "./published-port.ts";
import type { RouterVia } from "./router-driver.ts";

/** A mapping as it is to be. At most one for each protocol, internal address and internal port. */
export type WantedMapping = {
  readonly protocol: PortProtocol;
  readonly internalAddress: Ip;
  readonly internalPort: number;
  /** Preferred: where another has it, the router's offer is taken. */
  readonly externalPort: number;
  readonly leaseSeconds: number;
  readonly description: string;
};

/** A mapping as the router granted it. Times are those of a clock that never goes back. */
export type HeldMapping = {
  readonly protocol: PortProtocol;
  readonly internalAddress: Ip;
  readonly internalPort: number;
  readonly via: RouterVia;
  /** Undefined: known from the book of an earlier process only, and not asked for since. */
  readonly externalAddress: Ip | undefined;
  readonly externalPort: number;
  readonly preferredPort: number;
  readonly because: string | undefined;
  /** 0: without end. */
  readonly leaseSeconds: number;
  readonly grantedMs: number;
  /** When it was last looked for, or first granted: a renewal is no look, it makes anew what was lost. */
  readonly lookedMs: number;
  /** The router restarted, or was looked at and does not have it. */
  readonly lost: boolean;
};

/** The last `tries` tries failed: not before `againMs`. */
export type Retry = { readonly of: "map" | "remove"; readonly tries: number; readonly againMs: number; readonly reason: string };

export type MappingAction =
  | { readonly kind: "ask" | "renew"; readonly key: string; readonly wanted: WantedMapping; readonly held: HeldMapping | undefined }
  | { readonly kind: "remove" | "look" | "forget"; readonly key: string; readonly held: HeldMapping };

export type MappingPlan = {
  /** In the order in which they are to be done. */
  readonly actions: readonly MappingAction[];
  /** When the next one is due if nothing changes; Infinity: never. */
  readonly nextMs: number;
};

export type MappingSituation = {
  readonly wanted: readonly WantedMapping[];
  readonly held: readonly HeldMapping[];
  /** By key of the mapping. */
  readonly retries: ReadonlyMap<string, Retry>;
  readonly lookEveryMs: number;
  readonly nowMs: number;
};

/** Leases below this are renewed every second only: a router that grants nothing is not to be asked without pause. */
const RENEW_AFTER_MS_MIN = 1_000;
const BACKOFF_FIRST_MS = 10_000;
const BACKOFF_MS_MAX = 600_000;
/** A router may ask for a pause of any length; it may be another router by then, or another setting. */
const ASKED_PAUSE_MS_MAX = 1_800_000;
/** A mapping without a lease that the router does not remove so many times is left to its owner. */
const REMOVE_TRIES_MAX = 8;

type Keyed = Pick<WantedMapping, "protocol" | "internalAddress" | "internalPort">;

export const keyOf = ({ protocol, internalAddress, internalPort }: Keyed): string => `${protocol} ${formatIp(internalAddress)}:${internalPort}`;

/** When a held mapping is to be renewed, and when it is over. */
export const renewDueMs = ({ grantedMs, leaseSeconds }: Pick<HeldMapping, "grantedMs" | "leaseSeconds">): number =>
  leaseSeconds === 0 ? Number.POSITIVE_INFINITY : grantedMs + Math.max(RENEW_AFTER_MS_MIN, (leaseSeconds * 1_000) / 2);

export const expiresMs = ({ grantedMs, leaseSeconds }: Pick<HeldMapping, "grantedMs" | "leaseSeconds">): number =>
  leaseSeconds === 0 ? Number.POSITIVE_INFINITY : grantedMs + leaseSeconds * 1_000;

/**
 * When to try again what has failed `tries` times in a row. A mapping that still runs is renewed in time: after half of what is
 * left, as RFC 6887 has it.
 */
export function retryAtMs(tries: number, nowMs: number, more: { readonly askedPauseSeconds?: number | undefined; readonly expiresMs?: number } = {}): number {
  const backoffMs = Math.min(BACKOFF_MS_MAX, BACKOFF_FIRST_MS * 2 ** Math.min(tries - 1, 16));
  const leftMs = (more.expiresMs ?? Number.NEGATIVE_INFINITY) - nowMs;
  const waitMs = leftMs > 0 ? Math.min(backoffMs, Math.max(RENEW_AFTER_MS_MIN, leftMs / 2)) : backoffMs;
  return nowMs + Math.max(waitMs, Math.min(ASKED_PAUSE_MS_MAX, (more.askedPauseSeconds ?? 0) * 1_000));
}

/**
 * What is to be done so that the router has what is wanted: from the two alone, whatever happened before. Removals come first,
 * since an external port that one gives back may be what another waits for; then what was lost or is new, renewals, and looks.
 */
export function planMappings(situation: MappingSituation): MappingPlan {
  const wanted = new Map<string, WantedMapping>();
  for (const mapping of situation.wanted) if (!wanted.has(keyOf(mapping))) wanted.set(keyOf(mapping), mapping);
  const held = new Map(situation.held.map((mapping) => [keyOf(mapping), mapping]));
  const due: Due[] = [];
  const kept: HeldMapping[] = [];
  for (const [key, mapping] of held) {
    const want = wanted.get(key);
    if (want === undefined || want.externalPort !== mapping.preferredPort) {
      due.push(removalOf(key, mapping, situation));
      continue;
    }
    due.push(renewalOf(key, mapping, want, situation));
    kept.push(mapping);
  }
  for (const [key, want] of wanted) {
    if (!held.has(key)) due.push({ action: { kind: "ask", key, wanted: want, held: undefined }, atMs: notBefore(situation, key, "map"), rank: 2 });
  }
  due.push(...looksAt(kept, situation));
  const now = due.filter(({ atMs }) => atMs <= situation.nowMs).toSorted((a, b) => a.rank - b.rank || a.atMs - b.atMs);
  const later = due.filter(({ atMs }) => atMs > situation.nowMs).map(({ atMs }) => atMs);
  return { actions: now.map(({ action }) => action), nextMs: Math.min(Number.POSITIVE_INFINITY, ...later) };
}

type Due = { readonly action: MappingAction; readonly atMs: number; readonly rank: number };

function notBefore({ retries }: MappingSituation, key: string, of: Retry["of"]): number {
  const retry = retries.get(key);
  return retry?.of === of ? retry.againMs : Number.NEGATIVE_INFINITY;
}

const isOver = (held: HeldMapping, nowMs: number): boolean => expiresMs(held) <= nowMs;

function removalOf(key: string, held: HeldMapping, situation: MappingSituation): Due {
  const retry = situation.retries.get(key);
  const givenUp = retry?.of === "remove" && retry.tries >= REMOVE_TRIES_MAX;
  // What has run out is nobody's: the router may have given its port away.
  if (isOver(held, situation.nowMs) || givenUp) return { action: { kind: "forget", key, held }, atMs: situation.nowMs, rank: 0 };
  return { action: { kind: "remove", key, held }, atMs: notBefore(situation, key, "remove"), rank: 1 };
}

function renewalOf(key: string, held: HeldMapping, wanted: WantedMapping, situation: MappingSituation): Due {
  const earliestMs = notBefore(situation, key, "map");
  if (held.lost || isOver(held, situation.nowMs)) return { action: { kind: "ask", key, wanted, held }, atMs: earliestMs, rank: 2 };
  return { action: { kind: "renew", key, wanted, held }, atMs: Math.max(renewDueMs(held), earliestMs), rank: 3 };
}

/**
 * One look for each protocol in use, at the mapping that was not looked at for longest: a router that forgot one has restarted, and
 * forgot all. So looking costs the same however many there are.
 */
function looksAt(all: readonly HeldMapping[], { lookEveryMs, nowMs }: MappingSituation): Due[] {
  return (["pcp", "upnp"] as const).flatMap((via) => {
    const held = all.filter((mapping) => mapping.via === via && !mapping.lost && !isOver(mapping, nowMs));
    const oldest = held.toSorted((a, b) => a.lookedMs - b.lookedMs)[0];
    if (oldest === undefined) return [];
    const lastMs = Math.max(...held.map((mapping) => mapping.lookedMs));
    return [{ action: { kind: "look", key: keyOf(oldest), held: oldest }, atMs: lastMs + lookEveryMs, rank: 4 }];
  });
}

/** Whether two words for the way to a router mean the same one, by which the same host is known. */
export function isSameRoute(a: { readonly gateway: Ip; readonly local: Ip }, b: { readonly gateway: Ip; readonly local: Ip }): boolean {
  return isSameIp(a.gateway, b.gateway) && isSameIp(a.local, b.local);
}

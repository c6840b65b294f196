import type { Ip } from "../base/index.ts";
import type { PortProtocol } from "./published-port.ts";

/** The host's way to its default gateway: whom to ask, and what the router calls this host. */
export type RouterRoute = { readonly gateway: Ip; readonly local: Ip; readonly device: string };

/** Finds it; undefined: this host has no default gateway. */
export interface RouteFinder {
  find(signal: AbortSignal): Promise<RouterRoute | undefined>;
}

export type RouterVia = "pcp" | "upnp";

export type MapRequest = {
  readonly protocol: PortProtocol;
  readonly internalPort: number;
  /** Preferred where the mapping is new; the one that we have where it is renewed. */
  readonly externalPort: number;
  readonly leaseSeconds: number;
  /** Shown on the router's own pages, by those that have any. */
  readonly description: string;
  readonly renewal: boolean;
};

export type MapGrant = {
  readonly externalAddress: Ip;
  /** Perhaps another one than was asked for; then `because` says why, where it is known. */
  readonly externalPort: number;
  /** 0: the router knows no leases, the mapping stays until it is removed. */
  readonly leaseSeconds: number;
  readonly because: string | undefined;
};

/** A mapping that we have, as far as removing it and looking for it need. */
export type MappingAtRouter = { readonly protocol: PortProtocol; readonly internalPort: number; readonly externalPort: number };

/**
 * Why the router did not do it. `silent`: no answer in time, so what was agreed about the router is to be found out anew.
 * `cannot`: not by this protocol, another may do. `refused`: it understood and said no.
 */
export type RouterTrouble = {
  readonly kind: "silent" | "cannot" | "refused";
  /** A sentence's part fit for a user, without its first capital and last dot. */
  readonly reason: string;
  /** The router asked not to be asked before this has passed. */
  readonly waitSeconds?: number;
};

/** `restarted`: by this answer the router has lost what it was asked for before. */
export type RouterAnswer<T> =
  | { readonly ok: true; readonly value: T; readonly restarted: boolean }
  | { readonly ok: false; readonly trouble: RouterTrouble; readonly restarted: boolean };

/** `kept`: the router still has the mapping, as far as it tells. The address: as it is now, where the look shows it. */
export type RouterLook = { readonly kept: boolean; readonly externalAddress: Ip | undefined };

/** A router that was found to speak the protocol. Every call ends by itself within some seconds, or with the signal. */
export interface RouterSession {
  /** Makes the mapping or renews it: asked again, it is the same one. */
  map(request: MapRequest, signal: AbortSignal): Promise<RouterAnswer<MapGrant>>;
  /** One that the router does not have, or that is another host's by now, is removed already. */
  unmap(mapping: MappingAtRouter, signal: AbortSignal): Promise<RouterAnswer<undefined>>;
  /** Cheap enough to be asked every some seconds. */
  look(mapping: MappingAtRouter, signal: AbortSignal): Promise<RouterAnswer<RouterLook>>;
}

/** Asks routers for mappings by one protocol: the driver interface. */
export interface RouterDriver {
  readonly via: RouterVia;
  /** Finds out whether the gateway speaks it. */
  find(route: RouterRoute, signal: AbortSignal): Promise<RouterAnswer<RouterSession>>;
}

/** What a router may still have of ours once this process is gone. */
export type BookedMapping = MappingAtRouter & {
  readonly via: RouterVia;
  readonly gateway: Ip;
  readonly internalAddress: Ip;
  /** The external port that was wanted, for which `externalPort` may be a substitute. */
  readonly preferredPort: number;
};

/** Lasts longer than the process: without it nobody would remove mappings that have no lease. */
export interface MappingBook {
  load(): Promise<readonly BookedMapping[]>;
  /** Replaces what was booked; on the disk when it resolves. */
  save(mappings: readonly BookedMapping[]): Promise<void>;
}

export const answered = <T>(value: T, restarted = false): RouterAnswer<T> => ({ ok: true, value, restarted });

export function troubled(trouble: RouterTrouble, restarted = false): { readonly ok: false; readonly trouble: RouterTrouble; readonly restarted: boolean } {
  return { ok: false, trouble, restarted };
}

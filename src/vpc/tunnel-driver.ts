import type { TunnelWanted } from "./tunnel-plan.ts";

/** What a host wants of its tunnel; its key is the driver's. Undefined: nothing needs it. */
export type TunnelNetwork = Omit<TunnelWanted, "publicKey">;

/** The host's WireGuard device: the driver interface. Calls go one after another, and may be repeated. It stays when the peer ends, as the VPCs do. */
export interface TunnelDriver {
  /** Of the key that is this host's for as long as its data folder lives. */
  readonly publicKey: string;
  /** Looks at the kernel and makes it what is wanted. Gives whether something was changed. Throws CcError INTERNAL with the command's words. */
  converge(wanted: TunnelNetwork | undefined): Promise<boolean>;
  /** The same from what was seen or made last: for each change, where `converge` is for what others break. */
  follow(wanted: TunnelNetwork | undefined): Promise<boolean>;
}

import type { CcError, ContainerId, Ip, VpcId } from "../base/index.ts";
import type { HostNetwork, LocalPort, Underlay, VpcNetwork } from "./network.ts";
import type { OverlaySeen } from "./overlay-seen.ts";

export type OverlayOutcome = {
  /** VPCs of which something was not as it should be. */
  readonly changed: readonly VpcId[];
  /** Ports that are not here, or not as they should be: to be attached, once the VPC's rules are there. */
  readonly missing: readonly { readonly vpc: VpcId; readonly port: LocalPort }[];
  /** What could not be put right. The others are. */
  readonly failed: readonly { readonly vpc: VpcId; readonly error: CcError }[];
};

export type AttachRequest = {
  readonly underlay: Underlay;
  readonly vpc: VpcNetwork;
  readonly port: LocalPort;
  /** The container's network namespace, pinned or of a process. */
  readonly namespacePath: string;
};

/**
 * The devices, addresses, routes, FDB and neighbours of this host's VPCs: the driver interface. Calls go one after another, and may be repeated,
 * also by the next process after this one was killed in the middle. What is removed goes with its container or VPC, never with the peer.
 */
export interface OverlayDriver {
  /** Everything of ours that the kernel holds. */
  observe(): Promise<OverlaySeen>;
  /**
   * Looks at the kernel and makes it what state says, but for ports that are missing: those are named. Some VPCs at a time, so that what is
   * attached meanwhile need not wait for all; `network` is asked for again each time, and names everything that may stay.
   * A port that is attached must be in it before `attach` is called. With `looksMax` only so many VPCs are looked at, those first that were not
   * for the longest time, and the others are followed: a look at 200 takes some 100 ms of the processor.
   */
  converge(network: () => HostNetwork, signal?: AbortSignal, looksMax?: number): Promise<OverlayOutcome>;
  /** The same without looking, from what was seen or made last: for each change, where `converge` is for what others break. */
  follow(network: () => HostNetwork, signal?: AbortSignal): Promise<OverlayOutcome>;
  /** Makes the VPC's namespace with all that belongs there but ports, which are left as they are. Throws CcError INTERNAL, NO_ROOM (the transit range is full). */
  ensureVpc(underlay: Underlay, vpc: VpcNetwork): Promise<void>;
  /**
   * Gives the container its device; makes the VPC's namespace when there is none. A port that is right stays.
   * Throws CcError as `ensureVpc`, and NOT_FOUND (no such namespace), CONFLICT (it is the host's own).
   */
  attach(request: AttachRequest): Promise<void>;
  /** Takes the container's port away, with the last one of a VPC all of this host's part in it but for one that is to be kept. Absent is fine. */
  detach(container: ContainerId, keepVpc?: boolean): Promise<void>;
  /** The VPC's address on its transit from this host, by which the host tells VPCs apart. Undefined: it is not here. */
  transitOf(vpc: VpcId): Ip | undefined;
  /** All that are here. */
  transits(): ReadonlyMap<VpcId, Ip>;
  /** Where the VPC's network namespace is pinned while it is here. */
  namespaceOf(vpc: VpcId): string;
  /** Waits for what is under way and takes no more. Leaves everything as it is, and the shell to its owner. */
  close(): Promise<void>;
}

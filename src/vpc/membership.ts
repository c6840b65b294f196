import { type ContainerId, type Ip, isVpcId, type PeerId, parseIp, type VpcId } from "../base/index.ts";
import type { ContainerView, CountedClaim } from "../state/index.ts";

/** A container's place in a VPC, as one of its claims says. */
export type Membership = {
  readonly container: ContainerId;
  readonly vpc: VpcId;
  readonly address: Ip;
  readonly holder: PeerId;
  readonly claim: CountedClaim;
  /** The claim holds nothing any more: its host says that the container is gone or given away, or was removed itself. */
  readonly isOver: boolean;
};

/** Undefined for a claim from before there were VPCs, and for one that names no address. */
export function membershipOf(claim: CountedClaim): Membership | undefined {
  const { network } = claim.claim;
  const address = network === undefined ? undefined : parseIp(network.address);
  if (network === undefined || address === undefined || !isVpcId(network.vpc)) return undefined;
  const phase = claim.phase?.phase;
  const isOver = claim.past || phase === "gone" || phase === "yielded";
  return { container: claim.id, vpc: network.vpc, address, holder: claim.holder, claim, isOver };
}

/** What a living container is part of, by the claim that counts. */
export function placeOf(container: ContainerView): Membership | undefined {
  const best = container.claims.find(({ holder, epoch }) => holder === container.best?.holder && epoch === container.best.epoch);
  return best === undefined ? undefined : membershipOf(best);
}

/** Whether it has a process, or is on its way to one. An ended container uses no VPC, but keeps its address. */
export function isInUse(container: ContainerView): boolean {
  if (container.gone || container.best === undefined) return false;
  return container.phase?.phase !== "ended" && container.phase?.phase !== "failed";
}

import type { Clock, Logger, PeerId, Random } from "../base/index.ts";
import type { Signer, Verifier } from "../identity/index.ts";
import type { Liveness, Mesh } from "../mesh/index.ts";
import type { Replica, View } from "../state/index.ts";

/** What a host's part in VPCs is made of. */
export type VpcParts = {
  readonly mesh: Mesh;
  readonly replica: Replica;
  readonly view: Pick<View, "vpc" | "vpcs" | "vpcsByName" | "container" | "containers" | "members" | "member" | "authority" | "recordsOf">;
  readonly liveness: Pick<Liveness, "of" | "reachable">;
  readonly signer: Pick<Signer, "sign">;
  readonly verifier: Verifier;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
};

/** For messages: a host's name, where it has one. */
export const nameOfHost = (view: Pick<VpcParts["view"], "member">, peer: PeerId): string => view.member(peer)?.name || peer;

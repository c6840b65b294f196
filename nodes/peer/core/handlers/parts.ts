import type { OpenHandlers, SignedHandlers } from "../../../../src/api/index.ts";
import type { Clock, Ip, Logger, MeshId, PeerId, Random, Zone } from "../../../../src/base/index.ts";
import type { Admissions, HostCertificate, Verifier } from "../../../../src/identity/index.ts";
import type { Liveness, Mesh } from "../../../../src/mesh/index.ts";
import type { Placement } from "../../../../src/placement/index.ts";
import type { ReplicaService, View } from "../../../../src/state/index.ts";
import type { TunnelSide } from "../../../../src/vpc/index.ts";
import type { Admitted } from "../admitted.ts";
import type { Authenticator } from "../authenticate.ts";

/** This host as its API shows it. */
export type HostFactsNow = {
  readonly name: string;
  readonly version: string;
  readonly endpoints: readonly string[];
  readonly addresses: readonly string[];
  /** CIDRs of its interfaces. */
  readonly networks: readonly string[];
  /** Where VXLAN of the zone's other hosts reaches it; undefined: not known yet. */
  readonly underlay: { readonly address: Ip; readonly mtu: number } | undefined;
  /** Its end of the encrypted tunnel between hosts. */
  readonly tunnel: TunnelSide;
};

/** What the handlers of users' calls work with. */
export type HandlerParts = {
  readonly self: PeerId;
  readonly meshId: MeshId;
  readonly zone: Zone;
  readonly certificate: HostCertificate;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly verifier: Verifier;
  readonly mesh: Mesh;
  readonly liveness: Liveness;
  readonly replica: ReplicaService;
  readonly view: View;
  readonly placement: Placement;
  readonly authenticator: Authenticator;
  readonly admitted: Admitted;
  readonly admissions: Admissions;
  readonly facts: () => HostFactsNow;
};

export type Some<Keys extends keyof SignedHandlers> = Pick<SignedHandlers, Keys>;
export type SomeOpen<Keys extends keyof OpenHandlers> = Pick<OpenHandlers, Keys>;

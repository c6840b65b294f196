import type { ContainerId } from "../base/index.ts";

/** What a container is told of its network. */
export type JoinedNetwork = {
  /** Its own, as text. */
  readonly address: string;
  /** For resolv.conf. */
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  /** Resolves when its device, its rules and its names are there: nothing may run in it before. Rejects with CcError. */
  readonly ready: Promise<void>;
};

/** The networks that containers are part of, as their runtime needs them. Calls may be repeated. */
export interface ContainerNetworks {
  /** Begins to join a container's network namespace to its VPC. Undefined: it is part of none. Throws CcError. */
  join(id: ContainerId, namespacePath: string): Promise<JoinedNetwork | undefined>;
  /** Every container that has joined one. */
  members(): readonly ContainerId[];
  /** The namespace goes. Absent is fine. */
  leave(id: ContainerId): Promise<void>;
}

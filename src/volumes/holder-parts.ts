import type { Clock, Logger } from "../base/index.ts";
import type { Signer, Verifier } from "../identity/index.ts";
import type { Mesh } from "../mesh/index.ts";
import type { RunRequests } from "../placement/index.ts";
import type { Replica, View } from "../state/index.ts";
import type { VolumeDriver } from "./driver.ts";
import type { VolumeService } from "./volume-service.ts";

/** The files of volumes on this host, as their holder needs them. */
export type VolumeFiles = Pick<VolumeDriver, "list" | "remove" | "usage"> & Pick<VolumeService, "ensureReady">;

export type VolumeHolderParts = {
  readonly replica: Replica;
  readonly mesh: Mesh;
  readonly view: Pick<View, "volume" | "volumes" | "container">;
  readonly requests: RunRequests;
  readonly signer: Pick<Signer, "sign">;
  readonly verifier: Verifier;
  readonly files: VolumeFiles;
  readonly clock: Clock;
  readonly log: Logger;
};

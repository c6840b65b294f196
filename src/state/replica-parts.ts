import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import type { Clock, Logger, PeerId, Random, Zone } from "../base/index.ts";
import type { Signer, Verifier } from "../identity/index.ts";
import type { Liveness, Mesh } from "../mesh/index.ts";
import type { Drops } from "./intake.ts";
import type { AdmissionCheck, IdentityFile } from "./ports.ts";
import type { RecordStoreSlot } from "./record-store.ts";
import type { Replica, StoredRecord, Version } from "./replica.ts";
import type { LimitTable } from "./writer-limits.ts";

export type ReplicaParts = {
  readonly signer: Pick<Signer, "sign">;
  readonly verifier: Verifier;
  readonly admits: AdmissionCheck;
  readonly slot: RecordStoreSlot;
  readonly identityFile: IdentityFile;
  /** Records that lie beside this host's containers and volumes: asked for when it goes on without its store and without neighbours. */
  readonly beside: () => Promise<readonly RecordFrame[]>;
  readonly mesh: Pick<Mesh, "call" | "connected" | "onConnection" | "publish" | "subscribe" | "handle">;
  readonly liveness: Pick<Liveness, "reachable" | "medianOffsetMs">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
};

export type ReplicaSettings = {
  readonly self: PeerId;
  readonly zone: Zone;
  /** Root said `--accept-lost-store`: without its store and without neighbours this host goes on after 10 s. */
  readonly acceptLostStore: boolean;
  /** Addresses of other members are known; else a host that knows no other member does not wait for any. */
  readonly neighboursExpected: boolean;
  readonly limits?: LimitTable;
};

/**
 * `refilling`: answers neighbours, acts on nothing yet. `waiting-lost`: its store is lost and no neighbour is reached.
 * `failed`: the disk refused a write; nothing is acknowledged any more, and the peer has to be restarted.
 */
export type ReplicaStanding = "stopped" | "refilling" | "waiting-lost" | "ready" | "failed";

export type ReplicaCounts = { readonly records: number; readonly waiting: number; readonly ahead: number; readonly drops: Drops };

/** The replica with what its host's composition and its observers need of it. */
export interface ReplicaService extends Replica {
  /** Loads the store and answers neighbours from then on; goes on to `ready` by itself. Throws what opening the store throws. */
  start(): Promise<void>;
  /** Resolves when everything staged is fsynced and the store is closed. */
  stop(): Promise<void>;
  standing(): ReplicaStanding;
  /** Throws CcError STARTING, STORE_LOST, INTERNAL while this host may not act on what it knows, nor on not knowing it. */
  mustBeReady(): void;
  /** 0 until it is ready. */
  startNumber(): number;
  /** The stamp that counts for an admin/ or user/ record: the lowest one known of its request. */
  stampOf(record: StoredRecord): Version;
  /** Highest start number that is stored here for a host, to tell it. */
  highestStartOf(peer: PeerId): number;
  /** What a neighbour told with its observation. */
  heard(peer: PeerId, told: { readonly digest: Uint8Array; readonly highestStartOfYours: number }): void;
  counts(): ReplicaCounts;
}

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AwardRequest } from "../api/gen/cc/v1/mesh_pb.ts";
import type { ClaimedNetworkSchema, RecordFrame, SignedRequest } from "../api/gen/cc/v1/records_pb.ts";
import type { Clock, ContainerId, KeyId, Logger, PeerId, Random, Result, VolumeId } from "../base/index.ts";
import type { Signer, Verifier } from "../identity/index.ts";
import type { Liveness, Mesh } from "../mesh/index.ts";
import type { Draft, Holding, Replica } from "../state/index.ts";
import type { DeclaredCapacity } from "./capacity.ts";
import type { KnownHost, Requirements } from "./requirements.ts";

/** What placement needs to know of a user's signed Run request. */
export type RunAsked = {
  readonly key: KeyId;
  /** The client's token: the same in every attempt. */
  readonly token: string;
  readonly nonce: string;
  readonly signedAtMs: number;
  /** The peer that the user addressed: it alone stamps and awards. */
  readonly addressedTo: PeerId;
  readonly requirements: Requirements;
  /** Peers that earlier attempts with this token went to. */
  readonly askedBefore: readonly PeerId[];
  /** Fingerprint of the spec alone, the same for every attempt, peer and encoding. */
  readonly spec: string;
};

/** Reading and judging users' requests: identity's and the containers' business, composed outside. */
export interface RunRequests {
  /**
   * Everything that lets this host act on it: the user's signature, role, revocation, mesh, call, the signed time and
   * whether it was signed before this peer's start. Nonces are placement's: it acts once per nonce, id and step.
   */
  check(request: SignedRequest): Promise<Result<RunAsked>>;
  /** What a recorded request says, whatever its age. */
  read(request: SignedRequest): Result<RunAsked>;
}

/** A container of which any valid record is known here. */
export type KnownContainer = {
  readonly request: SignedRequest | undefined;
  /** The claim that counts; undefined: its holder is not known here, or it is gone. */
  readonly best: Holding | undefined;
  /** Highest epoch of any claim that is known and warranted. */
  readonly highestEpoch: number;
  readonly removed: boolean;
};

/** What this host's records say. */
export interface PlacementView {
  container(id: ContainerId): KnownContainer | undefined;
  /** Live containers of this name, whatever their number. */
  liveByName(name: string): readonly ContainerId[];
  /** Admitted hosts that were not removed, this one among them. */
  hosts(): readonly KnownHost[];
  /** Records about what a container names, who holds its volumes and what its VPC is: a bidder may not have heard of them yet. */
  recordsOf(named: Pick<Requirements, "volumes" | "vpc">): readonly RecordFrame[];
}

/** What placement asks of this host's volumes. */
export interface VolumesHere {
  /**
   * Whether this host may serve them all, by what is known here, and how many bytes of its disk they would take on top of
   * what is counted; `foreign`: how many of them another host has to hand over first.
   */
  room(volumes: readonly VolumeId[]): Result<{ readonly bytes: number; readonly foreign: number }>;
  /** Bytes promised to volumes here: those that were mounted once, and those of containers claimed or being claimed here. */
  countedBytes(): number;
  /** Counts them for a container that is being claimed. From now on none of them is deleted or handed on. */
  reserve(id: ContainerId, volumes: readonly VolumeId[]): void;
  /**
   * Makes this host the holder of all that is reserved for the container: whoever has one fresh hands it over, on the award's
   * word. Gives what has to be written with the claim.
   */
  bind(id: ContainerId, award: AwardRequest): Promise<Result<readonly Draft[]>>;
  /** Its claim stands from now on, or never will. */
  settle(id: ContainerId): void;
}

/** What a container asks of the network of its host. `vpc` undefined: the default one of this host's zone. */
export type NetworkAsked = Pick<Requirements, "vpc" | "publish" | "publishEverywhere">;

/** What placement asks of this host's part in VPCs, and of its ports. */
export interface NetworkHere {
  /** Whether such a container can be here, by what is known here; foreign: another host has to give addresses first. */
  room(asked: NetworkAsked): Result<{ readonly isForeign: boolean }>;
  /**
   * Takes an address and ports for a container that is being claimed; whoever has addresses is asked for some where this host has
   * none left. From now on nobody else gets them.
   */
  bind(id: ContainerId, asked: NetworkAsked, signal: AbortSignal | undefined): Promise<Result<MessageInitShape<typeof ClaimedNetworkSchema>>>;
  /** Its claim stands from now on, or never will. */
  settle(id: ContainerId): void;
}

/** This host, as it is now. */
export interface OwnHost {
  readonly capacity: DeclaredCapacity;
  readonly labels: Readonly<Record<string, string>>;
  readonly draining: boolean;
  /** Runnable processes per core, averaged over the last minute. */
  readonly loadPerCore: number;
  /** Whether the image is here, whole; answered from memory or within a few milliseconds. */
  hasImage(reference: string): Promise<boolean>;
}

/** What a holder does when it sees a better claim than its own. */
export interface GiveWay {
  /**
   * Stops the container if it runs here, removes what is here of it, then writes the phase `yielded` (never `ended`: two
   * equal holders would both stop), which frees its room. Called again and again until that phase stands.
   */
  giveWay(id: ContainerId, to: Holding): Promise<void>;
}

/** What placement is made of: the ports of its neighbours, and its own. */
export type PlacementParts = {
  readonly mesh: Mesh;
  readonly liveness: Liveness;
  readonly replica: Replica;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly signer: Pick<Signer, "sign">;
  readonly verifier: Verifier;
  readonly requests: RunRequests;
  readonly view: PlacementView;
  readonly host: OwnHost;
  readonly yielding: GiveWay;
  readonly volumes: VolumesHere;
  readonly network: NetworkHere;
};

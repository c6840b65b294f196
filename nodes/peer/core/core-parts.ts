import type { Caller, FrameChannel, OpenHandlers, SignedHandlers, StreamCall } from "../../../src/api/index.ts";
import type { Cidr, Clock, Logger, MeshId, PeerId, Random, Zone } from "../../../src/base/index.ts";
import type { ContainerRuntime } from "../../../src/containers/index.ts";
import type { ActJournal, HostCertificate, InviteLedger, Signer, Verifier } from "../../../src/identity/index.ts";
import type { BlobSource, SharedImages } from "../../../src/images/index.ts";
import type { Liveness, Mesh } from "../../../src/mesh/index.ts";
import type { DeclaredCapacity, UsedCapacity } from "../../../src/placement/index.ts";
import type { HostPort } from "../../../src/ports/index.ts";
import type { IdentityFile, RecordFiles, RecordStoreSlot, ReplicaService, View, VpcView } from "../../../src/state/index.ts";
import type { ContainerDialer } from "../../../src/tunnel/index.ts";
import type { VolumeFiles } from "../../../src/volumes/index.ts";
import type { PhaseBoard } from "../phase-board.ts";
import type { Admitted } from "./admitted.ts";
import type { Authenticator } from "./authenticate.ts";
import type { ForwardsHere } from "./handlers/forwards.ts";
import type { HostFactsNow } from "./handlers/parts.ts";

/** Everything that differs between a real host and a simulated one. */
export type CoreParts = {
  readonly self: PeerId;
  readonly meshId: MeshId;
  readonly zone: Zone;
  readonly signer: Signer;
  readonly certificate: HostCertificate;
  readonly verifier: Verifier;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly slot: RecordStoreSlot;
  readonly identityFile: IdentityFile;
  readonly recordFiles: RecordFiles;
  readonly ledger: InviteLedger;
  readonly acts: ActJournal;
  readonly runtime: ContainerRuntime;
  /** Images on this host, for which other hosts are looked at before a registry is. */
  readonly images: (source: BlobSource) => Promise<SharedImages>;
  readonly volumes: VolumeFiles;
  /** Ports that programs of the host listen on. */
  readonly listening: () => readonly HostPort[];
  /** What the host's router forwards. */
  readonly forwards: ForwardsHere;
  /** Connects into containers, for tunnels. */
  readonly dialer: ContainerDialer;
  /** The network, made for a host whose members are known by these two. */
  readonly mesh: (
    members: Pick<Admitted, "has" | "peers" | "addressesOf"> & { readonly recordedAddresses: (peer: PeerId) => readonly string[] },
  ) => Promise<Mesh>;
  readonly host: { readonly capacity: DeclaredCapacity; readonly labels: Readonly<Record<string, string>>; loadPerCore(): number };
  readonly facts: () => HostFactsNow;
  readonly acceptLostStore: boolean;
  readonly neighboursExpected: boolean;
};

/** One peer without its machine: the same on a real host and in the simulator. */
export type PeerCore = {
  readonly signed: SignedHandlers;
  readonly open: OpenHandlers;
  readonly stream: (call: StreamCall, caller: Caller, channel: FrameChannel, signal: AbortSignal) => Promise<void>;
  readonly authenticator: Authenticator;
  readonly admitted: Admitted;
  readonly replica: ReplicaService;
  readonly view: View;
  readonly liveness: Liveness;
  readonly mesh: Mesh;
  readonly board: PhaseBoard;
  /** What is promised to containers here. */
  used(): UsedCapacity;
  /** Blocks of a VPC that this host may give addresses out of. */
  usableBlocks(vpc: VpcView): readonly Cidr[];
  /** Answers neighbours from then on. */
  start(): Promise<void>;
  /** Resolves when this host has synced and acts on what it knows. */
  ready(signal: AbortSignal): Promise<void>;
  /** Containers run on. */
  stop(): Promise<void>;
};

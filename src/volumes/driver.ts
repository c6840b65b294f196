import type { ContainerId, VolumeId } from "../base/index.ts";

/** The ext4 file system of a volume as it lies on this host. Sizes in bytes. */
export type VolumeOnHost = {
  readonly id: VolumeId;
  /** False: a create was cut short. Nothing was ever written to it; `create` makes it anew, `remove` takes it away. */
  readonly formatted: boolean;
  /** As it was created; 0 while it is not formatted. */
  readonly sizeBytes: number;
  /** What it takes of the host's disk by now. */
  readonly allocatedBytes: number;
  /** Who has it, by container. Not empty: it is mounted, or about to be. */
  readonly users: readonly ContainerId[];
};

export type VolumeUsage = {
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  /** What its files take inside; undefined while it is not attached. */
  readonly usedBytes: number | undefined;
};

/** Ids as a container sees them, which are also those on the disk: the mount is mapped, not the files. */
export type VolumeOwner = { readonly uid: number; readonly gid: number; readonly mode: number };

export type AttachedVolume = {
  /** Absolute, on the host. Its files have their owners as containers see them: bind it with `idmap`. */
  readonly mountPoint: string;
  /** Nobody has said yet whom its root belongs to: see `takeOwner`. */
  readonly fresh: boolean;
};

/** Room of what volumes are made of (a file system, a volume group). */
export type StoreRoom = { readonly freeBytes: number; readonly totalBytes: number };

/**
 * Makes volumes on this host: the driver interface. Every call may be repeated, also by the next process after this
 * one was killed in the middle: what is already so stays so. Calls for one volume go one after another. Whether this
 * host may use a volume is not the driver's question.
 */
export interface VolumeDriver {
  /** Everything that lies here, also what nobody asked for: what is unknown is named and left. */
  list(): Promise<readonly VolumeOnHost[]>;
  /**
   * Makes the file system, on the disk when it resolves. One that is there is never formatted again. `sizeBytes` as
   * `volumeSize` gives it. Throws CcError NO_ROOM, CONFLICT (there is one of another size).
   */
  create(id: VolumeId, sizeBytes: number): Promise<void>;
  /**
   * Mounts it for a container, once per host however many have it. Puts right what a power cut left.
   * Throws CcError NOT_FOUND (not created here), VOLUME_DAMAGED (it could not be mended without loss, and was not),
   * CONTAINER_FAILED (it takes no writes since the disk below it failed, and others have it), TIMEOUT (still at work on it).
   */
  attach(id: VolumeId, user: ContainerId): Promise<AttachedVolume>;
  /** Gives the root of a fresh, attached volume to `owner`, on the disk when it resolves; of two the first counts. Not fresh: nothing happens. */
  takeOwner(id: VolumeId, owner: VolumeOwner): Promise<void>;
  /** The container, which has no process any more, gives back all volumes that it has. What nobody has is unmounted. */
  release(user: ContainerId): Promise<void>;
  /** Every container that has a volume. */
  users(): readonly ContainerId[];
  /** Deletes it with all that is in it. Absent is fine. Throws CcError IN_USE. */
  remove(id: VolumeId): Promise<void>;
  /** Undefined: it is not here. */
  usage(id: VolumeId): Promise<VolumeUsage | undefined>;
  /** Gives what is free inside back to the host. Nothing happens when it is not attached. */
  trim(id: VolumeId): Promise<void>;
  room(): Promise<StoreRoom>;
}

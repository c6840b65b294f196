import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import type { PeerId, RecordKey, Zone } from "../base/index.ts";

/** (start number, sequence) for host records, (milliseconds, counter) of the hybrid clock for others. */
export type Version = { readonly major: number; readonly minor: number };

/** A record that passed its frame's rules. `content` stays the exact bytes. */
export type StoredRecord = {
  readonly key: RecordKey;
  readonly version: Version;
  readonly final: boolean;
  readonly writer: PeerId;
  readonly content: Uint8Array;
  /** SHA-256 over the payload bytes. */
  readonly hash: Uint8Array;
  readonly frame: RecordFrame;
};

/** A record to be written by this host: it signs it and gives it its version. */
export type Draft = {
  readonly key: RecordKey;
  readonly content: Uint8Array;
  readonly final?: boolean;
};

export type WriteOptions = {
  readonly copies?: 1 | 2;
  readonly signal?: AbortSignal;
  /**
   * What takes this host's room: no other host gets it before it is fsynced here. A claim that a power cut made its host
   * forget would come back from others when the room is somebody else's.
   */
  readonly isClaim?: boolean;
  /**
   * Frames of other hosts that are stored and gossiped in the same atomic batch: a holder writes the stamped request
   * with its claim. They pass the same rules as in `take`; if one of them fails, nothing is written (throws BAD_REQUEST).
   */
  readonly beside?: readonly RecordFrame[];
};

export type Written = {
  readonly records: readonly StoredRecord[];
  /** Disks that have it fsynced: 2 where another host was reachable, else 1. */
  readonly copies: number;
};

/**
 * This host's copy of all records: one sorted index in memory, every accepted record fsynced in the store. What a
 * record means is decided on reading (views); what passes the frame's rules is kept and passed on, understood or not.
 */
export interface Replica {
  readonly self: PeerId;
  readonly zone: Zone;
  /** Of several peers' stamps of one admin/ or user/ key the one that merging would leave; which of them counts is a view's decision. */
  get(key: RecordKey): StoredRecord | undefined;
  /** Records whose key begins so, in key order; every peer's stamp of an admin/ or user/ key. What is ahead of time is left out. */
  list(prefix: string): readonly StoredRecord[];
  /**
   * Signs, versions, fsyncs, gossips, and asks one more reachable host to fsync too. All drafts in one batch, atomically.
   * Host records get (start number, sequence), others the hybrid clock's stamp.
   */
  write(drafts: readonly Draft[], options?: WriteOptions): Promise<Written>;
  /**
   * Signs and versions a draft without storing or gossiping it: a container's create becomes a record only together
   * with its first claim, at the holder, yet its stamp must be in the award before.
   */
  stamp(draft: Draft): Promise<StoredRecord>;
  /** Takes records made elsewhere; resolves when what was new is fsynced. Gives what was taken and how many were dropped. */
  take(frames: readonly RecordFrame[], from: PeerId): Promise<{ readonly taken: readonly StoredRecord[]; readonly dropped: number }>;
  /** Called after each batch of changes, own ones too. */
  onChange(listener: (changed: readonly StoredRecord[]) => void): () => void;
  /** When this host and that one last had all that the other had, by the monotonic clock; undefined: not in this life. */
  syncedAtMs(peer: PeerId): number | undefined;
  /** Open: this host lost its records once, and may lack some that only a host has which it has not heard yet. `end`: it has heard all. */
  readonly loss: { readonly isOpen: boolean; end(): Promise<void> };
  /** Over all records: equal digests mean equal contents. */
  digest(): Uint8Array;
  /** Resolves when this host has synced with its neighbours after start (10 s at most), and may act on what it knows. */
  ready(signal: AbortSignal): Promise<void>;
}

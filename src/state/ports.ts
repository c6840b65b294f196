import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import type { StoredRecord } from "./replica.ts";

/**
 * Whether its writer is to be taken for a member: the record is a certificate that makes it one, as far as it can be told
 * offline, or it has shown one. Never unsaid.
 */
export type AdmissionCheck = (record: StoredRecord) => boolean;

/**
 * What lies in files of their own beside the store, so that a host whose store is lost still knows whose mesh it is in and
 * who may say what, and that it had a store.
 */
export type Remembered = {
  readonly adminFrames: readonly RecordFrame[];
  /** Of the store that this host used last; undefined: it never had one. */
  readonly storeId: string | undefined;
  readonly startNumber: number;
};

/** Records in files of their own beside the store, by the id of what they are about. */
export interface RecordFiles {
  /** What can't be read is passed over. */
  load(): Promise<ReadonlyMap<string, readonly RecordFrame[]>>;
  /** Resolves when it is fsynced. */
  save(id: string, frames: readonly RecordFrame[]): Promise<void>;
  remove(id: string): Promise<void>;
}

export interface IdentityFile {
  /** What was saved last; undefined when there is nothing. */
  load(): Promise<Remembered | undefined>;
  /** Resolves when it is fsynced. */
  save(remembered: Remembered): Promise<void>;
}

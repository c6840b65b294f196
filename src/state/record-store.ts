/** What one write changes: all of it or nothing. Records are frames as protobuf bytes, by entry id. */
export type StoreBatch = {
  readonly put?: readonly { readonly id: string; readonly frame: Uint8Array }[];
  readonly remove?: readonly string[];
  readonly meta?: Readonly<Record<string, string>>;
};

export type StoreContents = {
  /** In the order of ids. */
  readonly records: readonly { readonly id: string; readonly frame: Uint8Array }[];
  readonly meta: Readonly<Record<string, string>>;
};

/** Where records outlive the process. One process at a time has it open. */
export interface RecordStore {
  /** Everything. Throws StoreDamagedError when something of it can't be read. */
  load(): Promise<StoreContents>;
  /** Resolves when the whole batch is fsynced. After a rejection it may be there or not, but never in part. */
  write(batch: StoreBatch): Promise<void>;
  close(): Promise<void>;
}

/** How a store is opened, and put out of the way when it is of no use. */
export interface RecordStoreSlot {
  /** Opens the store, or makes an empty one. Throws StoreDamagedError, or CcError CONFLICT when another process has it open. */
  open(): Promise<RecordStore>;
  /** Renames what is there, so that the next `open` begins with nothing; gives the new name, for the log. The store must be closed. */
  setAside(): Promise<string>;
}

/** The store is there and can't be trusted: the caller sets it aside and refills. */
export class StoreDamagedError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "StoreDamagedError";
  }
}

import { fromBinary } from "@bufbuild/protobuf";
import { type RecordFrame, RecordFrameSchema } from "../api/gen/cc/v1/records_pb.ts";
import type { Logger } from "../base/index.ts";
import type { Remembered } from "./ports.ts";
import { readFrame } from "./record.ts";
import { entryIdOf } from "./record-key.ts";
import { type RecordStore, type RecordStoreSlot, StoreDamagedError } from "./record-store.ts";
import type { StoredRecord } from "./replica.ts";

export type Opened = {
  readonly store: RecordStore;
  readonly records: readonly StoredRecord[];
  readonly meta: Readonly<Record<string, string>>;
  /** This host had a store, and this is not it. */
  readonly lost: boolean;
};

export const META_STORE_ID = "store-id";
export const META_START = "start-number";

/** Opens the store; one that can't be trusted is set aside, with a word in the log, and an empty one takes its place. */
export async function openRecords(slot: RecordStoreSlot, remembered: Remembered | undefined, log: Logger): Promise<Opened> {
  try {
    return await load(await slot.open(), remembered, log);
  } catch (error) {
    if (!(error instanceof StoreDamagedError)) throw error;
    const aside = await slot.setAside();
    log.error({ reason: error.message, setAsideAs: aside }, "the store is damaged: set aside, to be refilled from neighbours");
    return { ...(await load(await slot.open(), remembered, log)), lost: true };
  }
}

async function load(store: RecordStore, remembered: Remembered | undefined, log: Logger): Promise<Opened> {
  try {
    const { records, meta } = await store.load();
    const other = remembered?.storeId !== undefined && meta[META_STORE_ID] !== remembered.storeId;
    // The start number is in the store before it is in the file beside it.
    const older = !other && Number(meta[META_START] ?? "0") < (remembered?.startNumber ?? 0);
    const lost = other || older;
    if (other) log.error({ storeId: remembered?.storeId }, "the store that this host used is not there: to be refilled from neighbours");
    if (older) log.error({ remembered: remembered?.startNumber, found: meta[META_START] }, "the store is older than it was: to be refilled from neighbours");
    return { store, records: records.map(({ id, frame }) => readStored(id, frame)), meta, lost };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Signatures were checked when the record was taken; checking thousands again would only slow the start. */
function readStored(id: string, bytes: Uint8Array): StoredRecord {
  const read = readFrame(decode(id, bytes));
  if (!read.ok) throw new StoreDamagedError(`what is stored at ${id} is no record: ${read.reason}`);
  if (entryIdOf(read.record) !== id) throw new StoreDamagedError(`what is stored at ${id} belongs to ${entryIdOf(read.record)}`);
  return read.record;
}

function decode(id: string, bytes: Uint8Array): RecordFrame {
  try {
    return fromBinary(RecordFrameSchema, bytes);
  } catch (error) {
    throw new StoreDamagedError(`what is stored at ${id} is no frame`, { cause: error });
  }
}

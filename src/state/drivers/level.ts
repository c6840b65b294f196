import { hash } from "node:crypto";
import { mkdir, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { Level } from "level";
import { CcError } from "../../base/index.ts";
import { type RecordStore, type RecordStoreSlot, type StoreBatch, type StoreContents, StoreDamagedError } from "../record-store.ts";

// Keys in the database: `r/<entry id>` for records, `m/<name>` for meta values, `v` for the version of this layout and the seal.
const RECORDS = "r/";
const META = "m/";
const LAYOUT_KEY = "v";
const LAYOUT = "2";
/** LevelDB's own block checksums are not looked at on reading by default, and don't know which key a value belongs to. */
const CHECKSUM_BYTES = 8;

type Database = Level<string, Uint8Array>;

/**
 * What a whole store holds, as one number: of every key the checksum, all combined by XOR. It is written with each batch,
 * because LevelDB opens a log from which it dropped what it could not read without a word.
 */
class Seal {
  readonly #checksums = new Map<string, bigint>();
  #sum = 0n;

  set(key: string, sum: Buffer): void {
    this.delete(key);
    const number = sum.readBigUInt64BE();
    this.#checksums.set(key, number);
    this.#sum ^= number;
  }

  delete(key: string): void {
    this.#sum ^= this.#checksums.get(key) ?? 0n;
    this.#checksums.delete(key);
  }

  get text(): string {
    return `${this.#checksums.size} ${this.#sum.toString(16)}`;
  }
}

/** LevelDB in the folder `path`. `nowMs` only names folders that are set aside. */
export function createLevelSlot(path: string, nowMs: () => number): RecordStoreSlot {
  return {
    open: async () => {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const database: Database = new Level(path, { keyEncoding: "utf8", valueEncoding: "view" });
      try {
        await database.open();
      } catch (error) {
        throw openingError(error, path);
      }
      return new LevelStore(database);
    },
    setAside: async () => {
      const aside = `${path}.damaged-${nowMs()}`;
      await rename(path, aside);
      return aside;
    },
  };
}

function openingError(error: unknown, path: string): Error {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "LEVEL_LOCKED") return new CcError("CONFLICT", `another cc-peer has ${path} open; stop it first`, { cause: error });
  const text = textOf(cause ?? error);
  const isDamage = code === "LEVEL_CORRUPTION" || code === "LEVEL_IO_ERROR" || code === "EEXIST" || code === "ENOTDIR";
  // A whole store must not be set aside because the machine is short of something.
  if (isDamage && !MACHINE_TROUBLE.test(text)) return new StoreDamagedError(`the store can't be opened: ${text}`, { cause: error });
  if (DISK_FULL.test(text))
    return new CcError("NO_ROOM", `the disk that holds ${path} is full: free some of it and start the peer again (containers run on meanwhile)`, {
      cause: error,
    });
  return new CcError("INTERNAL", `the store can't be opened: ${text}`, { cause: error });
}

const DISK_FULL = /no space left|disk quota exceeded/i;
const MACHINE_TROUBLE = /too many open files|permission denied|no space left|read-only file system|cannot allocate memory/i;

class LevelStore implements RecordStore {
  readonly #database: Database;
  #seal: Promise<Seal> | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  async load(): Promise<StoreContents> {
    const records: { id: string; frame: Uint8Array }[] = [];
    const meta: Record<string, string> = {};
    const seal = new Seal();
    let layout: string | undefined;
    try {
      for await (const [key, sealed] of this.#database.iterator()) {
        const value = unseal(key, sealed);
        if (key === LAYOUT_KEY) layout = Buffer.from(value).toString();
        else seal.set(key, checksum(key, value));
        if (key.startsWith(RECORDS)) records.push({ id: key.slice(RECORDS.length), frame: value });
        else if (key.startsWith(META)) meta[key.slice(META.length)] = Buffer.from(value).toString();
      }
    } catch (error) {
      if (error instanceof StoreDamagedError) throw error;
      throw new StoreDamagedError(`the store can't be read: ${textOf(error)}`, { cause: error });
    }
    const empty = records.length === 0 && Object.keys(meta).length === 0;
    const [version, ...sealed] = layout?.split(" ") ?? [];
    if (version !== LAYOUT && !(layout === undefined && empty))
      throw new StoreDamagedError(`the store has layout ${version ?? "none"}, this version reads ${LAYOUT}`);
    if (layout !== undefined && sealed.join(" ") !== seal.text)
      throw new StoreDamagedError(`the store holds other records than were written: part of it is missing (sealed ${sealed.join(" ")}, found ${seal.text})`);
    this.#seal = Promise.resolve(seal);
    return { records, meta };
  }

  async write(batch: StoreBatch): Promise<void> {
    this.#seal ??= this.load().then(() => this.#seal ?? new Seal());
    const seal = await this.#seal;
    // From here to the batch nothing waits: seals reach the disk in the order in which they are counted.
    const operations: ({ type: "put"; key: string; value: Uint8Array } | { type: "del"; key: string })[] = [];
    const put = (key: string, value: Uint8Array): void => {
      const sum = checksum(key, value);
      if (key !== LAYOUT_KEY) seal.set(key, sum);
      operations.push({ type: "put", key, value: Buffer.concat([sum, value]) });
    };
    for (const id of batch.remove ?? []) {
      seal.delete(RECORDS + id);
      operations.push({ type: "del", key: RECORDS + id });
    }
    for (const { id, frame } of batch.put ?? []) put(RECORDS + id, frame);
    for (const [name, value] of Object.entries(batch.meta ?? {})) put(META + name, Buffer.from(value));
    put(LAYOUT_KEY, Buffer.from(`${LAYOUT} ${seal.text}`));
    await this.#database.batch(operations, { sync: true });
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}

function unseal(key: string, sealed: Uint8Array): Uint8Array {
  const value = sealed.subarray(CHECKSUM_BYTES);
  if (sealed.length < CHECKSUM_BYTES || !checksum(key, value).equals(sealed.subarray(0, CHECKSUM_BYTES)))
    throw new StoreDamagedError(`the value of ${key} is not what was written`);
  return value;
}

function checksum(key: string, value: Uint8Array): Buffer {
  return hash("sha256", Buffer.concat([Buffer.from(`${key}\n`), value]), "buffer").subarray(0, CHECKSUM_BYTES);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

import { type RecordStore, type RecordStoreSlot, type StoreBatch, StoreDamagedError } from "../record-store.ts";

type Image = { readonly records: ReadonlyMap<string, Uint8Array>; readonly meta: Readonly<Record<string, string>> };

/**
 * A disk for tests and the simulator: what is fsynced survives a crash, what is not is gone. `sync` is awaited before a
 * write counts as fsynced (a simulated delay, or nothing); crash at any moment in between.
 */
export class MemoryDisk implements RecordStoreSlot {
  readonly #sync: () => Promise<void>;
  #records = new Map<string, Uint8Array>();
  #image: Image = { records: this.#records, meta: {} };
  #damaged = false;
  #refuses = false;
  #open: MemoryStore | undefined;
  #setAside = 0;
  /** Somebody holds the image: the next write is made to a copy. */
  #isShared = false;

  constructor(sync: () => Promise<void> = () => Promise.resolve()) {
    this.#sync = sync;
  }

  async open(): Promise<RecordStore> {
    this.#open?.die();
    this.#open = new MemoryStore(this, this.#sync);
    return this.#open;
  }

  async setAside(): Promise<string> {
    this.lose();
    this.#setAside += 1;
    return `memory.damaged-${this.#setAside}`;
  }

  /** Power fails: writes that were not fsynced are gone, and the open store does nothing any more. */
  crash(): void {
    this.#open?.die();
    this.#open = undefined;
  }

  /** What is fsynced now: for `restore`, as a disk that is rolled back. */
  snapshot(): Image {
    this.#isShared = true;
    return this.#image;
  }

  /** What is fsynced in this entry's place, and can be read. */
  fsynced(id: string): Uint8Array | undefined {
    return this.#damaged ? undefined : this.#image.records.get(id);
  }

  restore(image: Image): void {
    this.#isShared = true;
    this.#image = image;
  }

  lose(): void {
    this.#records = new Map();
    this.#isShared = false;
    this.#image = { records: this.#records, meta: {} };
    this.#damaged = false;
  }

  /** The next `load` finds a store that it can't trust. */
  damage(): void {
    this.#damaged = true;
  }

  /** From now on the disk is full. */
  refuseWrites(): void {
    this.#refuses = true;
  }

  read(): Image {
    if (this.#damaged) throw new StoreDamagedError("the disk was damaged");
    return this.#image;
  }

  apply(batch: StoreBatch): void {
    if (this.#refuses) throw new Error("the disk is full");
    if (this.#isShared) this.#records = new Map(this.#image.records);
    this.#isShared = false;
    const records = this.#records;
    for (const id of batch.remove ?? []) records.delete(id);
    for (const { id, frame } of batch.put ?? []) records.set(id, frame);
    this.#image = { records, meta: { ...this.#image.meta, ...batch.meta } };
  }
}

class MemoryStore implements RecordStore {
  readonly #disk: MemoryDisk;
  readonly #sync: () => Promise<void>;
  #dead = false;
  #queue: Promise<void> = Promise.resolve();

  constructor(disk: MemoryDisk, sync: () => Promise<void>) {
    this.#disk = disk;
    this.#sync = sync;
  }

  async load(): ReturnType<RecordStore["load"]> {
    const { records, meta } = this.#disk.read();
    const sorted = [...records].map(([id, frame]) => ({ id, frame })).sort((a, b) => (a.id < b.id ? -1 : 1));
    return { records: sorted, meta };
  }

  write(batch: StoreBatch): Promise<void> {
    const write = async (): Promise<void> => {
      await this.#sync();
      // A dead store never answers, as a machine without power does not.
      if (this.#dead) await new Promise<never>(() => undefined);
      this.#disk.apply(batch);
    };
    const written = this.#queue.then(write);
    // A write that failed is told to its caller; the next one is tried all the same.
    this.#queue = written.catch(() => undefined);
    return written;
  }

  async close(): Promise<void> {
    if (!this.#dead) await this.#queue;
    this.#dead = true;
  }

  die(): void {
    this.#dead = true;
  }
}

import type { RecordFrame } from "../../src/api/gen/cc/v1/records_pb.ts";
import type { InviteId } from "../../src/base/index.ts";
import type { Act, ActJournal, InviteLedger, InviteUse } from "../../src/identity/index.ts";
import { MemoryDisk } from "../../src/state/drivers/memory.ts";
import type { IdentityFile, RecordFiles, RecordStore, RecordStoreSlot, Remembered, StoreBatch } from "../../src/state/index.ts";
import type { SeededRandom } from "./random.ts";
import type { HostClock } from "./timeline.ts";

/** How long a disk takes to fsync, milliseconds. */
export type DiskSpeed = { syncMsMin: number; syncMsMax: number };

type Files = { remembered: Partial<Remembered>; uses: readonly InviteUse[]; acts: readonly KeptAct[]; beside: ReadonlyMap<string, readonly RecordFrame[]> };
type KeptAct = { readonly act: Act; isFsynced: boolean };
type Mounted = {
  readonly slot: RecordStoreSlot;
  readonly identityFile: IdentityFile;
  readonly recordFiles: RecordFiles;
  readonly ledger: InviteLedger;
  readonly acts: ActJournal;
};
export type DiskSnapshot = { readonly records: ReturnType<MemoryDisk["snapshot"]>; readonly files: Files };

/**
 * What outlives a host's processes, and of that what outlives its power: the record store, the identity files and the
 * invites' uses. What is fsynced survives; what is written and not fsynced survives the peer's death, if the operating
 * system lives on, but no power cut.
 */
export class HostDisk {
  readonly speed: DiskSpeed = { syncMsMin: 0, syncMsMax: 4 };
  readonly #random: SeededRandom;
  readonly #store: MemoryDisk;
  #clock: HostClock | undefined;
  #files: Files = { remembered: {}, uses: [], acts: [], beside: new Map() };
  /** Written to the operating system and not fsynced yet, in order. */
  #unsynced: StoreBatch[] = [];
  /** Nonces of acts that were written down here and are not any more. */
  readonly actsLost = new Set<string>();
  /** So often the store was lost or went back in time: what its host forgot is nobody's fault. */
  losses = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
    this.#store = new MemoryDisk(() => this.#sync());
  }

  /** The disk as one life of the host has it open. */
  mount(clock: HostClock): Mounted {
    this.#clock = clock;
    return {
      slot: this.#slot(),
      identityFile: this.#identityFile(clock),
      recordFiles: this.#recordFiles(clock),
      ledger: this.#ledger(clock),
      acts: this.#journal(clock),
    };
  }

  /** What the peer's set-up wrote before it first ran. */
  prepare(remembered: Partial<Remembered>): void {
    this.#files = { ...this.#files, remembered };
  }

  /** The peer dies: of what was on its way to the disk some reaches it all the same. */
  peerDied(): void {
    this.#store.crash();
    const survive = this.#random.below(this.#unsynced.length + 1);
    for (const batch of this.#unsynced.slice(0, survive)) this.#store.apply(batch);
    this.#unsynced = [];
  }

  /** Power fails: what was not fsynced is gone. */
  powerFailed(): void {
    this.#store.crash();
    this.#unsynced = [];
    this.#keepActs(({ isFsynced }) => isFsynced);
  }

  snapshot(): DiskSnapshot {
    return { records: this.#store.snapshot(), files: this.#files };
  }

  /** The host is off: a backup of its whole disk is put back. */
  rollBack(to: DiskSnapshot): void {
    this.#store.restore(to.records);
    this.#keepActs(({ act }) => to.files.acts.some((kept) => kept.act.nonce === act.nonce));
    this.#files = to.files;
    this.losses += 1;
  }

  /** The host is off: its record store is gone; the files beside it are there. */
  loseStore(): void {
    this.#store.lose();
    this.losses += 1;
  }

  /** The host is off: what lies beside its containers and volumes is gone too. */
  loseRecordsBeside(): void {
    this.#files = { ...this.#files, beside: new Map() };
  }

  /** The host is off: its store can't be read any more. */
  damageStore(): void {
    this.#store.damage();
    this.losses += 1;
  }

  /** Frames that are fsynced, by entry id. */
  get fsynced(): Pick<ReadonlyMap<string, Uint8Array>, "get"> {
    return { get: (id) => this.#store.fsynced(id) };
  }

  #sync(): Promise<void> {
    const clock = this.#clock;
    if (clock === undefined) return Promise.resolve();
    return new Promise((resolve) => clock.after(this.#random.between(this.speed.syncMsMin, this.speed.syncMsMax), resolve));
  }

  #slot(): RecordStoreSlot {
    return {
      open: async () => {
        const store = await this.#store.open();
        const write = async (batch: StoreBatch): Promise<void> => {
          this.#unsynced.push(batch);
          await store.write(batch);
          this.#unsynced = this.#unsynced.filter((other) => other !== batch);
        };
        return { load: () => store.load(), write, close: () => store.close() } satisfies RecordStore;
      },
      setAside: () => this.#store.setAside(),
    };
  }

  #recordFiles(clock: HostClock): RecordFiles {
    const write = async (change: (beside: Map<string, readonly RecordFrame[]>) => void): Promise<void> => {
      if (!clock.alive) await new Promise<never>(() => undefined);
      const beside = new Map(this.#files.beside);
      change(beside);
      this.#files = { ...this.#files, beside };
    };
    return {
      load: async () => this.#files.beside,
      save: (id, frames) => write((beside) => beside.set(id, frames)),
      remove: (id) => write((beside) => beside.delete(id)),
    };
  }

  #identityFile(clock: HostClock): IdentityFile {
    const put = async (part: Partial<Remembered>): Promise<void> => {
      await this.#sync();
      if (!clock.alive) await new Promise<never>(() => undefined);
      this.#files = { ...this.#files, remembered: { ...this.#files.remembered, ...part } };
    };
    return {
      load: async () => {
        const { adminFrames, storeId, startNumber } = this.#files.remembered;
        return adminFrames === undefined && storeId === undefined ? undefined : { adminFrames: adminFrames ?? [], storeId, startNumber: startNumber ?? 0 };
      },
      // Two files, one after the other, as the real ones are.
      save: async ({ adminFrames, storeId, startNumber }) => {
        await put({ adminFrames });
        await put({ storeId, startNumber });
      },
    };
  }

  #ledger(clock: HostClock): InviteLedger {
    return {
      usesOf: (inviteId: InviteId) => this.#files.uses.filter((use) => use.inviteId === inviteId),
      record: async (use) => {
        await this.#sync();
        if (!clock.alive) await new Promise<never>(() => undefined);
        this.#files = { ...this.#files, uses: [...this.#files.uses, use] };
      },
    };
  }

  #keepActs(isKept: (kept: KeptAct) => boolean): void {
    for (const kept of this.#files.acts) if (!isKept(kept)) this.actsLost.add(kept.act.nonce);
    this.#files = { ...this.#files, acts: this.#files.acts.filter(isKept) };
  }

  #journal(clock: HostClock): ActJournal {
    return {
      load: async () => this.#files.acts.map(({ act }) => act),
      keep: async (act, isDurable) => {
        const kept: KeptAct = { act, isFsynced: false };
        this.#files = { ...this.#files, acts: [...this.#files.acts, kept] };
        if (!isDurable) return;
        await this.#sync();
        if (!clock.alive) await new Promise<never>(() => undefined);
        kept.isFsynced = true;
      },
      forget: async (belowS) => {
        this.#keepActs(({ act }) => act.createdS >= belowS);
      },
    };
  }
}

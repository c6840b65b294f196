import { type Deferred, deferred } from "./deferred.ts";
import type { RecordStore, StoreBatch } from "./record-store.ts";

type Group = {
  readonly put: Map<string, Uint8Array>;
  readonly remove: Set<string>;
  readonly meta: Record<string, string>;
  bytes: number;
  readonly done: Deferred<void>;
  readonly afterwards: (() => void)[];
};

/** Above this, gossip is not taken in (repair brings it later): a disk that stalls must not fill the memory. */
export const COMMIT_BACKLOG_BYTES_MAX = 32 * 1024 * 1024;

/**
 * Group commit: while one batch is being fsynced, what comes gathers in the next. Batches reach the disk in the order in
 * which they were staged, so that the newest version of an entry is the one that stays.
 */
export class CommitLog {
  readonly #store: RecordStore;
  #writing: Group | undefined;
  #next: Group | undefined;
  #failure: unknown;

  constructor(store: RecordStore) {
    this.#store = store;
  }

  /** True once a write failed: the disk no longer holds what memory does, and nothing more is acknowledged. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  get backlogBytes(): number {
    return (this.#writing?.bytes ?? 0) + (this.#next?.bytes ?? 0);
  }

  /** Resolves when the batch is fsynced; `then` is called first, in the order of staging. */
  stage(batch: StoreBatch, then: () => void = () => undefined): Promise<void> {
    if (this.failed) return Promise.reject(this.#failure);
    this.#next ??= emptyGroup();
    const group = this.#next;
    for (const id of batch.remove ?? []) {
      group.put.delete(id);
      group.remove.add(id);
    }
    for (const { id, frame } of batch.put ?? []) {
      group.remove.delete(id);
      group.put.set(id, frame);
      group.bytes += frame.length;
    }
    Object.assign(group.meta, batch.meta);
    group.afterwards.push(then);
    if (this.#writing === undefined) this.#write();
    return group.done.promise;
  }

  /** Resolves when all that was staged so far is fsynced. */
  async settled(): Promise<void> {
    if (this.failed) throw this.#failure;
    await (this.#next ?? this.#writing)?.done.promise;
  }

  #write(): void {
    const group = this.#next;
    if (group === undefined) return;
    this.#writing = group;
    this.#next = undefined;
    const batch = { put: [...group.put].map(([id, frame]) => ({ id, frame })), remove: [...group.remove], meta: group.meta };
    this.#store.write(batch).then(
      () => {
        this.#writing = undefined;
        for (const then of group.afterwards) then();
        group.done.resolve();
        this.#write();
      },
      (error: unknown) => {
        this.#failure = error;
        group.done.reject(error);
        this.#next?.done.reject(error);
      },
    );
  }
}

function emptyGroup(): Group {
  return { put: new Map(), remove: new Set(), meta: {}, bytes: 0, done: deferred(), afterwards: [] };
}

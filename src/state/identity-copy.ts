import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../base/index.ts";
import { asCcError, type Logger } from "../base/index.ts";
import type { IdentityFile, Remembered } from "./ports.ts";
import type { StoredRecord } from "./replica.ts";

/**
 * What lies beside the store: the admin/ records, and the certificates of the other hosts that stamped them. Without these
 * a host that joins later could not take the records in, once their stamper is off for good and the others' stores were lost.
 */
export function framesBeside(admin: readonly StoredRecord[], host: readonly StoredRecord[], self: PeerId): RecordFrame[] {
  const stampers = new Set(admin.map(({ writer }) => writer).filter((writer) => writer !== self));
  const certificates = host.filter(({ key, writer }) => stampers.has(writer) && key.endsWith("/certificate/self"));
  return [...certificates, ...admin].map(({ frame }) => frame);
}

/** Keeps the file beside the store up to date: one save at a time, and of those that wait only the last. */
export class IdentityCopy {
  readonly #file: IdentityFile;
  readonly #log: Logger;
  readonly #current: () => Remembered;
  #saves: Promise<void> = Promise.resolve();
  #waits = false;

  constructor(file: IdentityFile, log: Logger, current: () => Remembered) {
    this.#file = file;
    this.#log = log;
    this.#current = current;
  }

  /** Resolves when what is so now is fsynced, or could not be: then the log says so, and the store still has it. */
  save(): Promise<void> {
    if (this.#waits) return this.#saves;
    this.#waits = true;
    this.#saves = this.#saves.then(async () => {
      this.#waits = false;
      try {
        await this.#file.save(this.#current());
      } catch (error) {
        this.#log.error({ error: asCcError(error).message }, "admin records could not be saved beside the store");
      }
    });
    return this.#saves;
  }

  settled(): Promise<void> {
    return this.#saves;
  }
}

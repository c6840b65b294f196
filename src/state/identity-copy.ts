import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../base/index.ts";
import { asCcError, type Logger } from "../base/index.ts";
import type { IdentityFile, Remembered } from "./ports.ts";
import type { StoredRecord } from "./replica.ts";

const CERTIFICATE = "/certificate/self";

/**
 * What lies beside the store: the admin/ records, and the other hosts' certificates. Without a stamper's a host that joins later
 * could not take its records in, once the stamper is off for good and the others' stores were lost; and a host that lost its own
 * has to know who there is before it can tell whether it has heard them all.
 */
export function framesBeside(admin: readonly StoredRecord[], host: readonly StoredRecord[], self: PeerId): RecordFrame[] {
  const certificates = host.filter(({ key, writer }) => writer !== self && key.endsWith(CERTIFICATE));
  return [...certificates, ...admin].map(({ frame }) => frame);
}

/** Whether it has to lie beside the store. */
export const liesBeside = (key: string): boolean => key.startsWith("admin/") || key.endsWith(CERTIFICATE);

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

import { asCcError, type Logger } from "../base/index.ts";
import type { StoredRecord } from "./replica.ts";

type Listener = (changed: readonly StoredRecord[]) => void;

/** Readers of records. One that fails keeps no other from being told. */
export class Listeners {
  readonly #all = new Set<Listener>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  add(listener: Listener): () => void {
    this.#all.add(listener);
    return () => this.#all.delete(listener);
  }

  tell(changed: readonly StoredRecord[]): void {
    for (const listener of this.#all) {
      try {
        listener(changed);
      } catch (error) {
        this.#log.error({ error: asCcError(error).message }, "a reader of records failed on a change");
      }
    }
  }
}

import { CcError } from "../../../base/index.ts";

/** Calls that wait; more means that the host is stuck, and callers hear so. */
const WAITING_MAX = 1_024;

/** One thing after another, in the order of the calls. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #isClosed = false;

  take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(new CcError("CANCELLED", "the networks of this host are closed"));
    if (this.#waiting >= WAITING_MAX)
      return Promise.reject(new CcError("RATE_LIMITED", "too many things wait for this host's networks; try again in a moment"));
    this.#waiting += 1;
    const mine = this.#last
      .then(() => {
        if (this.#isClosed) throw new CcError("CANCELLED", "the networks of this host are closed");
        return work();
      })
      .finally(() => {
        this.#waiting -= 1;
      });
    this.#last = mine.catch(() => undefined); // Whoever asked for it hears of it.
    return mine;
  }

  /** Waits for what is under way; what waits is refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last;
  }
}

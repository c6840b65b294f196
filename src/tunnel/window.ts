/**
 * How much of a connection's data may be under way or wait for its reader. Each direction begins with a small window; the
 * receiver doubles it whenever its reader has taken a whole one, so that bulk gets the room that a long way needs and an
 * idle connection costs nothing. What windows have above the first comes out of one pool a process.
 */
export const FIRST_WINDOW_BYTES = 64 * 1024;
export const WINDOW_BYTES_MAX = 2 * 1024 * 1024;

export type BudgetLimits = {
  /** Connections at once, each with a first window. */
  readonly connectionsMax: number;
  /** What all windows together may have above the first. */
  readonly poolBytes: number;
};

/** 1,024 connections: 64 MiB of first windows, and 64 MiB for those that carry much. */
const BUDGET_LIMITS: BudgetLimits = { connectionsMax: 1_024, poolBytes: 64 * 1024 * 1024 };

/** What the tunnels of one process may hold in memory, all together. */
export class Budget {
  readonly #limits: BudgetLimits;
  #connections = 0;
  #lentBytes = 0;

  constructor(limits: BudgetLimits = BUDGET_LIMITS) {
    this.#limits = limits;
  }

  get connections(): number {
    return this.#connections;
  }

  get lentBytes(): number {
    return this.#lentBytes;
  }

  /** Room for one more connection? Whoever gets it leaves once. */
  enter(): boolean {
    if (this.#connections >= this.#limits.connectionsMax) return false;
    this.#connections += 1;
    return true;
  }

  leave(): void {
    this.#connections -= 1;
  }

  /** Gives as much of `bytes` as there is. */
  borrow(bytes: number): number {
    const lent = Math.min(bytes, this.#limits.poolBytes - this.#lentBytes);
    this.#lentBytes += lent;
    return lent;
  }

  giveBack(bytes: number): void {
    this.#lentBytes -= bytes;
  }
}

/** The receiving side of one direction. */
export class ReceiveWindow {
  readonly #budget: Pick<Budget, "borrow" | "giveBack">;
  #windowBytes = FIRST_WINDOW_BYTES;
  /** Promised, and not received yet. */
  #promisedBytes = FIRST_WINDOW_BYTES;
  /** Received, and not taken by the reader yet. */
  #heldBytes = 0;
  #takenBytes = 0;

  constructor(budget: Pick<Budget, "borrow" | "giveBack">) {
    this.#budget = budget;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** False: that is more than was promised. */
  received(bytes: number): boolean {
    if (bytes > this.#promisedBytes) return false;
    this.#promisedBytes -= bytes;
    this.#heldBytes += bytes;
    return true;
  }

  /** The reader took so much. Gives how much to promise now; 0 while it is not worth a frame. */
  taken(bytes: number): number {
    this.#heldBytes -= bytes;
    this.#takenBytes += bytes;
    if (this.#takenBytes >= this.#windowBytes) {
      this.#takenBytes = 0;
      this.#windowBytes += this.#budget.borrow(Math.min(this.#windowBytes, WINDOW_BYTES_MAX - this.#windowBytes));
    }
    const free = this.#windowBytes - this.#promisedBytes - this.#heldBytes;
    if (free < this.#windowBytes / 2) return 0;
    this.#promisedBytes += free;
    return free;
  }

  /** No more data comes: the pool gets back what it lent. */
  close(): void {
    this.#budget.giveBack(this.#windowBytes - FIRST_WINDOW_BYTES);
    this.#windowBytes = FIRST_WINDOW_BYTES;
  }
}

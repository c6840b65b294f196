import { asCcError, CcError, type Logger } from "../base/index.ts";
import { type Act, NonceMemory, type NonceVerdict } from "./nonces.ts";

/** What outlives the process of a host's memory of its acts. */
export interface ActJournal {
  /** What was kept and not forgotten, in any order. */
  load(): Promise<readonly Act[]>;
  /** Resolves when the act outlives this process, with `isDurable` when it outlives a power cut too. Rejects when it can't be written. */
  keep(act: Act, isDurable: boolean): Promise<void>;
  /** Nothing signed before `belowS` (seconds) is needed any more. */
  forget(belowS: number): Promise<void>;
}

/**
 * A host's memory of its acts, over its restarts. The rule that nothing signed before the start is taken leaves two gaps: a
 * request signed ahead of the time at which it was acted on (a laptop's clock may be 5 minutes fast), and a clock that a
 * restart takes back. So every act is journaled before it is acted on, and one signed ahead is fsynced.
 */
export class KeptActs {
  readonly #memory = new NonceMemory();
  readonly #journal: ActJournal;
  readonly #log: Logger;
  #forgottenBelowS = Number.NEGATIVE_INFINITY;

  private constructor(journal: ActJournal, log: Logger) {
    this.#journal = journal;
    this.#log = log;
  }

  static async open(journal: ActJournal, log: Logger): Promise<KeptActs> {
    const kept = new KeptActs(journal, log);
    const acts = await journal.load();
    // As of the oldest, which forgets none: what this host's clock says at boot may be nonsense.
    const oldestS = acts.reduce((least, { createdS }) => Math.min(least, createdS), Number.POSITIVE_INFINITY);
    for (const act of acts) kept.#memory.take(act, oldestS * 1_000);
    return kept;
  }

  /**
   * Remembers an act; anything but "fresh" means: do not act. `nowMs`: wall clock. Throws CcError INTERNAL when an act that
   * was signed ahead can't be written.
   */
  async take(act: Act, nowMs: number): Promise<NonceVerdict> {
    const verdict = this.#memory.take(act, nowMs);
    if (verdict !== "fresh") return verdict;
    const isAhead = act.createdS * 1_000 > nowMs;
    try {
      await this.#journal.keep(act, isAhead);
    } catch (error) {
      if (isAhead) throw new CcError("INTERNAL", "this peer can't write down that it acts on the request; ask another peer", { cause: error });
      // A peer whose disk is full still answers: what was signed before its next start is refused by its time.
      this.#log.warn({ err: asCcError(error) }, "an act could not be written down");
    }
    await this.#forget();
    return verdict;
  }

  async #forget(): Promise<void> {
    const belowS = this.#memory.forgottenBelowS;
    if (belowS <= this.#forgottenBelowS) return;
    this.#forgottenBelowS = belowS;
    try {
      await this.#journal.forget(belowS);
    } catch (error) {
      this.#log.warn({ err: asCcError(error) }, "what is known of old acts could not be removed");
    }
  }
}

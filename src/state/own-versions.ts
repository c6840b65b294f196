import { CcError, type PeerId } from "../base/index.ts";
import type { Signer } from "../identity/index.ts";
import { buildRecord, isStampable } from "./record.ts";
import { isHostKey, parseRecordKey } from "./record-key.ts";
import type { Draft, StoredRecord, Version } from "./replica.ts";
import { compareVersions, HybridClock, isAhead } from "./version.ts";

/** Gives this host's records their versions: (start number, sequence) to its own facts, the hybrid clock to its stamps. */
export class OwnVersions {
  readonly #self: PeerId;
  readonly #signer: Pick<Signer, "sign">;
  readonly #clock = new HybridClock();
  #firstStart = 0;
  #start = 0;
  #sequence = 0;

  constructor(self: PeerId, signer: Pick<Signer, "sign">) {
    this.#self = self;
    this.#signer = signer;
  }

  /** 0 before `begin`. */
  get startNumber(): number {
    return this.#start;
  }

  begin(startNumber: number): void {
    this.#firstStart = startNumber;
    this.#start = startNumber;
    this.#sequence = 0;
  }

  /** Somebody holds a record of ours from a start that we have forgotten: from now on ours are above it. */
  raiseAbove(major: number): boolean {
    if (major < this.#start) return false;
    this.#start = major + 1;
    this.#sequence = 0;
    return true;
  }

  /**
   * Own records that came back from others, in the order of their coming, to be written above: what this life wrote is true,
   * what it had forgotten is adopted. Of several of one key the last lies there now; what this life wrote lay there before the first.
   */
  rewritten(own: readonly { readonly met: StoredRecord; readonly before: StoredRecord | undefined }[]): readonly Draft[] {
    return [...Map.groupBy(own, ({ met }) => met.key).values()].flatMap((ofKey): Draft[] => {
      const met = ofKey.at(-1)?.met;
      const before = ofKey[0]?.before;
      if (met === undefined || met.final) return [];
      return [{ key: met.key, content: (before !== undefined && this.#isOfThisLife(before) ? before : met).content }];
    });
  }

  observe(record: StoredRecord, nowMs: number): void {
    if (!isHostKey(record.key)) this.#clock.observe(record.version, nowMs);
  }

  /**
   * Signs a draft, above `before`, which lies in its place. Throws CcError: FORBIDDEN for another host's key, CONFLICT
   * where the final record lies already, CLOCK_SKEW where this host stamped with a clock far ahead, or would stamp too far
   * from the signed time (the hybrid clock may be ahead of this host's own), BAD_REQUEST for what every host would drop.
   */
  sign(draft: Draft, before: StoredRecord | undefined, nowMs: number): StoredRecord {
    const key = parseRecordKey(draft.key);
    const final = draft.final ?? false;
    if (key?.family === "host" && key.peer !== this.#self) throw new CcError("FORBIDDEN", `${draft.key} is written by its host alone`);
    if (before?.final === true && !final) throw new CcError("CONFLICT", `${draft.key} is final: its id is never used again`);
    const version = key?.family === "host" ? this.#nextOfHost() : this.#clock.next(nowMs);
    if (before !== undefined && before.final === final && compareVersions(before.version, version) >= 0) {
      if (isAhead(before.version, nowMs)) throw new CcError("CLOCK_SKEW", `this host stamped ${draft.key} with a clock that was far ahead; ask another peer`);
      throw new CcError("INTERNAL", `${draft.key} has a version of its own writer that this writer does not remember`);
    }
    if (key?.family !== "host" && !isStampable(draft.content, version.major)) {
      throw new CcError("CLOCK_SKEW", "the request was signed too long before or after this peer would store it; sign it anew", {
        details: { timeMs: String(version.major) },
      });
    }
    try {
      return buildRecord({ key: draft.key, version, final, content: draft.content }, this.#self, this.#signer);
    } catch (error) {
      throw new CcError("BAD_REQUEST", error instanceof Error ? error.message : "the record can't be made", { cause: error });
    }
  }

  #isOfThisLife(record: StoredRecord): boolean {
    return this.#firstStart > 0 && record.version.major >= this.#firstStart;
  }

  #nextOfHost(): Version {
    this.#sequence += 1;
    return { major: this.#start, minor: this.#sequence };
  }
}

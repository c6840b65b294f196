import { requestParameters } from "../identity/index.ts";
import type { StoredRecord, Version } from "./replica.ts";
import { type StampedContent, stampedContentOf } from "./stamped-request.ts";
import { compareVersions } from "./version.ts";

/** A request may be stamped until 5 minutes after its signed time; twice that, because the two clocks differ. */
const REMEMBERED_MS = 10 * 60_000;
const STAMPS_MAX = 65_536;
/** Requests that were stamped more than once: only a liar makes such. Kept across restarts, up to so many. */
const RESTAMPED_MAX = 4_096;

type Stamp = { lowest: Version; readonly createdMs: number; restamped: boolean };

/**
 * Of two stamps of one request the lower counts: a host that was handed a user's 'stop' must not be able to stamp it again
 * after the user's 'start'. Within the time in which a request can be stamped at all, its lowest stamp is remembered.
 * Stamps far from the signed time do not come here: their frames are dropped.
 */
export class StampBook {
  readonly #stamps = new Map<string, Stamp>();
  #restamped = 0;

  /** True when the record showed a second stamp of a request: what was derived from either has to be derived anew. */
  note(record: StoredRecord, nowMs: number): boolean {
    const content = stampedContentOf(record);
    const parameters = content === undefined ? undefined : requestParameters(content.request.signatureInput);
    if (content === undefined || parameters?.ok !== true) return false;
    const known = this.#stamps.get(nameOf(record, content));
    const createdMs = parameters.value.createdS * 1_000;
    if (known === undefined) {
      if (createdMs + REMEMBERED_MS < nowMs) return false;
      this.#forget(nowMs);
      this.#stamps.set(nameOf(record, content), { lowest: record.version, createdMs, restamped: false });
      return false;
    }
    if (compareVersions(known.lowest, record.version) === 0) return false;
    if (!known.restamped && this.#restamped < RESTAMPED_MAX) {
      known.restamped = true;
      this.#restamped += 1;
    }
    if (compareVersions(record.version, known.lowest) < 0) known.lowest = record.version;
    return true;
  }

  /** Whether the record's stamp is lower than any that is known of its request: worth its signature's check. */
  isLower(record: StoredRecord): boolean {
    const known = this.#known(record);
    return known !== undefined && compareVersions(record.version, known.lowest) < 0;
  }

  /** The stamp that counts for this record. */
  stampOf(record: StoredRecord): Version {
    const known = this.#known(record);
    return known !== undefined && compareVersions(known.lowest, record.version) < 0 ? known.lowest : record.version;
  }

  /** What has to outlive a restart, as text. */
  save(): string {
    const kept = [...this.#stamps].filter(([, stamp]) => stamp.restamped);
    return JSON.stringify(kept.map(([id, { lowest, createdMs }]) => [id, lowest.major, lowest.minor, createdMs]));
  }

  load(text: string): void {
    const rows: unknown = JSON.parse(text);
    if (!Array.isArray(rows)) return;
    for (const row of rows.slice(0, RESTAMPED_MAX)) {
      if (!Array.isArray(row)) continue;
      const [id, major, minor, createdMs]: unknown[] = row;
      if (typeof id !== "string" || typeof major !== "number" || typeof minor !== "number" || typeof createdMs !== "number") continue;
      this.#stamps.set(id, { lowest: { major, minor }, createdMs, restamped: true });
      this.#restamped += 1;
    }
  }

  #known(record: StoredRecord): Stamp | undefined {
    const content = stampedContentOf(record);
    return content === undefined ? undefined : this.#stamps.get(nameOf(record, content));
  }

  /** Oldest first; what was restamped stays, because the second stamp may be the stored one. */
  #forget(nowMs: number): void {
    for (const [id, stamp] of this.#stamps) {
      if (stamp.createdMs + REMEMBERED_MS >= nowMs && this.#stamps.size < STAMPS_MAX) return;
      if (stamp.restamped) continue;
      this.#stamps.delete(id);
    }
  }
}

/** One request may become a record of each id that it names; filed for one id under two zones it is still one. */
function nameOf(record: StoredRecord, content: StampedContent): string {
  return `${content.requestId} ${record.key.split("/").slice(-2).join("/")}`;
}

import { CcError } from "../base/index.ts";
import { frameBytes } from "./record.ts";
import type { RecordBook } from "./record-book.ts";
import { entryIdOf, isHostKey } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";
import type { ReplicaStanding } from "./replica-parts.ts";

/** What is refused with while this host may not act on its records. */
export function whyNotReady(standing: ReplicaStanding): CcError | undefined {
  switch (standing) {
    case "ready":
      return undefined;
    case "waiting-lost":
      return new CcError("STORE_LOST", "this host lost its records and reaches no other host; wait, or restart it with cc-peer run --accept-lost-store");
    case "failed":
      return new CcError("INTERNAL", "this host's disk refused a write; its peer has to be restarted");
    case "refilling":
    case "stopped":
      return new CcError("STARTING", "this host is still asking its neighbours what it missed; try again in a few seconds");
  }
}

/** What this host itself may make others keep: refused here with TOO_LARGE, else the others would drop it. */
export function mustHaveRoom(book: RecordBook, records: readonly StoredRecord[]): void {
  for (const family of ["host", "stamps"] as const) {
    const added = records.filter((record) => isHostKey(record.key) === (family === "host") && book.index.get(entryIdOf(record)) === undefined);
    const bytes = added.reduce((sum, record) => sum + frameBytes(record.frame), 0);
    const [first] = added;
    if (first !== undefined && book.wouldExceed(first.writer, family, added.length, bytes))
      throw new CcError("TOO_LARGE", "this host has as many records as others keep of one host; ask another peer");
  }
}

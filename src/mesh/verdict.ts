import type { PeerId } from "../base/index.ts";
import { type Evidence, SUSPECT_MISSES } from "./evidence.ts";
import type { Standing } from "./liveness.ts";

/**
 * Who is unreachable: more than half of a host's observers that are themselves reachable must say so. After Lifeguard
 * (Dadgar, Phillips, Currey 2018): an observer with reason to doubt itself withholds, and the accused refutes.
 */

/** A life of a host: the start number of its peer, and how often it refuted since. Later ones void words about earlier. */
export type Life = { readonly startNumber: number; readonly incarnation: number };

export function isEarlier(a: Life, b: Life): boolean {
  return a.startNumber < b.startNumber || (a.startNumber === b.startNumber && a.incarnation < b.incarnation);
}

export const laterLife = (a: Life, b: Life): Life => (isEarlier(a, b) ? b : a);

/** What another observer said last. `accused`: whom it holds unreachable, and which life it means. */
export type Report = {
  readonly withholds: boolean;
  readonly accused: ReadonlyMap<PeerId, Life>;
  /** Monotonic, of this host. */
  readonly atMs: number;
};

/** All that this host knows when it judges. `life` of a peer: the latest that this host heard of from itself. */
export type Knowledge = {
  readonly self: PeerId;
  /** This host doubts itself: its loop stalled, or it was suspended. */
  readonly withholds: boolean;
  /** Everyone admitted, self included or not. */
  readonly members: readonly PeerId[];
  readonly evidence: ReadonlyMap<PeerId, Evidence>;
  readonly reports: ReadonlyMap<PeerId, Report>;
  readonly lives: ReadonlyMap<PeerId, Life>;
  /** Reports older than this many ms say nothing. */
  readonly reportAgeMaxMs: number;
};

export type Verdict = { readonly standing: Standing; readonly seenBy: readonly PeerId[] };

/** The observers of `peer`: for now everyone else. The ring of some few comes here when meshes grow beyond 16 hosts. */
export function observersOf(peer: PeerId, self: PeerId, members: readonly PeerId[]): readonly PeerId[] {
  return [...new Set([self, ...members])].filter((member) => member !== peer);
}

/**
 * What `observer` says of `peer`: undefined when it says nothing that counts: it is not reachable itself (its last word
 * may be old), has not spoken lately, or withholds.
 */
function wordOf(observer: PeerId, peer: PeerId, known: Knowledge, nowMs: number): "unreachable" | "alive" | undefined {
  if (observer === known.self) {
    const own = known.evidence.get(peer);
    if (known.withholds || own === undefined) return undefined;
    if (own.down) return "unreachable";
    return own.answeredAtMs === undefined ? undefined : "alive";
  }
  if (known.evidence.get(observer)?.down !== false) return undefined;
  const report = known.reports.get(observer);
  if (report === undefined || report.withholds || nowMs - report.atMs > known.reportAgeMaxMs) return undefined;
  const accused = report.accused.get(peer);
  const life = known.lives.get(peer);
  if (accused === undefined || (life !== undefined && isEarlier(accused, life))) return "alive";
  return "unreachable";
}

/**
 * How `peer` stands. `before` stands where nobody whose word counts can say (this host stalled and nobody else is there).
 */
export function judge(peer: PeerId, before: Standing, known: Knowledge, nowMs: number): Verdict {
  const seenBy: PeerId[] = [];
  let against = 0;
  for (const observer of observersOf(peer, known.self, known.members)) {
    const word = wordOf(observer, peer, known, nowMs);
    if (word === "alive") seenBy.push(observer);
    else if (word === "unreachable") against += 1;
  }
  if (against === 0 && seenBy.length === 0) return { standing: before, seenBy };
  if (against > seenBy.length) {
    // Who withholds may learn from others, but does not condemn by itself: its own part of the evidence is missing.
    return { standing: known.withholds && before !== "unreachable" ? "suspect" : "unreachable", seenBy };
  }
  const own = known.evidence.get(peer);
  const doubted = against > 0 || (own !== undefined && (own.down || own.missed >= SUSPECT_MISSES));
  return { standing: doubted ? "suspect" : "alive", seenBy };
}

/** The incarnation with which the accused answers a word against it, or undefined where there is nothing to refute. */
export function refutation(own: Life, accused: Life | undefined): number | undefined {
  if (accused === undefined || isEarlier(accused, own)) return undefined;
  // A word about a later start number than one's own is no word about this life (the store was lost): the new life
  // refutes by being there, and its start number rises above all that neighbours stored.
  if (accused.startNumber !== own.startNumber) return undefined;
  return Math.min(accused.incarnation, Number.MAX_SAFE_INTEGER - 1) + 1;
}

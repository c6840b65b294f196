import type { PeerId } from "../base/index.ts";
import { bestOffsetMs, type ClockSample } from "./clocks.ts";
import { type Evidence, NO_EVIDENCE } from "./evidence.ts";
import type { Sighting, Standing } from "./liveness.ts";
import type { Knowledge, Life, Report } from "./verdict.ts";

/** What the observer keeps of one host. Times are monotonic but `heardAtMs` and `sinceMs`. */
export type Watched = {
  evidence: Evidence;
  /** Its latest life that this host heard of from itself, and the latest that anyone accused. */
  life: Life;
  accusedLife: Life;
  report: Report | undefined;
  samples: readonly ClockSample[];
  heardAtMs: number | undefined;
  standing: Standing;
  sinceMs: number;
  seenBy: readonly PeerId[];
  probing: boolean;
  probedAtMs: number;
  nextProbeAtMs: number;
};

export const NO_LIFE: Life = { startNumber: 0, incarnation: 0 };

export function newlyWatched(wallMs: number, firstProbeAtMs: number): Watched {
  return {
    evidence: NO_EVIDENCE,
    life: NO_LIFE,
    accusedLife: NO_LIFE,
    report: undefined,
    samples: [],
    heardAtMs: undefined,
    // Neither seen alive nor found missing yet.
    standing: "suspect",
    sinceMs: wallMs,
    seenBy: [],
    probing: false,
    probedAtMs: Number.NEGATIVE_INFINITY,
    nextProbeAtMs: firstProbeAtMs,
  };
}

export function sightingOf(peer: PeerId, of: Watched): Sighting {
  return {
    peer,
    standing: of.standing,
    sinceMs: of.sinceMs,
    heardAtMs: of.heardAtMs,
    seenBy: of.seenBy,
    clockOffsetMs: bestOffsetMs(of.samples),
    startNumber: of.life.startNumber,
    incarnation: of.life.incarnation,
  };
}

export function knowledgeOf(watched: ReadonlyMap<PeerId, Watched>, own: Pick<Knowledge, "self" | "withholds" | "reportAgeMaxMs">): Knowledge {
  const evidence = new Map<PeerId, Evidence>();
  const reports = new Map<PeerId, Report>();
  const lives = new Map<PeerId, Life>();
  for (const [peer, of] of watched) {
    evidence.set(peer, of.evidence);
    lives.set(peer, of.life);
    if (of.report !== undefined) reports.set(peer, of.report);
  }
  return { ...own, members: [...watched.keys()], evidence, reports, lives };
}

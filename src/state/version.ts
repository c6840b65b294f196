import type { Version } from "./replica.ts";

/** Numbers of a version end here, so that JavaScript and every other reader hold them exactly. Frozen with frame 1. */
export const VERSION_MAX = Number.MAX_SAFE_INTEGER;
/** What is further ahead than this waits: a clock that is a day ahead would win every merge for a day. */
const AHEAD_MS_MAX = 60_000;

/** Negative when `a` is older. */
export function compareVersions(a: Version, b: Version): number {
  return a.major === b.major ? a.minor - b.minor : a.major - b.major;
}

/** Whether a stamp is from a clock that is too far ahead of ours to count yet. `nowMs` is the mesh's median time. */
export function isAhead(version: Version, nowMs: number): boolean {
  return version.major > nowMs + AHEAD_MS_MAX;
}

/**
 * Hybrid logical clock (Kulkarni and others, 2014): follows the wall clock, does not go back with it, and is above every stamp that
 * this host has seen, so that who answers an edit comes after it whatever the two clocks say. Time is the median of the
 * reachable hosts' clocks. Stamps that are ahead are not followed, else one wrong clock would drag all along.
 */
export class HybridClock {
  #last: Version = { major: 0, minor: 0 };

  get last(): Version {
    return this.#last;
  }

  next(nowMs: number): Version {
    // This host's own clock was far ahead and has been put right: what it stamped then waits, what it stamps now must not.
    // Twice the limit, so that a clock that wavers never falls behind what it has followed.
    const last = isAhead(this.#last, nowMs + AHEAD_MS_MAX) ? { major: 0, minor: 0 } : this.#last;
    const major = Math.max(Math.floor(nowMs), last.major);
    this.#last = { major, minor: major === last.major ? last.minor + 1 : 0 };
    return this.#last;
  }

  observe(version: Version, nowMs: number): void {
    if (isAhead(version, nowMs) || compareVersions(version, this.#last) <= 0) return;
    this.#last = version;
  }
}

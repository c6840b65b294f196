import type { PeerId } from "../base/index.ts";

export type Standing = "alive" | "suspect" | "unreachable";

/** What this host holds of another. Times are this host's wall clock. */
export type Sighting = {
  readonly peer: PeerId;
  readonly standing: Standing;
  /** Since when it has this standing. */
  readonly sinceMs: number;
  /** When this host last heard from it directly; undefined: never since this peer started. */
  readonly heardAtMs: number | undefined;
  /** Reachable hosts (own included) that hold it alive. */
  readonly seenBy: readonly PeerId[];
  /** Its clock minus ours, from round trips; undefined where not measured. */
  readonly clockOffsetMs: number | undefined;
  readonly startNumber: number;
  readonly incarnation: number;
};

/** Who is there, as this host sees it with its neighbours' help. */
export interface Liveness {
  of(peer: PeerId): Sighting;
  /** Admitted hosts that are not held unreachable; without oneself. */
  reachable(): readonly PeerId[];
  all(): readonly Sighting[];
  /** What to add to this host's clock to get the lower median of the reachable hosts' clocks, own included. */
  medianOffsetMs(): number;
  onChange(listener: (sighting: Sighting) => void): () => void;
}

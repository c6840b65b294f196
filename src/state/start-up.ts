import type { PeerId } from "../base/index.ts";

/** How long a returning host looks for its neighbours before it acts on what it knows. */
const SYNC_MS_MAX = 10_000;
/** Connections come one after another within about a second of start: worth waiting for more than the first. */
const SETTLE_MS = 1_500;
/** So many neighbours know what the mesh knows. */
const SYNCED_ENOUGH = 3;

export type StartUp = {
  /** The store that this host used last is gone, or can't be read. */
  readonly lost: boolean;
  /** Root on the host said that it may go on without what was lost. */
  readonly acceptLostStore: boolean;
  /** Other members are known, or addresses to find them at. */
  readonly neighboursExpected: boolean;
  readonly connected: readonly PeerId[];
  readonly synced: ReadonlySet<PeerId>;
  /** Tried within the last second without success. */
  readonly failed: ReadonlySet<PeerId>;
  readonly elapsedMs: number;
};

export type StartUpStep =
  | { readonly kind: "sync"; readonly peer: PeerId }
  | { readonly kind: "wait" }
  | { readonly kind: "go"; readonly why: "synced" | "alone" | "late" | "accepted-loss" };

/** What a starting host does next, until it may act on what it knows. */
export function nextStartUpStep(at: StartUp): StartUpStep {
  const late = at.elapsedMs >= SYNC_MS_MAX;
  const nextPeer = at.connected.find((peer) => !at.synced.has(peer) && !at.failed.has(peer));
  if (at.synced.size >= SYNCED_ENOUGH || (at.synced.size > 0 && nextPeer === undefined && at.elapsedMs >= SETTLE_MS)) return { kind: "go", why: "synced" };
  if (late && at.synced.size > 0) return { kind: "go", why: "late" };
  if (late && !at.lost) return { kind: "go", why: "alone" };
  if (nextPeer !== undefined) return { kind: "sync", peer: nextPeer };
  if (at.synced.size > 0) return { kind: "wait" };
  if (!at.lost) return at.neighboursExpected ? { kind: "wait" } : { kind: "go", why: "alone" };
  return at.acceptLostStore && (late || !at.neighboursExpected) ? { kind: "go", why: "accepted-loss" } : { kind: "wait" };
}

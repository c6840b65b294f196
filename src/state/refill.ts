import { asCcError, type Clock, type Logger, type PeerId, sleep } from "../base/index.ts";
import type { Mesh } from "../mesh/index.ts";
import type { Session } from "./repair.ts";
import { nextStartUpStep, type StartUp } from "./start-up.ts";

/** How often a starting host looks again; failed neighbours are tried anew once a second. */
const LOOK_MS = 100;
const FORGET_FAILED_MS = 1_000;

export type RefillParts = {
  readonly mesh: Pick<Mesh, "connected">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly reconcile: (peer: PeerId) => Promise<Session>;
  readonly facts: () => Pick<StartUp, "lost" | "acceptLostStore" | "neighboursExpected">;
  /** Called while nothing can be reached and nothing may be done without. */
  readonly onStuck: (stuck: boolean) => void;
};

/** Syncs with neighbours until this host may act on what it knows, and tells why it may. Rejects with the signal's reason when stopped. */
export async function refill(parts: RefillParts, signal: AbortSignal): Promise<"synced" | "alone" | "late" | "accepted-loss"> {
  const startedMs = parts.clock.monotonicMs();
  const synced = new Set<PeerId>();
  const failed = new Map<PeerId, number>();
  for (;;) {
    signal.throwIfAborted();
    const nowMs = parts.clock.monotonicMs();
    for (const [peer, atMs] of failed) if (nowMs - atMs >= FORGET_FAILED_MS) failed.delete(peer);
    const state = { ...parts.facts(), connected: parts.mesh.connected(), synced, failed: new Set(failed.keys()), elapsedMs: nowMs - startedMs };
    const step = nextStartUpStep(state);
    parts.onStuck(state.lost && synced.size === 0 && step.kind === "wait");
    if (step.kind === "go") {
      parts.log.info({ why: step.why, neighbours: synced.size, afterMs: state.elapsedMs }, "this host's records are as good as they get; it acts on them");
      return step.why;
    }
    if (step.kind === "wait") await sleep(parts.clock, LOOK_MS, signal);
    else if (await isSynced(step.peer, parts, signal)) synced.add(step.peer);
    else failed.set(step.peer, parts.clock.monotonicMs());
  }
}

async function isSynced(peer: PeerId, parts: RefillParts, signal: AbortSignal): Promise<boolean> {
  try {
    let session = await parts.reconcile(peer);
    while (!session.complete && session.took > 0 && !signal.aborted) session = await parts.reconcile(peer);
    return session.complete;
  } catch (error) {
    parts.log.debug({ peer, code: asCcError(error).code }, "no refill from this neighbour");
    return false;
  }
}

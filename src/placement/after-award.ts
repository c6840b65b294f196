import type { PeerId } from "../base/index.ts";
import type { Standing } from "../mesh/index.ts";

/** After this long without word from the award's host the user is told 'unknown'. */
export const UNKNOWN_AFTER_MS = 4_000;
/** One attempt to reach the award's host, directly or through another. */
export const AWARD_CALL_MS = 1_000;
const AGAIN_AFTER_MS = 250;

export type AwardState = {
  /** When asking began: the award itself, or the retry that found it unsettled. Monotonic, as all times here. */
  readonly sinceMs: number;
  /** When the bid came in. The bidder's clock started earlier, so what has lapsed here has lapsed there. */
  readonly bidAtMs: number;
  readonly bidValidMs: number;
  readonly standing: Standing;
  /** Other peers that hold it alive and were not asked to pass the award on yet. */
  readonly through: readonly PeerId[];
  /** When the last attempt ended. */
  readonly triedAtMs: number;
  /** Whether the last attempt went directly: then another path comes next. */
  readonly triedDirectly: boolean;
};

export type AwardStep =
  /** It cannot have taken the award later than now and nobody reaches it: the next host may be awarded, an epoch above. */
  | { readonly do: "next" }
  /** The same award once more, by the same way or through a peer that reaches the host: it gives the same answer. */
  | { readonly do: "again"; readonly through?: PeerId }
  | { readonly do: "wait"; readonly untilMs: number }
  /** It may have taken it. The user retries with the same token. */
  | { readonly do: "unknown" };

/** What to do while the award's host has neither taken nor declined. Silence alone never frees the container for another host. */
export function afterSilence(state: AwardState, nowMs: number): AwardStep {
  const lapsed = nowMs >= state.bidAtMs + state.bidValidMs;
  const unreachable = state.standing === "unreachable";
  if (lapsed && unreachable) return { do: "next" };
  const endMs = state.sinceMs + UNKNOWN_AFTER_MS;
  if (nowMs >= endMs) return { do: "unknown" };
  if (!unreachable) {
    const through = state.through[0];
    if (state.triedDirectly && through !== undefined) return { do: "again", through };
    if (nowMs >= state.triedAtMs + AGAIN_AFTER_MS) return { do: "again" };
  }
  return { do: "wait", untilMs: Math.min(endMs, Math.max(nowMs + 1, state.triedAtMs + AGAIN_AFTER_MS, nowMs + (unreachable ? AGAIN_AFTER_MS : 0))) };
}

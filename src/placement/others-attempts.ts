import type { ContainerId, PeerId } from "../base/index.ts";
import type { Holding } from "../state/index.ts";
import { afterSilence, UNKNOWN_AFTER_MS } from "./after-award.ts";
import { BID_VALID_MS, unsettledIn } from "./answers.ts";
import type { Asking } from "./asking.ts";
import type { Attempts } from "./attempts.ts";
import type { Bell } from "./bell.ts";
import type { PlacementParts } from "./ports.ts";

/** `found`: the container is in the records now. `free`: nobody else is at it, so this peer may go on. */
export type OtherEnd = { readonly kind: "found" } | { readonly kind: "free" } | { readonly kind: "unknown"; readonly why: string };

type Following = PlacementParts & { readonly asking: Asking; readonly attempts: Attempts; readonly bell: Bell };

const POLL_MS = 200;

/** Another peer places the same container: its outcome is ours, unless it gives up or is gone. */
export async function waitForRival(id: ContainerId, peer: PeerId, parts: Following, isFound: () => boolean): Promise<OtherEnd> {
  const { asking, attempts, bell, clock, liveness } = parts;
  const never = new AbortController().signal;
  const endMs = clock.monotonicMs() + UNKNOWN_AFTER_MS;
  while (clock.monotonicMs() < endMs) {
    const answer = await asking.ask(peer);
    if (isFound()) return { kind: "found" };
    const isGone = answer === undefined && liveness.of(peer).standing === "unreachable";
    if (isGone || (answer !== undefined && answer.kind !== "at-work")) {
      attempts.dropRival(id, peer, clock.monotonicMs());
      asking.restart();
      const unsettled = unsettledIn(answer);
      return unsettled === undefined ? { kind: "free" } : settleForeign(id, unsettled, parts, isFound);
    }
    // The answer itself rang: without this a host that answers at once would be asked without a pause.
    bell.hush();
    await bell.wait(clock.monotonicMs() + POLL_MS, never);
  }
  return { kind: "unknown", why: `${peer} is placing it and was not done within ${UNKNOWN_AFTER_MS / 1_000} s` };
}

/**
 * Another peer's award of which only the host is known, not the bytes: the host is asked whether it has the container. It can
 * no longer take that award once a bid's time has passed since we heard of it.
 */
export async function settleForeign(id: ContainerId, holding: Holding, parts: Following, isFound: () => boolean): Promise<OtherEnd> {
  const { asking, attempts, bell, clock, liveness } = parts;
  const never = new AbortController().signal;
  const sinceMs = clock.monotonicMs();
  attempts.raiseEpoch(id, holding.epoch, sinceMs);
  for (;;) {
    const answer = await asking.ask(holding.holder);
    if (isFound()) return { kind: "found" };
    const nowMs = clock.monotonicMs();
    if (answer !== undefined && nowMs >= sinceMs + BID_VALID_MS) return { kind: "free" };
    const { standing } = liveness.of(holding.holder);
    const step = afterSilence({ sinceMs, bidAtMs: sinceMs, bidValidMs: BID_VALID_MS, standing, through: [], triedAtMs: nowMs, triedDirectly: true }, nowMs);
    if (step.do === "next") return { kind: "free" };
    if (step.do === "unknown") return { kind: "unknown", why: `${holding.holder} was awarded it and does not answer` };
    bell.hush();
    await bell.wait(step.do === "wait" ? step.untilMs : nowMs + POLL_MS, never);
  }
}

import type { ErrorCode } from "../../../src/base/index.ts";
import type { Ask } from "../user.ts";
import type { World } from "../world.ts";
import { liveHosts } from "./reach.ts";

/** What may be said to a user only while something is broken: elsewhere it is a refusal without a reason. */
const ONLY_UNDER_FAULTS: ReadonlySet<ErrorCode> = new Set([
  "OUTCOME_UNKNOWN",
  "PEER_UNREACHABLE",
  "HOST_UNREACHABLE",
  "STARTING",
  "STORE_LOST",
  "TIMEOUT",
  "CANCELLED",
  "CLOCK_SKEW",
  "MAJORITY_NEEDED",
]);
/** The client goes on for 30 s, and its last call may take 20 more. */
const ANSWER_MS_MAX = 60_000;
/** What a fault leaves behind is gone after so long. */
export const AFTERMATH_MS = 15_000;

/** The end of each request, as it comes. */
export function watchAsks(world: World): void {
  world.watchers.onAskEnd.push((ask) => {
    if (ask.outcome === "INTERNAL" && world.liars.size === 0)
      return world.violate("no-fault", `${ask.call} by ${ask.user.name} ended with INTERNAL: ${ask.message}`);
    const disturbed = world.liars.size > 0 || world.disturbedSince(ask.startedAtMs - AFTERMATH_MS);
    if (ask.outcome !== "done" && ask.outcome !== "pending" && ONLY_UNDER_FAULTS.has(ask.outcome) && !disturbed) {
      world.violate("answered", `${ask.call} by ${ask.user.name} ended with ${ask.outcome} though nothing was broken: ${ask.message}`);
    }
  });
}

/** A stop waits up to 15 s for its effect; nothing takes a peer that runs longer than the client waits. */
const CALL_MS_MAX = 19_000;

/** Calls that a running peer has been at work on for too long. */
export function checkUnderway(world: World): void {
  const { underway } = world.api;
  for (const call of underway) {
    const { host, path, life, sinceMs } = call;
    const time = world.hosts.find(({ name }) => name === host)?.time;
    const awakeMs = world.timeline.nowMs - Math.max(sinceMs, time?.stalledUntilMs ?? 0);
    if (!life.clock.alive) underway.delete(call);
    else if (awakeMs > CALL_MS_MAX) {
      underway.delete(call);
      world.violate("answered", `${host} has been at work on ${path.slice(13)} for ${world.timeline.nowMs - sinceMs} ms`);
    }
  }
}

export function checkAnswered(world: World): void {
  for (const ask of world.asks) {
    const tookMs = (ask.endedAtMs ?? world.timeline.nowMs) - ask.startedAtMs;
    if (tookMs > ANSWER_MS_MAX)
      world.violate("answered", `${ask.call} by ${ask.user.name} ${ask.outcome === "pending" ? "has had no answer for" : "was answered after"} ${tookMs} ms`);
  }
}

/** Two live containers of one name were made in a cut, or not at all. */
export function checkNames(world: World): void {
  const [reference] = liveHosts(world);
  if (reference === undefined) return;
  const { view } = reference.life.core;
  const names = new Set(view.containers().map(({ name }) => name));
  for (const name of names) {
    const live = name === "" ? [] : view.byName(name);
    const calm = live.flatMap((id) => world.asks.find((ask) => ask.id === id && ask.outcome === "done" && !wasDisturbed(world, ask)) ?? []);
    if (live.length > 1 && calm.length === live.length)
      world.violate("names", `${live.map((id) => world.history.nameOf(id)).join(" and ")} are both live as "${name}", and were made while all were connected`);
  }
}

const wasDisturbed = (world: World, ask: Ask): boolean => world.wasDisturbed(ask.startedAtMs - AFTERMATH_MS, ask.endedAtMs ?? world.timeline.nowMs);

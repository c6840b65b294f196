import type { SimulatedHost } from "../host.ts";
import type { World } from "../world.ts";

/** Since when two hosts have been up, awake and in reach of each other; infinite while they are not. */
export function connectedSinceMs(world: World, a: SimulatedHost, b: SimulatedHost): number {
  const readyAtMs = Math.max(a.life?.readyAtMs ?? Number.POSITIVE_INFINITY, b.life?.readyAtMs ?? Number.POSITIVE_INFINITY);
  const awakeAtMs = Math.max(a.time.stalledUntilMs, b.time.stalledUntilMs);
  if (readyAtMs === Number.POSITIVE_INFINITY || awakeAtMs > world.timeline.nowMs) return Number.POSITIVE_INFINITY;
  return Math.max(readyAtMs, awakeAtMs, world.network.openSinceMs(a.peer, b.peer));
}

export type LiveHost = SimulatedHost & { readonly life: NonNullable<SimulatedHost["life"]> };

/** Honest hosts whose peer runs and that have not been retired: those whose word is looked at. */
export function liveHosts(world: World): readonly LiveHost[] {
  return world.hosts.filter((host): host is LiveHost => host.life !== undefined && !host.retired && !isLiar(world, host));
}

export const isLiar = (world: World, host: SimulatedHost): boolean => host.identity !== undefined && world.liars.has(host.peer);

import type { SimulatedHost } from "../host.ts";
import type { World } from "../world.ts";

/** Since when two hosts have been up, awake and in reach of each other; infinite while they are not. */
export function connectedSinceMs(world: World, a: SimulatedHost, b: SimulatedHost): number {
  const readyAtMs = Math.max(a.life?.readyAtMs ?? Number.POSITIVE_INFINITY, b.life?.readyAtMs ?? Number.POSITIVE_INFINITY);
  const awakeAtMs = Math.max(a.time.stalledUntilMs, b.time.stalledUntilMs);
  if (readyAtMs === Number.POSITIVE_INFINITY || awakeAtMs > world.timeline.nowMs) return Number.POSITIVE_INFINITY;
  return Math.max(readyAtMs, awakeAtMs, world.network.openSinceMs(a.peer, b.peer));
}

/** Hosts whose peer runs and has not been retired. */
export function liveHosts(world: World): readonly (SimulatedHost & { readonly life: NonNullable<SimulatedHost["life"]> })[] {
  return world.hosts.filter((host): host is SimulatedHost & { life: NonNullable<SimulatedHost["life"]> } => host.life !== undefined && !host.retired);
}

import type { ContainerId, FirewallRuleId } from "../base/index.ts";
import type { Place } from "./rulesets.ts";
import type { FirewallState } from "./state.ts";

/** A place that does not hold what it should: its namespace is gone, or the kernel refused. `message` is fit for a log. */
export type PlaceFailure = { readonly place: Place; readonly message: string };

/** Packets that a place dropped for one reason, since its tables were last put there as a whole. */
export type DropCount = { readonly place: Place; readonly reason: string; readonly packets: number; readonly bytes: number };

/** What a logging rule met: how many packets that begin a connection, or try to, by other side and destination port. */
export type LoggedTraffic = {
  readonly container: ContainerId;
  readonly rule: FirewallRuleId;
  /** Where it came from for `in`, where it was to go for `out`. */
  readonly address: string;
  /** `tcp`, `icmp`, or a number. */
  readonly protocol: string;
  readonly port: number | undefined;
  /** Only ever grows, until the entry is forgotten: 10 minutes after the last packet. */
  readonly packets: number;
};

/** Holds the kernel to the firewall's state: the driver interface. Calls go one after another. */
export interface FirewallDriver {
  /**
   * Makes every place hold what state says, by as little as it takes; costs next to nothing with the very same object as before. May be repeated at
   * any time, also by the next process after this one was killed in the middle. One place's failure keeps no other from being done:
   * those that failed are told, and tried again by the next call.
   */
  apply(state: FirewallState): Promise<readonly PlaceFailure[]>;
  /** Places where somebody else changed or flushed our tables since the last call. The next `apply` puts them right. Cheap enough for every 10 s. */
  check(): Promise<readonly Place[]>;
  /** Of the host and its VPCs. Costs a program for each VPC. */
  dropped(): Promise<readonly DropCount[]>;
  /** Of all containers that have logging rules. */
  logged(): Promise<readonly LoggedTraffic[]>;
}

/** What `now` has above `before`, to be told once: in the order of `now`. */
export function newlyLogged(before: readonly LoggedTraffic[], now: readonly LoggedTraffic[]): readonly LoggedTraffic[] {
  const keyOf = ({ container, rule, address, protocol, port }: LoggedTraffic): string => [container, rule, address, protocol, port].join(" ");
  const known = new Map(before.map((entry) => [keyOf(entry), entry.packets]));
  return now.flatMap((entry) => {
    const had = known.get(keyOf(entry)) ?? 0;
    // Fewer than before: it was forgotten in between, and all that there is has been met since.
    const packets = entry.packets < had ? entry.packets : entry.packets - had;
    return packets > 0 ? [{ ...entry, packets }] : [];
  });
}

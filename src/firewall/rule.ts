import type { Cidr, FirewallRuleId, VpcId } from "../base/index.ts";
import { compareTexts } from "./table.ts";

export type Labels = Readonly<Record<string, string>>;

/** Both inclusive. */
export type PortRange = { readonly first: number; readonly last: number };

/** One rule of a user. It decides on the first packet of a connection; what belongs to an open one passes. */
export type FirewallRule = {
  readonly id: FirewallRuleId;
  readonly vpc: VpcId;
  /** The containers that carry all of these; none: every container of the VPC. */
  readonly target: Labels;
  readonly action: "allow" | "deny";
  /** As the container sees it: `in` is a connection that somebody opens to it. */
  readonly direction: "in" | "out";
  readonly protocol: "tcp" | "udp" | "icmp" | "any";
  /** Where the connection goes to: ports of the container for `in`, of the other side for `out`. None: all. Disjoint, ascending. */
  readonly ports: readonly PortRange[];
  readonly other: OtherSide;
  /** What it meets is kept for reading (`FirewallDriver.logged`). */
  readonly log: boolean;
};

export type OtherSide =
  | { readonly kind: "any" }
  | { readonly kind: "cidr"; readonly cidr: Cidr }
  /** Containers of the same VPC that carry all of these labels, wherever they run. */
  | { readonly kind: "labels"; readonly labels: Labels };

/** Whether a container with these labels is among those that carry all of `wanted`. */
export const carries = (labels: Labels, wanted: Labels): boolean =>
  Object.entries(wanted).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);

/** One text for the same labels, in whatever order they came. */
export const labelsText = (labels: Labels): string => JSON.stringify(Object.entries(labels).sort(([a], [b]) => compareTexts(a, b)));

const isOnLabels = (rule: FirewallRule): boolean => Object.keys(rule.target).length > 0;

/**
 * Lower comes first: rules on labels, then those on the whole VPC; on one level what is denied before what is allowed. On one level
 * all have the same outcome, so that their order among themselves decides nothing.
 */
export const levelOf = (rule: FirewallRule): 0 | 1 | 2 | 3 => (isOnLabels(rule) ? (rule.action === "deny" ? 0 : 1) : rule.action === "deny" ? 2 : 3);

/** The rules that concern a container, in the order in which they apply: the first that fits decides, and where none fits the packet passes. */
export function rulesFor(container: { readonly labels: Labels }, rules: readonly FirewallRule[]): readonly FirewallRule[] {
  return rules
    .filter(({ target }) => carries(container.labels, target))
    .sort((a, b) => levelOf(a) - levelOf(b) || compareTexts(a.direction, b.direction) || compareTexts(a.id, b.id));
}

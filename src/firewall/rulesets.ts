import { assertNever, type ContainerId, type VpcId } from "../base/index.ts";
import { containerTables } from "./container-table.ts";
import { hostTables } from "./host-table.ts";
import { handedPorts } from "./published.ts";
import { labelsText } from "./rule.ts";
import type { FirewallState, VpcFirewall } from "./state.ts";
import { compareTexts, type TablePlan, tableText } from "./table.ts";
import { vpcTables } from "./vpc-tables.ts";

/** A network namespace that has tables of ours. */
export type Place = { readonly kind: "host" } | { readonly kind: "vpc"; readonly vpc: VpcId } | { readonly kind: "container"; readonly container: ContainerId };

/** What a place is to hold. No tables: none of ours may be there. */
export type Ruleset = { readonly place: Place; readonly tables: readonly TablePlan[] };

/** A word for the place, unique on a host. */
export function placeName(place: Place): string {
  switch (place.kind) {
    case "host":
      return "host";
    case "vpc":
      return `vpc ${place.vpc}`;
    case "container":
      return `container ${place.container}`;
    default:
      return assertNever(place);
  }
}

/** Everything that state says of one host, inside first: a way is opened at the host only when what lies behind it is guarded. */
export function rulesetsOf(state: FirewallState): readonly Ruleset[] {
  const vpcs = state.vpcs.toSorted((a, b) => compareTexts(a.id, b.id));
  const handed = handedPorts(state);
  const handedTo = Map.groupBy(handed, ({ vpc }) => vpc);
  return [
    ...vpcs.flatMap(containerRulesets),
    ...vpcs.map((vpc): Ruleset => ({ place: { kind: "vpc", vpc: vpc.id }, tables: vpcTables(vpc, handedTo.get(vpc.id) ?? [], state) })),
    { place: { kind: "host" }, tables: hostTables(state, handed) },
  ];
}

/** Containers with the same labels hold the same: a thousand rules are rendered once for each kind of container, not once for each. */
function containerRulesets(vpc: VpcFirewall): readonly Ruleset[] {
  const made = new Map<string, readonly TablePlan[]>();
  return vpc.ports
    .toSorted((a, b) => compareTexts(a.container, b.container))
    .map(({ container, labels }): Ruleset => {
      const key = labelsText(labels);
      const tables = made.get(key) ?? containerTables(labels, vpc);
      made.set(key, tables);
      return { place: { kind: "container", container }, tables };
    });
}

/** The whole of a ruleset as one transaction. */
export const rulesetText = ({ tables }: Ruleset): string => tables.map(tableText).join("");

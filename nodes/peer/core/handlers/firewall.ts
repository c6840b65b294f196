import { create } from "@bufbuild/protobuf";
import { type FirewallRuleSpec, FirewallRuleSpecSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { CcError, isFirewallRuleId, isVpcId, isZone, type VpcId } from "../../../../src/base/index.ts";
import { type FirewallRule, levelOf, RULE_LIMITS, ruleFromWords } from "../../../../src/firewall/index.ts";
import { type FirewallRuleView, firewallRuleIdOf, userKey } from "../../../../src/state/index.ts";
import { must } from "../../must.ts";
import type { AskAround } from "../ask-around.ts";
import { catchUp } from "../seen.ts";
import { findVpcs } from "./find-vpcs.ts";
import { withNotAsked } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { mustHaveToken, requestDraft, toWritten } from "./writes.ts";

const RULES_MAX = 256;

/** A rule as the firewall knows it; undefined: it asks for what this version cannot do, and is passed over. */
export function ruleOf({ id, vpc, spec }: FirewallRuleView): FirewallRule | undefined {
  const rule = ruleFromWords(id, vpc, wordsOf(spec));
  return rule.ok ? rule.value : undefined;
}

function wordsOf({ action, direction, protocol, ports, target, cidr, labels, log }: FirewallRuleSpec) {
  return {
    action,
    direction: direction === "" ? "in" : direction,
    protocol: protocol === "" ? "any" : protocol,
    ports,
    target,
    ...(cidr === "" ? {} : { cidr }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    log,
  };
}

/** Firewall rules as users make, see and remove them: each a record of its own, so that two edits lose none. */
export function firewallHandlers(parts: HandlerParts, askAround: AskAround): Some<"createFirewallRule" | "listFirewallRules" | "removeFirewallRules"> {
  const { view, replica } = parts;

  const rulesIn = (vpc: VpcId): readonly FirewallRuleView[] => view.firewallRules().filter((rule) => !rule.gone && rule.vpc === vpc);

  return {
    createFirewallRule: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      const spec = request.rule ?? create(FirewallRuleSpecSchema);
      if (!isVpcId(spec.vpc)) throw new CcError("BAD_REQUEST", `"${spec.vpc}" is not a VPC's id; Resolve gives the id of a name`);
      const id = firewallRuleIdOf(caller.keyId, request.token);
      must(ruleFromWords(id, spec.vpc, wordsOf(spec)));
      const { found, notAsked } = await findVpcs(parts, askAround, [spec.vpc]);
      const [one] = found;
      if (one === undefined || "error" in one)
        throw new CcError("NOT_FOUND", one === undefined ? `there is no VPC ${spec.vpc}` : withNotAsked(one.error, notAsked).message);
      const before = view.firewallRule(id);
      if (before !== undefined) {
        if (before.gone) throw new CcError("CONFLICT", `the rule of this token, ${id}, was removed already`);
        if (JSON.stringify(wordsOf(before.spec)) !== JSON.stringify(wordsOf(spec))) throw new CcError("TOKEN_REUSED", `this token made another rule, ${id}`);
        return { id, copies: 0, wrote: [] };
      }
      if (rulesIn(spec.vpc).length >= RULE_LIMITS.rulesMax)
        throw new CcError("LIMIT", `VPC ${one.vpc.name} has ${RULE_LIMITS.rulesMax} rules, the most there may be; remove some with cc firewall remove`);
      const written = await replica.write([requestDraft(userKey(zoneOf(one.vpc.zone), "firewall", id), caller)], { signal });
      return { id, copies: written.copies, wrote: written.records.map(toWritten) };
    },

    listFirewallRules: async (request) => {
      await catchUp(parts, request.to);
      const { found, notAsked } = await findVpcs(parts, askAround, request.vpc === "" ? [] : [request.vpc]);
      const [one] = found;
      if (one !== undefined && "error" in one) return { rules: [], errors: [withNotAsked(one.error, notAsked)] };
      const rules = view.firewallRules().filter((rule) => !rule.gone && view.vpc(rule.vpc)?.gone !== true && (one === undefined || rule.vpc === one.vpc.id));
      const sorted = rules.map((rule) => ({ rule, key: sortKey(rule) })).sort((a, b) => (a.key < b.key ? -1 : 1));
      return {
        rules: sorted.map(({ rule }) => ({
          id: rule.id,
          rule: rule.spec,
          vpcName: view.vpc(rule.vpc)?.name ?? "",
          key: rule.keyId,
          createdAtMs: rule.createdAtMs,
        })),
        errors: [],
      };
    },

    removeFirewallRules: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      if (request.rules.length === 0 || request.rules.length > RULES_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${RULES_MAX} rules`);
      const bad = request.rules.find((id) => !isFirewallRuleId(id));
      if (bad !== undefined) throw new CcError("BAD_REQUEST", `"${bad}" is not a rule's id; cc firewall list shows them`);
      const ids = [...new Set(request.rules)].filter(isFirewallRuleId);
      const unknown = ids.filter((id) => view.firewallRule(id) === undefined);
      const notAsked = unknown.length > 0 ? await askAround(unknown, "firewall") : [];
      const live = ids.flatMap((id) => view.firewallRule(id) ?? []).filter(({ gone }) => !gone);
      const outcome = { done: ids, errors: [], notAsked: [...notAsked], pending: [] };
      if (live.length === 0) return { ...outcome, wrote: [], copies: 0 };
      const drafts = live.map(({ id, zone }) => requestDraft(userKey(zoneOf(zone), "wanted", id), caller, true));
      const written = await replica.write(drafts, { signal });
      return { ...outcome, wrote: written.records.map(toWritten), copies: written.copies };
    },
  };

  function sortKey(rule: FirewallRuleView): string {
    const known = ruleOf(rule);
    return `${view.vpc(rule.vpc)?.name ?? ""} ${rule.vpc} ${known === undefined ? 9 : levelOf(known)} ${rule.spec.direction} ${rule.id}`;
  }
}

const zoneOf = (zone: string) => (isZone(zone) ? zone : undefined);

import { CreateFirewallRuleRequestSchema, type FirewallRuleSpec, RemoveFirewallRulesRequestSchema } from "../../api/gen/cc/v1/cloud_pb.ts";
import { type FirewallRuleId, isFirewallRuleId, isVpcId, type KeyId, type VpcId } from "../../base/index.ts";
import { requestParameters } from "../../identity/index.ts";
import { firewallRuleIdOf } from "../ids-of-requests.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeBody } from "./bodies.ts";
import { type Judge, judgeUserRecord } from "./standing.ts";

/** A firewall rule as a user asked for it; whether it can be applied is the firewall's question. */
export type FirewallRuleView = {
  readonly id: FirewallRuleId;
  /** Rules have none. */
  readonly name: "";
  readonly zone: string;
  readonly vpc: VpcId;
  readonly spec: FirewallRuleSpec;
  readonly keyId: KeyId;
  readonly createdAtMs: number;
  /** Removed. Ids never come back. */
  readonly gone: boolean;
};

type RuleCreate = { readonly id: FirewallRuleId; readonly vpc: VpcId; readonly spec: FirewallRuleSpec; readonly keyId: KeyId; readonly record: StoredRecord };

const creates = new WeakMap<StoredRecord, RuleCreate | "none">();

/** Reads `user/<zone>/firewall/<id>`: a CreateFirewallRule request whose key and token make this very id. */
export function readRuleCreate(record: StoredRecord): RuleCreate | undefined {
  const known = creates.get(record) ?? readAnew(record) ?? "none";
  creates.set(record, known);
  return known === "none" ? undefined : known;
}

function readAnew(record: StoredRecord): RuleCreate | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "user" || key.kind !== "firewall" || !isFirewallRuleId(key.id) || record.final) return undefined;
  const content = stampedContentOf(record);
  const parameters = content === undefined ? undefined : requestParameters(content.request.signatureInput);
  if (content === undefined || parameters?.ok !== true) return undefined;
  const { keyId } = parameters.value;
  const message = decodeBody(CreateFirewallRuleRequestSchema, content.request.body);
  const vpc = message?.rule?.vpc ?? "";
  if (message?.to?.call !== "CreateFirewallRule" || message.rule === undefined || !isVpcId(vpc) || firewallRuleIdOf(keyId, message.token) !== key.id)
    return undefined;
  return { id: key.id, vpc, spec: message.rule, keyId, record };
}

/** Of several peers' stamps of one request the oldest tells its age. Undefined: no create of it counts. */
export function deriveRule(made: readonly RuleCreate[], isRemoved: boolean, judge: Judge): FirewallRuleView | undefined {
  const [first] = [...made].sort((a, b) => judge.stampOf(a.record).major - judge.stampOf(b.record).major);
  if (first === undefined) return undefined;
  const { id, vpc, spec, keyId, record } = first;
  return { id, name: "", zone: parseRecordKey(record.key)?.zone ?? "", vpc, spec, keyId, createdAtMs: judge.stampOf(record).major, gone: isRemoved };
}

/** Reads `user/<zone>/wanted/<rule id>`: a user's removal that names it and counts. */
export function isRuleRemoval(id: FirewallRuleId, record: StoredRecord, judge: Judge): boolean {
  const content = stampedContentOf(record);
  if (content === undefined || !record.final) return false;
  const user = judgeUserRecord(record, judge);
  if (user.standing !== "counts" || user.call !== "RemoveFirewallRules") return false;
  return decodeBody(RemoveFirewallRulesRequestSchema, content.request.body)?.rules.includes(id) ?? false;
}

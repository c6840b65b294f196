import type { ContainerId, FirewallRuleId, RecordKey, VolumeId, VpcId } from "../../base/index.ts";
import { isHostKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { judgeClaim, readCreate } from "./claims.ts";
import { type ContainerView, deriveContainer } from "./container.ts";
import { deriveRule, type FirewallRuleView, isRuleRemoval, readRuleCreate } from "./firewall-rule.ts";
import { judgeHolding, readVolumeCreate } from "./holdings.ts";
import { type Judge, judgeUserRecord } from "./standing.ts";
import { deriveVolume, isVolumeDelete, type VolumeView } from "./volume.ts";
import { deriveVpc, isVpcDelete, type VpcView } from "./vpc.ts";
import { judgeBlocks, readVpcCreate } from "./vpc-records.ts";
import { deriveWanted } from "./wanted.ts";

/** What all records about one thing come to, and how many of them count. */
export type Derived<Thing> = { readonly thing: Thing | undefined; readonly counting: number };

export function vpcOf(id: VpcId, records: readonly StoredRecord[], judge: Judge): Derived<VpcView> {
  const blocks = records.flatMap((record) => (isHostKey(record.key) ? (judgeBlocks(record, judge) ?? []) : []));
  const deletes = records.filter((record) => !isHostKey(record.key) && isVpcDelete(id, record, judge));
  const creates = records.flatMap((record) => (counts(record, judge) ? (readVpcCreate(record) ?? []) : []));
  return { thing: deriveVpc(creates[0], blocks, deletes.length > 0, judge), counting: blocks.length + deletes.length + creates.length };
}

export function ruleOf(id: FirewallRuleId, records: readonly StoredRecord[], judge: Judge): Derived<FirewallRuleView> {
  const removals = records.filter((record) => isRuleRemoval(id, record, judge));
  const creates = records.flatMap((record) => (counts(record, judge) ? (readRuleCreate(record) ?? []) : []));
  return { thing: deriveRule(creates, removals.length > 0, judge), counting: removals.length + creates.length };
}

export function volumeOf(id: VolumeId, records: readonly StoredRecord[], judge: Judge): Derived<VolumeView> {
  const holdings = records.flatMap((record) => (isHostKey(record.key) ? (judgeHolding(record, judge) ?? []) : []));
  const deletes = records.filter((record) => !isHostKey(record.key) && isVolumeDelete(id, record, judge));
  const creates = records.filter((record) => readVolumeCreate(record) !== undefined && counts(record, judge));
  return { thing: deriveVolume(holdings, deletes, judge), counting: holdings.length + deletes.length + creates.length };
}

/** `isRemoved`: a user removed it, known here also where no claim of it is. */
export function containerOf(id: ContainerId, records: readonly StoredRecord[], judge: Judge): Derived<ContainerView> & { readonly isRemoved: boolean } {
  const ofKind = (family: "user" | "host", kind: string): readonly StoredRecord[] =>
    records.filter(({ key }) => key.startsWith(family) && key.split("/").at(-2) === kind);
  const phases = new Map(ofKind("host", "phase").map((record) => [record.key, record]));
  const wanted = deriveWanted(id, ofKind("user", "wanted"), judge);
  const isRemoved = wanted?.kind === "removed";
  const claims = ofKind("host", "claim").flatMap(
    (record) => judgeClaim(record, phases.get(record.key.replace("/claim/", "/phase/") as RecordKey), judge, isRemoved) ?? [],
  );
  const creates = ofKind("user", "container").flatMap((record) => (counts(record, judge) ? (readCreate(record) ?? []) : []));
  const counting = claims.length + creates.length + (wanted === undefined ? 0 : 1) + phases.size;
  return { thing: deriveContainer(id, claims, creates, wanted), counting, isRemoved };
}

const counts = (record: StoredRecord, judge: Judge): boolean => !isHostKey(record.key) && judgeUserRecord(record, judge).standing === "counts";

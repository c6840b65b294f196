import { isContainerId, isFirewallRuleId, isVolumeId, isVpcId } from "../../base/index.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { judgeClaim, readCreate } from "./claims.ts";
import { isRuleRemoval, readRuleCreate } from "./firewall-rule.ts";
import { judgeHolding, readVolumeCreate } from "./holdings.ts";
import { type Judge, judgeHostRecord, judgeUserRecord } from "./standing.ts";
import { isVolumeDelete } from "./volume.ts";
import { isVpcDelete } from "./vpc.ts";
import { judgeBlocks, readVpcCreate } from "./vpc-records.ts";
import { deriveWanted } from "./wanted.ts";

/** Whether a record counts for nobody, by the authority of now. Kinds that this version does not know count. */
export function isVoidRecord(record: StoredRecord, judge: Judge): boolean {
  const key = parseRecordKey(record.key);
  if (key === undefined) return true;
  if (key.family === "host") {
    if (judgeHostRecord(record, key.zone, judge) === "void") return true;
    if (key.kind === "volume") return isVolumeId(key.id) && judgeHolding(record, judge) === undefined;
    if (key.kind === "blocks") return isVpcId(key.id) && judgeBlocks(record, judge) === undefined;
    return key.kind === "claim" && isContainerId(key.id) && judgeClaim(record, undefined, judge) === undefined;
  }
  if (key.family === "admin") return !judge.authority.standing.has(record.key);
  const { standing } = judgeUserRecord(record, judge);
  if (standing !== "counts") return standing === "void";
  if (key.kind === "container") return readCreate(record) === undefined;
  if (key.kind === "volume") return readVolumeCreate(record) === undefined;
  if (key.kind === "firewall") return readRuleCreate(record) === undefined;
  if (key.kind === "vpc") return readVpcCreate(record) === undefined;
  if (key.kind !== "wanted") return false;
  if (isVolumeId(key.id)) return !isVolumeDelete(key.id, record, judge);
  if (isFirewallRuleId(key.id)) return !isRuleRemoval(key.id, record, judge);
  if (isVpcId(key.id)) return !isVpcDelete(key.id, record, judge);
  return isContainerId(key.id) && deriveWanted(key.id, [record], judge) === undefined;
}

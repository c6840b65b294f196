/**
 * The mesh's state on this host: records that everybody may hold and only one writer may make, and what they say.
 *
 * A frame that passes the frozen rules (record.ts) is taken by `Intake`: known and older ones are counted and left, those
 * of hosts whose certificate is not known yet wait (waiting-room.ts), the rest goes into the `RecordBook`: one sorted index
 * which is the pure merge of all that came (merge.ts), the same on all hosts. The replica fsyncs what is new in group commits
 * (commit-log.ts), then tells its readers, gossips its own deltas of 20 ms in one message (spread.ts), and repairs with
 * random neighbours by comparing hashes of ranges (reconcile.ts, repair.ts). What records mean is decided on reading.
 *
 * An admin/ or user/ record lies under its key and its stamping peer: a lying host stamps beside others, never over them.
 * A stamp that is over 60 s ahead lies in the index too, while readers see what was before; a user's removal is above
 * every version and counts at once. Of two stamps of one request the lower counts (stamps.ts). A start number above all
 * that this host or a neighbour has stored makes versions unique after a lost or rolled-back disk; own records that come
 * back newer than remembered are rewritten above.
 *
 * Rejected: a log with sequence counters or vector clocks (sequence reuse, overwritten gaps and removed writers hide
 * records; digests of contents can't), a Merkle tree on disk (ranges of a sorted index need no upkeep), one place a key for
 * all writers (rubbish with a high version would replace the genuine request, which nobody could bring back), summing or
 * xoring hashes for digests (a liar can make collisions), CRDT libraries (their merge can't know a tombstone is final).
 */
export * from "./admission.ts";
export { containerIdOf, firewallRuleIdOf, volumeIdOf, vpcIdOf } from "./ids-of-requests.ts";
export * from "./merge.ts";
export * from "./ports.ts";
export { buildRecord, checkFrame, type DropReason, RECORD_BYTES_MAX } from "./record.ts";
export * from "./record-key.ts";
export * from "./record-store.ts";
export * from "./replica.ts";
export * from "./replica-parts.ts";
export * from "./replica-service.ts";
export { stampedContentOf } from "./stamped-request.ts";
export { compareVersions } from "./version.ts";
export { AWARD_EPOCH_MAX, type CountedClaim, type CreateRead } from "./views/claims.ts";
export type { ContainerView, Holding } from "./views/container.ts";
export type { FirewallRuleView } from "./views/firewall-rule.ts";
export {
  type CountedHolding,
  type HoldingState,
  handOverBytes,
  VOLUME_EPOCH_MAX,
  type VolumeCreate,
} from "./views/holdings.ts";
export type { Member, ViewParts } from "./views/members.ts";
export { createView, type Used, type View } from "./views/view.ts";
export type { VolumeView } from "./views/volume.ts";
export { heirOf, type VpcView } from "./views/vpc.ts";
export {
  type BlockShare,
  type BlocksOfHost,
  DEFAULT_VPC_NAME,
  TRANSFERS_MAX,
  type Transfer,
  transferBytes,
} from "./views/vpc-records.ts";
export type { Wanted } from "./views/wanted.ts";

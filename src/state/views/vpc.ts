import { DeleteVpcsRequestSchema } from "../../api/gen/cc/v1/cloud_pb.ts";
import type { Cidr, KeyId, PeerId, VpcId } from "../../base/index.ts";
import type { Authority, SignedRequest } from "../../identity/index.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeBody } from "./bodies.ts";
import { type Judge, judgeUserRecord } from "./standing.ts";
import type { BlockShare, BlocksOfHost, Transfer, VpcCreate } from "./vpc-records.ts";

/** One VPC, as all records together say. */
export type VpcView = {
  readonly id: VpcId;
  readonly name: string;
  readonly cidr: Cidr;
  readonly zone: string;
  /** As it was stamped: what it has is decided by all VPCs together. */
  readonly vni: number;
  readonly keyId: KeyId;
  /** The client's token of the create. */
  readonly token: string;
  readonly request: SignedRequest;
  readonly createdAtMs: number;
  /** The peer that took the create. */
  readonly createdBy: PeerId;
  readonly split: readonly BlockShare[];
  /** Each once, from whichever record. */
  readonly transfers: readonly Transfer[];
  /** Records of the hosts' blocks that count, by host. */
  readonly blocks: ReadonlyMap<PeerId, BlocksOfHost>;
  /** A user's delete that counts is known: nothing is attached any more. Ids never come back. */
  readonly gone: boolean;
  readonly record: StoredRecord;
};

/** Undefined: no create of it counts. Its id names the peer whose stamp counts, so there is one create at most. */
export function deriveVpc(create: VpcCreate | undefined, blocks: readonly BlocksOfHost[], isDeleted: boolean, judge: Judge): VpcView | undefined {
  if (create === undefined) return undefined;
  const transfers = new Map<string, Transfer>();
  for (const { given, received } of blocks) {
    for (const transfer of [...given, ...received]) {
      // Only the heir that a removal names inherits, whoever signs that it does.
      if (transfer.inherited && !isHeir(transfer, judge)) continue;
      transfers.set(Buffer.from(transfer.signed.signed).toString("base64"), transfer);
    }
  }
  const { id, name, cidr, vni, keyId, token, request, split, record } = create;
  return {
    id,
    name,
    cidr,
    zone: parseRecordKey(record.key)?.zone ?? "",
    vni,
    keyId,
    token,
    request,
    createdAtMs: judge.stampOf(record).major,
    createdBy: record.writer,
    split,
    transfers: [...transfers].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, transfer]) => transfer),
    blocks: new Map(blocks.map((of) => [of.record.writer, of])),
    gone: isDeleted,
    record,
  };
}

/** Whether `to` inherits of `from`: named by its removal, or by that of the heir, and so on. */
function isHeir({ from, to }: Transfer, judge: Judge): boolean {
  return judge.authority.removals.has(from) && heirOf(from, judge.authority.removals) === to;
}

/** Who inherits a removed host's blocks: whom its removal names, else the peer that took it; if that was removed too, its heir. */
export function heirOf(removed: PeerId, removals: Authority["removals"]): PeerId | undefined {
  const seen = new Set<PeerId>();
  for (let peer = removed; !seen.has(peer); ) {
    const removal = removals.get(peer);
    if (removal === undefined) return peer;
    seen.add(peer);
    peer = removal.heir ?? removal.stamp.writer;
  }
  return undefined;
}

/** Reads `user/<zone>/wanted/<vpc id>`: a user's delete that names it and counts. */
export function isVpcDelete(id: VpcId, record: StoredRecord, judge: Judge): boolean {
  const content = stampedContentOf(record);
  if (content === undefined || !record.final) return false;
  const user = judgeUserRecord(record, judge);
  if (user.standing !== "counts" || user.call !== "DeleteVpcs") return false;
  return decodeBody(DeleteVpcsRequestSchema, content.request.body)?.vpcs.includes(id) ?? false;
}

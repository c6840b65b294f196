import { CreateInviteRequestSchema, CreateVpcRequestSchema } from "../../api/gen/cc/v1/cloud_pb.ts";
import {
  type BlockTransfers,
  BlockTransfersSchema,
  type SignedTransfer,
  TransferTermsSchema,
  type VpcStamp,
  VpcStampSchema,
} from "../../api/gen/cc/v1/records_pb.ts";
import { type Cidr, containsCidr, formatCidr, isPeerId, isVpcId, type KeyId, overlaps, type PeerId, parseCidr, sizeOf, type VpcId } from "../../base/index.ts";
import { requestParameters, type SignedRequest, type Verifier } from "../../identity/index.ts";
import { vpcIdOf } from "../ids-of-requests.ts";
import { publicKeyOf } from "../record.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeBody, decodeContent } from "./bodies.ts";
import { type Judge, judgeHostRecord } from "./standing.ts";

/** What one record of transfers may hold; who has given and received so many gives and takes no further block of this VPC. */
export const TRANSFERS_MAX = 512;
/** Each of a zone's hosts, and what is left over of powers of two. */
const SHARES_MAX = 4_096;
const VNI_MAX = 2 ** 24 - 1;
/** Of the VPC that a zone has without anybody's asking. */
export const DEFAULT_VPC_NAME = "default";
const TRANSFER_PREFIX = Buffer.from("cc-block-1\n");

export type BlockShare = { readonly owner: PeerId; readonly blocks: readonly Cidr[] };

/** A VPC's create, read; whether it counts is another question. */
export type VpcCreate = {
  readonly id: VpcId;
  readonly name: string;
  readonly cidr: Cidr;
  readonly vni: number;
  readonly split: readonly BlockShare[];
  readonly keyId: KeyId;
  readonly token: string;
  readonly request: SignedRequest;
  readonly record: StoredRecord;
};

/** A block's way from one host to the next, with its giver's signature; inherited: with the heir's. */
export type Transfer = {
  readonly block: Cidr;
  readonly epoch: number;
  readonly from: PeerId;
  readonly to: PeerId;
  readonly inherited: boolean;
  readonly signed: SignedTransfer;
};

export type BlocksOfHost = { readonly id: VpcId; readonly given: readonly Transfer[]; readonly received: readonly Transfer[]; readonly record: StoredRecord };

const creates = new WeakMap<StoredRecord, VpcCreate | "none">();
const blocks = new WeakMap<StoredRecord, BlocksOfHost | "none">();

export function transferBytes(signed: Uint8Array): Uint8Array {
  return Buffer.concat([TRANSFER_PREFIX, signed]);
}

/** Reads `user/<zone>/vpc/<id>`: a CreateVpc request, or the invite of a zone's first host, whose key, token and stamping peer make this very id. */
export function readVpcCreate(record: StoredRecord): VpcCreate | undefined {
  const known = creates.get(record) ?? readCreateAnew(record) ?? "none";
  creates.set(record, known);
  return known === "none" ? undefined : known;
}

function readCreateAnew(record: StoredRecord): VpcCreate | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "user" || key.kind !== "vpc" || !isVpcId(key.id) || record.final) return undefined;
  const content = stampedContentOf(record);
  const parameters = content === undefined ? undefined : requestParameters(content.request.signatureInput);
  const stamp = content === undefined ? undefined : decodeContent(VpcStampSchema, content.extra);
  if (content === undefined || stamp === undefined || parameters?.ok !== true) return undefined;
  const { keyId } = parameters.value;
  const asked = readAsked(content.request, key.zone ?? "", stamp);
  if (asked === undefined || vpcIdOf(keyId, asked.token, record.writer) !== key.id) return undefined;
  const cidr = parseCidr(asked.cidr);
  const split = cidr.ok ? readSplit(stamp, cidr.value) : undefined;
  if (!cidr.ok || split === undefined || stamp.vni < 1 || stamp.vni > VNI_MAX) return undefined;
  const { name, token } = asked;
  return { id: key.id, name, cidr: cidr.value, vni: stamp.vni, split, keyId, token, request: content.request, record };
}

function readAsked(
  request: SignedRequest,
  zone: string,
  stamp: VpcStamp,
): { readonly name: string; readonly cidr: string; readonly token: string } | undefined {
  const made = decodeBody(CreateVpcRequestSchema, request.body);
  if (made?.to?.call === "CreateVpc") return made.zone === "" || made.zone === zone ? made : undefined;
  const invite = decodeBody(CreateInviteRequestSchema, request.body);
  if (invite?.to?.call !== "CreateInvite" || invite.zone !== zone) return undefined;
  return { name: DEFAULT_VPC_NAME, cidr: stamp.cidr, token: invite.token };
}

/** Undefined unless it gives every address to one host. */
function readSplit({ split }: VpcStamp, cidr: Cidr): readonly BlockShare[] | undefined {
  const shares: BlockShare[] = [];
  for (const { owner, blocks: texts } of split) {
    const parsed = texts.slice(0, SHARES_MAX).map(parseCidr);
    if (!isPeerId(owner)) return undefined;
    shares.push({ owner, blocks: parsed.flatMap((block) => (block.ok ? [block.value] : [])) });
  }
  const all = shares.flatMap((share) => share.blocks).sort((a, b) => (a.base.value < b.base.value ? -1 : 1));
  if (all.length > SHARES_MAX || !all.every((block) => containsCidr(cidr, block))) return undefined;
  if (all.some((block, at) => at > 0 && overlaps(block, all[at - 1] ?? block))) return undefined;
  return all.reduce((sum, block) => sum + sizeOf(block), 0n) === sizeOf(cidr) ? shares : undefined;
}

/** Whether a host's record of blocks counts. What a removed host wrote before its removal's last version does. */
export function judgeBlocks(record: StoredRecord, judge: Judge): BlocksOfHost | undefined {
  const known = blocks.get(record) ?? readBlocks(record, judge.verifier) ?? "none";
  blocks.set(record, known);
  if (known === "none") return undefined;
  return judgeHostRecord(record, parseZone(record), judge) === "void" ? undefined : known;
}

const parseZone = (record: StoredRecord) => {
  const key = parseRecordKey(record.key);
  if (key?.family !== "host") throw new TypeError(`${record.key} is no host's record`);
  return key.zone;
};

function readBlocks(record: StoredRecord, verifier: Verifier): BlocksOfHost | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "host" || key.kind !== "blocks" || !isVpcId(key.id)) return undefined;
  const content: BlockTransfers | undefined = decodeContent(BlockTransfersSchema, record.content);
  if (content?.vpc !== key.id || content.given.length + content.received.length > TRANSFERS_MAX) return undefined;
  const { id } = key;
  const read = (all: readonly SignedTransfer[]): readonly Transfer[] => all.flatMap((signed) => openTransfer(id, signed, verifier) ?? []);
  const given = read(content.given).filter(({ from }) => from === record.writer);
  const received = read(content.received).filter(({ to }) => to === record.writer);
  return { id, given, received, record };
}

/** A transfer of this VPC, when who has to sign it did; undefined for anything else. */
function openTransfer(vpc: VpcId, signed: SignedTransfer, verifier: Verifier): Transfer | undefined {
  const terms = decodeContent(TransferTermsSchema, signed.signed);
  const block = terms === undefined ? undefined : parseCidr(terms.block);
  if (terms?.vpc !== vpc || block?.ok !== true || !isPeerId(terms.from) || !isPeerId(terms.to) || terms.from === terms.to) return undefined;
  if (terms.epoch < 1 || formatCidr(block.value) !== terms.block) return undefined;
  const key = publicKeyOf(terms.inherited ? terms.to : terms.from);
  if (key === undefined || !verifier.verify(key, transferBytes(signed.signed), signed.signature)) return undefined;
  return { block: block.value, epoch: terms.epoch, from: terms.from, to: terms.to, inherited: terms.inherited, signed };
}

import { type RunRequest, RunRequestSchema } from "../../api/gen/cc/v1/cloud_pb.ts";
import { AwardTermsSchema, type Claim, ClaimSchema, type Phase, PhaseSchema } from "../../api/gen/cc/v1/records_pb.ts";
import { type ContainerId, isContainerId, type KeyId, type PeerId, type Zone } from "../../base/index.ts";
import type { SignedRequest, Verifier } from "../../identity/index.ts";
import { requestParameters } from "../../identity/index.ts";
import { containerIdOf } from "../ids-of-requests.ts";
import { compareBytes } from "../merge.ts";
import { checkFrame, publicKeyOf } from "../record.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeBody, decodeContent } from "./bodies.ts";
import { type Judge, judgeHostRecord, judgeUserRecord } from "./standing.ts";

/** An award's epoch ends here, so that a liar who awards to itself can't run away from everybody. */
export const AWARD_EPOCH_MAX = 64;
const AWARD_PREFIX = Buffer.from("cc-award-1\n");

/** A user's create of a container, read; whether it counts is another question. */
export type CreateRead = {
  readonly id: ContainerId;
  readonly keyId: KeyId;
  readonly request: SignedRequest;
  readonly run: RunRequest;
  readonly record: StoredRecord;
};

/** A claim whose form and signatures hold. */
type ClaimRead = { readonly claim: Claim; readonly id: ContainerId; readonly zone: Zone; readonly create: CreateRead };

/** A claim that counts. */
export type CountedClaim = {
  readonly id: ContainerId;
  readonly holder: PeerId;
  readonly epoch: number;
  readonly claim: Claim;
  readonly record: StoredRecord;
  readonly create: CreateRead;
  /** The holder was removed: only what ended and went counts of it, and the epoch. */
  readonly past: boolean;
  /** What the holder says of this epoch; undefined: nothing yet. */
  readonly phase: Phase | undefined;
};

const creates = new WeakMap<StoredRecord, CreateRead | "none">();
const claims = new WeakMap<StoredRecord, ClaimRead | "none">();
const phases = new WeakMap<StoredRecord, Phase | "none">();

/** Reads `user/<zone>/container/<id>`: a Run request whose key and token make this very id. */
export function readCreate(record: StoredRecord): CreateRead | undefined {
  return remembered(creates, record, () => {
    const key = parseRecordKey(record.key);
    if (key?.family !== "user" || key.kind !== "container" || !isContainerId(key.id) || record.final) return undefined;
    const content = stampedContentOf(record);
    const parameters = content === undefined ? undefined : requestParameters(content.request.signatureInput);
    if (content === undefined || parameters?.ok !== true) return undefined;
    const run = decodeBody(RunRequestSchema, content.request.body);
    if (run?.to?.call !== "Run" || run.spec === undefined || containerIdOf(parameters.value.keyId, run.token) !== key.id) return undefined;
    return { id: key.id, keyId: parameters.value.keyId, request: content.request, run, record };
  });
}

/**
 * Whether a claim counts, by the authority of now: its host, and the award that is its warrant. Of what a user removed every
 * claim counts whose create is in order, also one whose stamp went with its host or key: its holder is who has to end it.
 */
export function judgeClaim(record: StoredRecord, phaseRecord: StoredRecord | undefined, judge: Judge, isRemoved = false): CountedClaim | undefined {
  const read = remembered(claims, record, () => readClaim(record, judge.verifier));
  if (read === undefined) return undefined;
  const standing = judgeHostRecord(record, read.zone, judge);
  if (standing === "void") return undefined;
  if (!isRemoved) {
    const user = judgeUserRecord(read.create.record, judge);
    if (user.standing !== "counts" || user.call !== "Run") return undefined;
  }
  const { id, claim, create } = read;
  return {
    id,
    holder: record.writer,
    epoch: claim.epoch,
    claim,
    record,
    create,
    past: standing === "past",
    phase: phaseOf(phaseRecord, read, record.writer, judge),
  };
}

function readClaim(record: StoredRecord, verifier: Verifier): ClaimRead | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "host" || key.kind !== "claim" || !isContainerId(key.id)) return undefined;
  const claim = decodeContent(ClaimSchema, record.content);
  // A warrant of a later version is kept with its record, and does not count here.
  if (claim?.container !== key.id || claim.warrant?.kind.case !== "award") return undefined;
  const { signed, signature, request } = claim.warrant.kind.value;
  const terms = decodeContent(AwardTermsSchema, signed);
  if (terms === undefined || request === undefined) return undefined;
  if (terms.container !== key.id || terms.holder !== record.writer || terms.epoch !== claim.epoch || terms.epoch < 1 || terms.epoch > AWARD_EPOCH_MAX)
    return undefined;
  const checked = checkFrame(request, verifier);
  if (!checked.ok || compareBytes(checked.record.hash, terms.requestHash) !== 0) return undefined;
  const create = readCreate(checked.record);
  const awarder = publicKeyOf(checked.record.writer);
  if (create?.id !== key.id || awarder === undefined || !verifier.verify(awarder, Buffer.concat([AWARD_PREFIX, signed]), signature)) return undefined;
  return { claim, id: key.id, zone: key.zone, create };
}

/** The holder's word on this epoch: of an earlier or later one it says nothing. */
function phaseOf(record: StoredRecord | undefined, claim: ClaimRead, holder: PeerId, judge: Judge): Phase | undefined {
  if (record === undefined || record.writer !== holder || judgeHostRecord(record, claim.zone, judge) === "void") return undefined;
  const phase = remembered(phases, record, () => decodeContent(PhaseSchema, record.content));
  if (phase?.container !== claim.id || phase.epoch !== claim.claim.epoch) return undefined;
  // Final and gone are one thing: a frame that says one of them without the other says nothing.
  return record.final === (phase.phase === "gone") ? phase : undefined;
}

function remembered<T extends object>(memory: WeakMap<StoredRecord, T | "none">, record: StoredRecord, read: () => T | undefined): T | undefined {
  const known = memory.get(record) ?? read() ?? "none";
  memory.set(record, known);
  return known === "none" ? undefined : known;
}

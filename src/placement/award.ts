import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { DeclineTermsSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import { type Award, AwardSchema, type AwardTerms, AwardTermsSchema, type SignedRequest, StampedRequestSchema } from "../api/gen/cc/v1/records_pb.ts";
import { type ContainerId, isContainerId, isPeerId, ok, type PeerId, type Result, refuse } from "../base/index.ts";
import { publicKeyOfPeer, type Signer, type Verifier } from "../identity/index.ts";
import { AWARD_EPOCH_MAX, checkFrame, parseRecordKey, type StoredRecord } from "../state/index.ts";

const AWARD_PREFIX = Buffer.from("cc-award-1\n");
const DECLINE_PREFIX = Buffer.from("cc-decline-1\n");

/** An award whose form and signatures hold; what its user may do is not looked at. */
export type OpenAward = {
  readonly award: Award;
  readonly id: ContainerId;
  readonly epoch: number;
  readonly holder: PeerId;
  /** Who accepted, stamped and awarded: the peer that the user addressed. */
  readonly requester: PeerId;
  /** The user's request as stamped. */
  readonly record: StoredRecord;
  readonly request: SignedRequest;
};

/** Signs an award of the request that `record` is the stamp of. */
export function makeAward(
  terms: { readonly id: ContainerId; readonly epoch: number; readonly holder: PeerId; readonly awardedAtMs: number },
  record: StoredRecord,
  signer: Pick<Signer, "sign">,
): Award {
  const { id: container, epoch, holder, awardedAtMs } = terms;
  const signed = toBinary(AwardTermsSchema, create(AwardTermsSchema, { container, epoch, holder, awardedAtMs, requestHash: record.hash }));
  return create(AwardSchema, { signed, signature: signer.sign(Buffer.concat([AWARD_PREFIX, signed])), request: record.frame });
}

/** Takes an award apart and checks that the peer which stamped the request signed it, over exactly this stamp. */
export function openAward(award: Award | undefined, verifier: Verifier): Result<OpenAward> {
  const terms = award === undefined ? undefined : readTerms(award.signed);
  if (award?.request === undefined || terms === undefined) return refuse("BAD_REQUEST", "this is not an award");
  const { container: id, epoch, holder } = terms;
  if (!isContainerId(id) || !isPeerId(holder) || epoch < 1 || epoch > AWARD_EPOCH_MAX)
    return refuse("BAD_REQUEST", `an award names a container, a host and an epoch from 1 to ${AWARD_EPOCH_MAX}`);
  const checked = checkFrame(award.request, verifier);
  if (!checked.ok) return refuse("BAD_REQUEST", `the request in the award breaks the rules of records: ${checked.reason}`);
  const { record } = checked;
  if (!sameBytes(record.hash, terms.requestHash)) return refuse("BAD_REQUEST", "the award is about another request than the one in it");
  if (!isSignedBy(record.writer, [AWARD_PREFIX, award.signed], award.signature, verifier))
    return refuse("UNAUTHENTICATED", "the award was not signed by the peer that stamped its request");
  const key = parseRecordKey(record.key);
  if (key?.family !== "user" || key.kind !== "container" || key.id !== id || record.final)
    return refuse("BAD_REQUEST", "the request in the award is not the create of its container");
  const request = readStamped(record.content);
  if (request === undefined) return refuse("BAD_REQUEST", "the stamp in the award holds no request");
  return ok({ award, id, epoch, holder, requester: record.writer, record, request });
}

/** A host's word that it did not take the award, and will not. */
export function makeDecline(
  terms: { readonly id: ContainerId; readonly epoch: number; readonly holder: PeerId; readonly declinedAtMs: number },
  signer: Pick<Signer, "sign">,
): { signedDecline: Uint8Array; signature: Uint8Array } {
  const { id: container, epoch, holder, declinedAtMs } = terms;
  const signedDecline = toBinary(DeclineTermsSchema, create(DeclineTermsSchema, { container, epoch, holder, declinedAtMs }));
  return { signedDecline, signature: signer.sign(Buffer.concat([DECLINE_PREFIX, signedDecline])) };
}

/** A decline that came through another peer is believed by its signature alone. */
export function isDeclineOf(
  award: { readonly id: ContainerId; readonly epoch: number; readonly holder: PeerId },
  decline: { readonly signedDecline: Uint8Array; readonly signature: Uint8Array },
  verifier: Verifier,
): boolean {
  const terms = readDecline(decline.signedDecline);
  if (terms?.container !== award.id || terms.epoch !== award.epoch || terms.holder !== award.holder) return false;
  return isSignedBy(award.holder, [DECLINE_PREFIX, decline.signedDecline], decline.signature, verifier);
}

function isSignedBy(peer: PeerId, message: readonly Uint8Array[], signature: Uint8Array, verifier: Verifier): boolean {
  const key = publicKeyOfPeer(peer);
  return key.ok && verifier.verify(key.value, Buffer.concat(message), signature);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function readTerms(bytes: Uint8Array): AwardTerms | undefined {
  try {
    return fromBinary(AwardTermsSchema, bytes);
  } catch {
    return undefined; // Not this message: the caller refuses.
  }
}

function readDecline(bytes: Uint8Array): { container: string; epoch: number; holder: string } | undefined {
  try {
    return fromBinary(DeclineTermsSchema, bytes);
  } catch {
    return undefined; // The same.
  }
}

function readStamped(content: Uint8Array): SignedRequest | undefined {
  try {
    return fromBinary(StampedRequestSchema, content).request;
  } catch {
    return undefined; // The same.
  }
}

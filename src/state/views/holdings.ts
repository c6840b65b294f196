import { type CreateVolumeRequest, CreateVolumeRequestSchema } from "../../api/gen/cc/v1/cloud_pb.ts";
import { type HandOverTerms, HandOverTermsSchema, type SignedHandOver, type VolumeHolding, VolumeHoldingSchema } from "../../api/gen/cc/v1/records_pb.ts";
import { isPeerId, isVolumeId, type KeyId, type PeerId, type VolumeId, type Zone } from "../../base/index.ts";
import { requestParameters, type SignedRequest, type Verifier } from "../../identity/index.ts";
import { volumeIdOf } from "../ids-of-requests.ts";
import { checkFrame, publicKeyOf } from "../record.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeBody, decodeContent } from "./bodies.ts";
import { type Judge, judgeHostRecord, judgeUserRecord } from "./standing.ts";

/** A volume changes hands only before it is mounted; who passes it round for ever makes no record grow without end. */
export const VOLUME_EPOCH_MAX = 64;
const HAND_OVER_PREFIX = Buffer.from("cc-hand-over-1\n");

/** A user's create of a volume, read; whether it counts is another question. */
export type VolumeCreate = {
  readonly id: VolumeId;
  readonly keyId: KeyId;
  readonly request: SignedRequest;
  readonly message: CreateVolumeRequest;
  readonly record: StoredRecord;
};

export type HoldingState = "fresh" | "mounted" | "handed" | "gone";

/** A host's holding of a volume that counts. */
export type CountedHolding = {
  readonly id: VolumeId;
  readonly holder: PeerId;
  readonly epoch: number;
  readonly state: HoldingState;
  /** With `handed`: to whom, at the next epoch. */
  readonly handedTo: PeerId | undefined;
  readonly create: VolumeCreate;
  readonly holding: VolumeHolding;
  readonly record: StoredRecord;
  /** The holder was removed: of it only counts that it is gone, and to whom it was handed. */
  readonly past: boolean;
};

type HoldingRead = Omit<CountedHolding, "past"> & { readonly zone: Zone };

const creates = new WeakMap<StoredRecord, VolumeCreate | "none">();
const holdings = new WeakMap<StoredRecord, HoldingRead | "none">();

export function handOverBytes(signed: Uint8Array): Uint8Array {
  return Buffer.concat([HAND_OVER_PREFIX, signed]);
}

/** Reads `user/<zone>/volume/<id>`: a CreateVolume request whose key, token and stamping peer make this very id. */
export function readVolumeCreate(record: StoredRecord): VolumeCreate | undefined {
  const known = creates.get(record) ?? readCreateAnew(record) ?? "none";
  creates.set(record, known);
  return known === "none" ? undefined : known;
}

function readCreateAnew(record: StoredRecord): VolumeCreate | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "user" || key.kind !== "volume" || !isVolumeId(key.id) || record.final) return undefined;
  const content = stampedContentOf(record);
  const parameters = content === undefined ? undefined : requestParameters(content.request.signatureInput);
  if (content === undefined || parameters?.ok !== true) return undefined;
  const { keyId } = parameters.value;
  const message = decodeBody(CreateVolumeRequestSchema, content.request.body);
  if (message?.to?.call !== "CreateVolume" || volumeIdOf(keyId, message.token, record.writer) !== key.id) return undefined;
  return { id: key.id, keyId, request: content.request, message, record };
}

/** Whether a holding counts, by the authority of now: its host, the create in it, and how the volume came to this host. */
export function judgeHolding(record: StoredRecord, judge: Judge): CountedHolding | undefined {
  const known = holdings.get(record) ?? readHolding(record, judge.verifier) ?? "none";
  holdings.set(record, known);
  if (known === "none") return undefined;
  const standing = judgeHostRecord(record, known.zone, judge);
  if (standing === "void") return undefined;
  const user = judgeUserRecord(known.create.record, judge);
  if (user.standing !== "counts" || user.call !== "CreateVolume") return undefined;
  return { ...known, past: standing === "past" };
}

function readHolding(record: StoredRecord, verifier: Verifier): HoldingRead | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "host" || key.kind !== "volume" || !isVolumeId(key.id)) return undefined;
  const holding = decodeContent(VolumeHoldingSchema, record.content);
  if (holding?.volume !== key.id || holding.request === undefined || !isHoldingState(holding.state)) return undefined;
  const { epoch, state, warrant } = holding;
  // Final and gone are one thing: a frame that says one of them without the other says nothing.
  if (epoch < 1 || epoch > VOLUME_EPOCH_MAX || warrant.length !== epoch - 1 || record.final !== (state === "gone")) return undefined;
  const checked = checkFrame(holding.request, verifier);
  const create = checked.ok ? readVolumeCreate(checked.record) : undefined;
  if (create?.id !== key.id) return undefined;
  let holder = create.record.writer;
  for (const [index, handOver] of warrant.entries()) {
    const terms = openHandOver(handOver, verifier);
    if (terms?.volume !== key.id || terms.from !== holder || terms.epoch !== index + 2) return undefined;
    holder = terms.to;
  }
  if (holder !== record.writer) return undefined;
  const handed = holding.handed === undefined ? undefined : openHandOver(holding.handed, verifier);
  if ((state === "handed") !== (handed !== undefined)) return undefined;
  if (handed !== undefined && (handed.volume !== key.id || handed.from !== holder || handed.epoch !== epoch + 1)) return undefined;
  return { id: key.id, zone: key.zone, holder, epoch, state, handedTo: handed?.to, create, holding, record };
}

/** A hand-over's terms, when its giver signed them; undefined for anything else. */
function openHandOver(
  { signed, signature }: SignedHandOver,
  verifier: Verifier,
): (Omit<HandOverTerms, "from" | "to"> & { from: PeerId; to: PeerId }) | undefined {
  const terms = decodeContent(HandOverTermsSchema, signed);
  if (terms === undefined || !isPeerId(terms.from) || !isPeerId(terms.to)) return undefined;
  const key = publicKeyOf(terms.from);
  if (key === undefined || !verifier.verify(key, handOverBytes(signed), signature)) return undefined;
  return { ...terms, from: terms.from, to: terms.to };
}

function isHoldingState(text: string): text is HoldingState {
  return text === "fresh" || text === "mounted" || text === "handed" || text === "gone";
}

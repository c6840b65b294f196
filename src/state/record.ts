import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type RecordFrame,
  RecordFrameSchema,
  type RecordPayload,
  RecordPayloadSchema,
  type StampedRequest,
  StampedRequestSchema,
} from "../api/gen/cc/v1/records_pb.ts";
import { isPeerId, type PeerId, type RecordKey } from "../base/index.ts";
import {
  isStampedInTime,
  publicKeyOfPeer,
  readAddressing,
  requestParameters,
  SIGNATURE_BYTES,
  type SignedRequest,
  type Signer,
  sha256,
  type Verifier,
} from "../identity/index.ts";
import { type KeyParts, parseRecordKey } from "./record-key.ts";
import type { StoredRecord, Version } from "./replica.ts";
import { VERSION_MAX } from "./version.ts";

/**
 * A frame's payload at most. The API takes requests of 256 KiB; the claim that carries one as its warrant has to fit too, and
 * every frame into one message between peers (512 KiB).
 */
export const RECORD_BYTES_MAX = 320 * 1024;
const FRAME_VERSION = 1;

const SIGNED_PREFIX = Buffer.from("cc-record-1\n");

/** Why a frame was dropped: the frozen rules of frame version 1, by name. */
export type DropReason =
  | "too-large"
  | "unknown-frame"
  | "malformed"
  | "bad-key"
  | "bad-version"
  | "bad-writer"
  | "foreign-key"
  | "bad-request"
  | "not-addressed"
  | "bad-stamp"
  | "bad-signature";

/** `writer` is who the frame says wrote it, where it could be read: not proven. */
export type Checked =
  | { readonly ok: true; readonly record: StoredRecord }
  | { readonly ok: false; readonly reason: DropReason; readonly writer: PeerId | undefined };

/** Signs a record. Throws TypeError for a key, version or size that the frame's own rules would drop. */
export function buildRecord(
  draft: { readonly key: RecordKey; readonly version: Version; readonly final: boolean; readonly content: Uint8Array },
  writer: PeerId,
  signer: Pick<Signer, "sign">,
): StoredRecord {
  const { key, version, final, content } = draft;
  const payload = toBinary(
    RecordPayloadSchema,
    create(RecordPayloadSchema, { key, versionMajor: BigInt(version.major), versionMinor: BigInt(version.minor), final, writer, content }),
  );
  const frame = create(RecordFrameSchema, { frame: FRAME_VERSION, payload, signature: signer.sign(signedBytes(payload)) });
  const read = readFrame(frame);
  if (!read.ok) throw new TypeError(`a record at ${key} that every host would drop: ${read.reason}`);
  return read.record;
}

/** All rules of a frame but its signature. What passes is copied out of the message that it came in. */
export function readFrame(frame: RecordFrame): Checked {
  if (frame.frame !== FRAME_VERSION) return dropped("unknown-frame");
  if (frame.payload.length > RECORD_BYTES_MAX) return dropped("too-large");
  // A copy: a small record must not keep the 512 KiB alive that it arrived in.
  const payload = new Uint8Array(frame.payload);
  const fields = decodePayload(payload);
  if (fields === undefined) return dropped("malformed");
  const writer = isPeerId(fields.writer) && publicKeyOf(fields.writer) !== undefined ? fields.writer : undefined;
  const parts = parseRecordKey(fields.key);
  if (parts === undefined) return dropped("bad-key", writer);
  if (fields.versionMajor > VERSION_MAX || fields.versionMinor > VERSION_MAX) return dropped("bad-version", writer);
  if (writer === undefined) return dropped("bad-writer");
  const refused = checkWriter(parts, writer, fields);
  if (refused !== undefined) return dropped(refused, writer);
  if (frame.signature.length !== SIGNATURE_BYTES) return dropped("bad-signature", writer);
  return {
    ok: true,
    record: {
      key: fields.key as RecordKey,
      version: { major: Number(fields.versionMajor), minor: Number(fields.versionMinor) },
      final: fields.final,
      writer,
      content: fields.content,
      hash: sha256(payload),
      // Built anew: unknown fields of a frame are covered by no signature, and would be carried along for ever.
      frame: create(RecordFrameSchema, { frame: FRAME_VERSION, payload, signature: new Uint8Array(frame.signature) }),
    },
  };
}

/** Whether the writer really signed these bytes. */
export function isSigned(frame: RecordFrame, writer: PeerId, verifier: Verifier): boolean {
  const publicKey = publicKeyOf(writer);
  return publicKey !== undefined && verifier.verify(publicKey, signedBytes(frame.payload), frame.signature);
}

export function checkFrame(frame: RecordFrame, verifier: Verifier): Checked {
  const read = readFrame(frame);
  if (!read.ok || isSigned(read.record.frame, read.record.writer, verifier)) return read;
  return dropped("bad-signature", read.record.writer);
}

/** Bytes that a frame takes in a message, its field's head included. */
export function frameBytes(frame: RecordFrame): number {
  return frame.payload.length + frame.signature.length + 16;
}

function checkWriter(parts: KeyParts, writer: PeerId, { content, versionMajor }: RecordPayload): DropReason | undefined {
  if (parts.family === "host") return parts.peer === writer ? undefined : "foreign-key";
  // A user's or an admin's fact is the request that they signed; who stamps it is the peer that they addressed.
  const request = decodeStamped(content)?.request;
  if (request === undefined) return "bad-request";
  const to = readAddressing(request.body);
  if (!to.ok) return "bad-request";
  if (to.value.peer !== writer) return "not-addressed";
  return isInTime(request, Number(versionMajor)) ? undefined : "bad-stamp";
}

/**
 * A stamp far from the signed time is none. Taken, it would lie in the place of a good one that is older: who saw that one
 * goes by it, and who did not has nothing of the request. What cannot be read here may be a later version's way of signing.
 */
function isInTime({ signatureInput }: Pick<SignedRequest, "signatureInput">, stampedMs: number): boolean {
  const signed = requestParameters(signatureInput);
  return !signed.ok || isStampedInTime(stampedMs, signed.value.createdS);
}

/** Whether every host would take a stamp of this moment under what is to be stamped. */
export function isStampable(content: Uint8Array, stampedMs: number): boolean {
  const request = decodeStamped(content)?.request;
  return request === undefined || isInTime(request, stampedMs);
}

function signedBytes(payload: Uint8Array): Uint8Array {
  return Buffer.concat([SIGNED_PREFIX, payload]);
}

function dropped(reason: DropReason, writer?: PeerId): Checked {
  return { ok: false, reason, writer };
}

function decodePayload(payload: Uint8Array): RecordPayload | undefined {
  try {
    return fromBinary(RecordPayloadSchema, payload);
  } catch {
    return undefined; // Not this message: dropped and counted by the caller.
  }
}

function decodeStamped(content: Uint8Array): StampedRequest | undefined {
  try {
    return fromBinary(StampedRequestSchema, content);
  } catch {
    return undefined; // The same.
  }
}

export function publicKeyOf(peer: PeerId): Uint8Array | undefined {
  const key = publicKeyOfPeer(peer);
  return key.ok ? key.value : undefined;
}

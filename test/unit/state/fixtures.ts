import { create, toBinary } from "@bufbuild/protobuf";
import { StampedRequestSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { RecordKey, Zone } from "../../../src/base/index.ts";
import type { SignedRequest } from "../../../src/identity/index.ts";
import { buildRecord, hostKey, type StoredRecord, userKey } from "../../../src/state/index.ts";
import { keyPair, peerId, request } from "../identity/fixtures.ts";

export { CREATED_S, keyPair, peerId, request } from "../identity/fixtures.ts";

export const ZONE = "attic" as Zone;

export function stamped(signed: SignedRequest): Uint8Array {
  return toBinary(
    StampedRequestSchema,
    create(StampedRequestSchema, { request: { body: signed.body, signatureInput: signed.signatureInput, signature: signed.signature } }),
  );
}

/** A record of the named host's own. */
export function fact(
  host: string,
  kind: string,
  id: string,
  major: number,
  minor: number,
  text = `${kind} ${id} ${major}.${minor}`,
  final = false,
): StoredRecord {
  const peer = peerId(host);
  return buildRecord({ key: hostKey(peer, ZONE, kind, id), version: { major, minor }, final, content: Buffer.from(text) }, peer, keyPair(host).signer);
}

/** A request, stamped by the named host, which it addresses. */
export function stampedBy(host: string, key: RecordKey, signed: SignedRequest, major: number, minor = 0, final = false): StoredRecord {
  return buildRecord({ key, version: { major, minor }, final, content: stamped(signed) }, peerId(host), keyPair(host).signer);
}

/** A user's record of any kind, stamped by the named host when it was signed. */
export function wish(host: string, id: string, major: number, minor = 0): StoredRecord {
  const signed = request("Wish", { token: `${host} ${id} ${major}` }, { peer: peerId(host), createdS: Math.max(1, Math.floor(major / 1_000)) });
  return stampedBy(host, userKey(ZONE, "wish", id), signed, major, minor);
}

import { fromBinary } from "@bufbuild/protobuf";
import { CertificateRecordSchema } from "../api/gen/cc/v1/records_pb.ts";
import type { MeshId } from "../base/index.ts";
import { decodeCertificate, type HostCertificate, type HostIdentity, type Verifier, verifyHostCertificate } from "../identity/index.ts";
import type { AdmissionCheck } from "./ports.ts";
import { parseRecordKey } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";

export type CertificateRead = { readonly certificate: HostCertificate; readonly identity: HostIdentity };

/** Certificates never change their meaning: checked once per record. */
const certificates = new WeakMap<StoredRecord, { readonly meshId: MeshId; readonly verifier: Verifier; readonly read: CertificateRead | undefined }>();

/**
 * Reads `host/<peer>/<zone>/certificate/self`; undefined unless it makes this very writer a member of the mesh, in the zone
 * that the key names. Needs no other record, so that its answer never changes and all hosts give the same.
 */
export function readCertificateRecord(record: StoredRecord, meshId: MeshId, verifier: Verifier): CertificateRead | undefined {
  const known = certificates.get(record);
  if (known?.meshId === meshId && known.verifier === verifier) return known.read;
  const read = readAnew(record, meshId, verifier);
  certificates.set(record, { meshId, verifier, read });
  return read;
}

function readAnew(record: StoredRecord, meshId: MeshId, verifier: Verifier): CertificateRead | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "host" || key.kind !== "certificate" || key.id !== "self") return undefined;
  const certificate = decodeCertificate(textOf(record.content));
  if (!certificate.ok || certificate.value.peerId !== record.writer) return undefined;
  const identity = verifyHostCertificate(certificate.value, meshId, verifier);
  if (!identity.ok || identity.value.zone !== key.zone) return undefined;
  return { certificate: certificate.value, identity: identity.value };
}

export function createAdmissionCheck(meshId: MeshId, verifier: Verifier): AdmissionCheck {
  return (record) => readCertificateRecord(record, meshId, verifier) !== undefined;
}

function textOf(content: Uint8Array): string {
  try {
    return Buffer.from(fromBinary(CertificateRecordSchema, content).certificate).toString("utf8");
  } catch {
    return ""; // Not this message: no certificate.
  }
}

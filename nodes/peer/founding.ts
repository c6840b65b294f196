import { CcError, type Clock, type MeshId, type PeerId, type Random, type RecordKey, type Result, type Zone } from "../../src/base/index.ts";
import {
  base64Url,
  countersign,
  formatAccessToken,
  formatRecoveryKey,
  formatSecretKey,
  generateKeyPair,
  type HostCertificate,
  keyIdOf,
  meshIdOf,
  parseAdminRequest,
  peerIdOf,
  type SignedRequest,
  type Signer,
  signBinding,
  signRequest,
} from "../../src/identity/index.ts";

const FIRST_INVITE_VALID_MS = 60_000;

/** A mesh of one host, as its founder holds it before anything is written. */
export type Founding = {
  readonly meshId: MeshId;
  readonly peer: PeerId;
  readonly hostSeed: Uint8Array;
  readonly certificate: HostCertificate;
  readonly zone: Zone;
  /** The first admin's key and the invite of one use, to be stamped by this host. */
  readonly requests: readonly { readonly key: RecordKey; readonly request: SignedRequest }[];
  /** Printed once, kept nowhere. */
  readonly recoveryKey: string;
  readonly accessToken: string;
  readonly secretKey: string;
};

/** Makes the root, the first admin and the first host: a member like any other, by an invite of one use to itself. */
export function foundMesh(random: Random, clock: Clock, name: string, zone: Zone): Founding {
  const root = generateKeyPair(random);
  const admin = generateKeyPair(random);
  const host = generateKeyPair(random);
  const invite = generateKeyPair(random);
  const meshId = meshIdOf(root.signer.publicKey);
  const peer = peerIdOf(host.signer.publicKey);
  const nowMs = clock.nowMs();
  const sign = (call: string, signer: Signer, fields: object): SignedRequest => {
    const body = Buffer.from(JSON.stringify({ to: { call, mesh: meshId, peer }, token: base64Url(random.bytes(16)), ...fields }));
    const signed = signRequest({ body, keyId: keyIdOf(signer.publicKey), signer, createdS: Math.floor(nowMs / 1_000), nonce: base64Url(random.bytes(16)) });
    return { body, signatureInput: signed.signatureInput, signature: signed.signature };
  };

  const adminKeyId = keyIdOf(admin.signer.publicKey);
  const grant = sign("CreateKey", root.signer, { publicKey: base64Url(admin.signer.publicKey), role: "admin", name: "admin" });
  const invited = sign("CreateInvite", admin.signer, { zone, uses: 1, validForMs: FIRST_INVITE_VALID_MS, publicKey: base64Url(invite.signer.publicKey) });
  const parsed = must(parseAdminRequest(invited));
  if (parsed.kind !== "invite") throw new CcError("INTERNAL", "an invite reads as something else");
  const binding = signBinding(invite.signer, parsed.inviteId, peer);
  const subject = { rootPublicKey: root.signer.publicKey, chain: [grant], invite: invited, peerId: peer, name, binding };
  return {
    meshId,
    peer,
    hostSeed: host.seed,
    certificate: countersign(host.signer, subject, parsed, { atMs: nowMs, useNumber: 1 }),
    zone,
    requests: [
      { key: must(parseAdminRequest(grant)).recordKey, request: grant },
      { key: parsed.recordKey, request: invited },
    ],
    recoveryKey: formatRecoveryKey(root.seed),
    accessToken: formatAccessToken({ keyId: adminKeyId, meshId }),
    secretKey: formatSecretKey(admin.seed),
  };
}

/** The value of a result that cannot be refused here; a refusal becomes the error that the user sees. */
export function must<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new CcError(result.code, result.message);
}

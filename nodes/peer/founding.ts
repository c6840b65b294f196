import { create } from "@bufbuild/protobuf";
import { HostFactsSchema } from "../../src/api/gen/cc/v1/records_pb.ts";
import { CcError, type Clock, type MeshId, type PeerId, type Random, type RecordKey, type Zone } from "../../src/base/index.ts";
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
import { must } from "./must.ts";
import { defaultVpc } from "./vpc-stamp.ts";

const FIRST_INVITE_VALID_MS = 60_000;

/** A mesh of one host, as its founder holds it before anything is written. */
export type Founding = {
  readonly meshId: MeshId;
  readonly peer: PeerId;
  readonly hostSeed: Uint8Array;
  readonly certificate: HostCertificate;
  readonly zone: Zone;
  /** The first admin's key, the invite of one use and the zone's default VPC, to be stamped by this host with what it adds. */
  readonly requests: readonly { readonly key: RecordKey; readonly request: SignedRequest; readonly extra?: Uint8Array<ArrayBuffer> }[];
  /** Printed once, kept nowhere. */
  readonly recoveryKey: string;
  readonly accessToken: string;
  readonly secretKey: string;
};

/** Makes the root, the first admin and the first host: a member like any other, by an invite of one use to itself. */
export function foundMesh(random: Random, clock: Clock, name: string, zone: Zone, networks: readonly string[] = []): Founding {
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
  const known = { self: peer, vpcs: [], members: [{ peer, zone, name, facts: create(HostFactsSchema, { networks: [...networks] }) }] };
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
      { ...defaultVpc(known, { keyId: adminKeyId, token: tokenOf(invited), zone }), request: invited },
    ],
    recoveryKey: formatRecoveryKey(root.seed),
    accessToken: formatAccessToken({ keyId: adminKeyId, meshId }),
    secretKey: formatSecretKey(admin.seed),
  };
}

const tokenOf = (request: SignedRequest): string => String(JSON.parse(Buffer.from(request.body).toString("utf8")).token);

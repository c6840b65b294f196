import { type InviteId, isName, isPeerId, type KeyId, type MeshId, ok, type PeerId, type Result, refuse, type Zone } from "../base/index.ts";
import { keyIdOf, meshIdOf } from "./access.ts";
import { type HostInvite, type KeyGrant, parseAdminRequest } from "./admin-requests.ts";
import { PUBLIC_KEY_BYTES, type Signer, sha256, type Verifier } from "./crypto.ts";
import { base64, base64Url, fromBase64, fromBase64Url } from "./encodings.ts";
import { publicKeyOfPeer } from "./peer-ids.ts";
import { type SignedRequest, verifyRequest } from "./request-signature.ts";

/**
 * Why a host is a member: the mesh's root, the admin keys from it down to the one that signed the invite, the invite, the
 * invite key's word for this peer id, and the word of the peer that the invite names. Everybody can check it, offline and
 * without a store; it has no end.
 */
export type HostCertificate = {
  readonly rootPublicKey: Uint8Array;
  /** CreateKey requests, each signed by the root or by a key before it. */
  readonly chain: readonly SignedRequest[];
  /** CreateInvite. */
  readonly invite: SignedRequest;
  readonly peerId: PeerId;
  /** What the host calls itself; may be empty. */
  readonly name: string;
  readonly binding: Uint8Array;
  readonly countersignature: Countersignature;
};

/** `useNumber` counts from 1 to the invite's uses. */
export type Countersignature = { readonly atMs: number; readonly useNumber: number; readonly signature: Uint8Array };

/** What a certificate that holds says. */
export type HostIdentity = {
  readonly peerId: PeerId;
  readonly zone: Zone;
  readonly name: string;
  readonly inviteId: InviteId;
  readonly issuer: PeerId;
  readonly admittedAtMs: number;
  /** The root's, then the chain's. */
  readonly keyIds: readonly KeyId[];
  readonly grants: readonly KeyGrant[];
  readonly invite: HostInvite;
};

export const CERTIFICATE_CHAIN_MAX = 8;
/** Goes into a TLS certificate, whose handshake has to stay small; a chain of two keys takes about 3 KiB. */
export const CERTIFICATE_BYTES_MAX = 24 * 1024;
const VERSION = 1;

/** The joiner's half: the invite key vouches for one peer id. */
export function signBinding(inviteKey: Pick<Signer, "sign">, inviteId: InviteId, peerId: PeerId): Uint8Array {
  return inviteKey.sign(bindingText(inviteId, peerId));
}

export function verifyBinding(invite: HostInvite, peerId: PeerId, binding: Uint8Array, verifier: Verifier): boolean {
  return verifier.verify(invite.publicKey, bindingText(invite.inviteId, peerId), binding);
}

/** The issuer's half. The same arguments give the same certificate. */
export function countersign(
  issuer: Pick<Signer, "sign">,
  subject: Omit<HostCertificate, "countersignature">,
  invite: HostInvite,
  use: { readonly atMs: number; readonly useNumber: number },
): HostCertificate {
  const signature = issuer.sign(admissionText(invite, subject.peerId, subject.name, use));
  return { ...subject, countersignature: { atMs: use.atMs, useNumber: use.useNumber, signature } };
}

/** Offline, by anybody. What was revoked or removed since is not known here: see `memberStanding`. */
export function verifyHostCertificate(certificate: HostCertificate, meshId: MeshId, verifier: Verifier): Result<HostIdentity> {
  const bad = (reason: string) => refuse("NOT_A_MEMBER", `the host's certificate does not hold: ${reason}`);
  if (meshIdOf(certificate.rootPublicKey) !== meshId) return refuse("WRONG_MESH", "the host belongs to another mesh than the one that the access token names");
  if (certificate.chain.length > CERTIFICATE_CHAIN_MAX) return bad("its chain of keys is too long");
  const keys = new Map<KeyId, Uint8Array>([[keyIdOf(certificate.rootPublicKey), certificate.rootPublicKey]]);
  const grants: KeyGrant[] = [];
  for (const link of certificate.chain) {
    const grant = parseAdminRequest(link);
    if (!grant.ok) return bad(grant.message);
    if (grant.value.kind !== "key" || grant.value.role !== "admin" || grant.value.to.mesh !== meshId)
      return bad("a link of its chain does not make an admin's key of this mesh");
    const signer = keys.get(grant.value.parameters.keyId);
    if (signer === undefined || !verifyRequest(link, signer, verifier)) return bad("a link of its chain is not signed by a key above");
    keys.set(grant.value.keyId, grant.value.publicKey);
    grants.push(grant.value);
  }
  const invite = parseAdminRequest(certificate.invite);
  if (!invite.ok) return bad(invite.message);
  if (invite.value.kind !== "invite" || invite.value.to.mesh !== meshId) return bad("its invite is not one of this mesh");
  const inviter = keys.get(invite.value.parameters.keyId);
  if (inviter === undefined || !verifyRequest(certificate.invite, inviter, verifier)) return bad("its invite is not signed by a key of its chain");
  const admission = verifyAdmission(certificate, invite.value, verifier);
  if (admission !== undefined) return bad(admission);
  return ok({
    peerId: certificate.peerId,
    zone: invite.value.zone,
    name: certificate.name,
    inviteId: invite.value.inviteId,
    issuer: invite.value.issuer,
    admittedAtMs: certificate.countersignature.atMs,
    keyIds: [...keys.keys()],
    grants,
    invite: invite.value,
  });
}

/** What is wrong with the binding or the countersignature, if anything is. */
function verifyAdmission(certificate: HostCertificate, invite: HostInvite, verifier: Verifier): string | undefined {
  const { peerId, name, binding, countersignature } = certificate;
  if (!verifyBinding(invite, peerId, binding, verifier)) return "the invite's key does not vouch for this host";
  if (countersignature.useNumber > invite.uses) return "its invite had no use left";
  if (countersignature.atMs > invite.expiresAtMs) return "its invite was over when it was admitted";
  const issuer = publicKeyOfPeer(invite.issuer);
  if (!issuer.ok || !verifier.verify(issuer.value, admissionText(invite, peerId, name, countersignature), countersignature.signature)) {
    return "the peer that its invite names did not admit it";
  }
  return undefined;
}

/** One line of JSON; the same certificate gives the same text. */
export function encodeCertificate(certificate: HostCertificate): string {
  const request = ({ body, signatureInput, signature }: SignedRequest) => ({ body: base64Url(body), input: signatureInput, signature });
  return JSON.stringify({
    v: VERSION,
    root: base64Url(certificate.rootPublicKey),
    chain: certificate.chain.map(request),
    invite: request(certificate.invite),
    peer: certificate.peerId,
    name: certificate.name,
    binding: base64(certificate.binding),
    admitted: { at: certificate.countersignature.atMs, use: certificate.countersignature.useNumber, signature: base64(certificate.countersignature.signature) },
  });
}

export function decodeCertificate(text: string): Result<HostCertificate> {
  const broken = refuse("NOT_A_MEMBER", "the host's certificate is not one, or is of a version that this one does not know");
  if (text.length > CERTIFICATE_BYTES_MAX) return refuse("TOO_LARGE", `a host's certificate has at most ${CERTIFICATE_BYTES_MAX} bytes`);
  const json = objectOf(parsed(text));
  const rootPublicKey = bytesIn(json, "root", fromBase64Url);
  const binding = bytesIn(json, "binding", fromBase64);
  const links = json?.get("chain");
  const invite = requestIn(json?.get("invite"));
  const peerId = json?.get("peer");
  const name = json?.get("name");
  const admitted = objectOf(json?.get("admitted"));
  const signature = bytesIn(admitted, "signature", fromBase64);
  const atMs = admitted?.get("at");
  const useNumber = admitted?.get("use");
  if (json?.get("v") !== VERSION || json.size !== 8 || admitted?.size !== 3) return broken;
  if (rootPublicKey?.length !== PUBLIC_KEY_BYTES || binding === undefined || signature === undefined || invite === undefined) return broken;
  if (typeof peerId !== "string" || !isPeerId(peerId) || typeof name !== "string" || (name !== "" && !isName(name))) return broken;
  if (!isCount(atMs) || !isCount(useNumber) || !Array.isArray(links) || links.length > CERTIFICATE_CHAIN_MAX) return broken;
  const chain = links.map(requestIn).filter((link) => link !== undefined);
  if (chain.length !== links.length) return broken;
  return ok({ rootPublicKey, chain, invite, peerId, name, binding, countersignature: { atMs, useNumber, signature } });
}

function bindingText(inviteId: InviteId, peerId: PeerId): Uint8Array {
  return Buffer.from(`cc-bind-1\n${inviteId}\n${peerId}`);
}

/** The invite's hash is in it: its id alone is a promise of its signer, who could sign two of one id. */
function admissionText(invite: HostInvite, peerId: PeerId, name: string, use: { readonly atMs: number; readonly useNumber: number }): Uint8Array {
  const inviteHash = base64Url(sha256(invite.request.signatureInput, "\n", sha256(invite.request.body)));
  return Buffer.from(`cc-admit-1\n${invite.inviteId}\n${inviteHash}\n${peerId}\n${invite.zone}\n${name}\n${use.atMs}\n${use.useNumber}`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Not JSON: no certificate.
  }
}

function objectOf(json: unknown): ReadonlyMap<string, unknown> | undefined {
  return typeof json === "object" && json !== null && !Array.isArray(json) ? new Map(Object.entries(json)) : undefined;
}

function bytesIn(json: ReadonlyMap<string, unknown> | undefined, name: string, decode: (text: string) => Uint8Array | undefined): Uint8Array | undefined {
  const value = json?.get(name);
  return typeof value === "string" ? decode(value) : undefined;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function requestIn(value: unknown): SignedRequest | undefined {
  const json = objectOf(value);
  const body = bytesIn(json, "body", fromBase64Url);
  const signatureInput = json?.get("input");
  const signature = json?.get("signature");
  if (json?.size !== 3 || body === undefined || typeof signatureInput !== "string" || typeof signature !== "string") return undefined;
  return { body, signatureInput, signature };
}

import type { Sign } from "../../src/api/client.ts";
import type { ProvenPeer } from "../../src/api/client-connection.ts";
import type { ProvePeer } from "../../src/api/drivers/dialer.ts";
import { CcError, isInviteId, isZone, type KeyId, type MeshId, ok, type Result } from "../../src/base/index.ts";
import {
  formatAccessToken,
  formatSecretKey,
  generateKeyPair,
  keyIdOf,
  meshIdOf,
  parseAccessToken,
  parseRecoveryKey,
  parseSecretKey,
} from "../../src/identity/access.ts";
import { base64Url } from "../../src/identity/encodings.ts";
import { encodeInvite } from "../../src/identity/invite.ts";
import { verifyPeerCertificate } from "../../src/identity/peer-certificate.ts";
import { signRequest } from "../../src/identity/request-signature.ts";
import { systemRandom } from "./clock.ts";

/**
 * Identity as the command line needs it: only its light files, because the folder's index would bring in what makes
 * certificates, at several times the cost of a whole request.
 */
export type Signer = Parameters<typeof signRequest>[0]["signer"];
export type Credentials = { readonly keyId: KeyId; readonly mesh: MeshId; readonly signer: Signer };

export function readCredentials(accessToken: string, secretKey: string): Result<Credentials> {
  const token = parseAccessToken(accessToken);
  if (!token.ok) return token;
  const signer = parseSecretKey(secretKey);
  if (!signer.ok) return signer;
  return ok({ keyId: token.value.keyId, mesh: token.value.meshId, signer: signer.value });
}

export function signWith(credentials: Credentials): Sign {
  return ({ body, createdS, nonce }) => {
    const signed = signRequest({ body, keyId: credentials.keyId, signer: credentials.signer, createdS, nonce });
    return { "content-digest": signed.contentDigest, "signature-input": `cc=${signed.signatureInput}`, signature: `cc=:${signed.signature}:` };
  };
}

/** The root itself: its key id and its mesh follow from the recovery key. */
export function readRecoveryKey(text: string): Result<Credentials> {
  const signer = parseRecoveryKey(text);
  if (!signer.ok) return signer;
  const { publicKey } = signer.value;
  return ok({ keyId: keyIdOf(publicKey), mesh: meshIdOf(publicKey), signer: signer.value });
}

export function provePeer(mesh: MeshId): ProvePeer {
  return (sanText, spki) => verifyPeerCertificate(sanText, spki, mesh);
}

/** A new key pair in the text forms that the contract and the user see. */
export function newKeyPair(): { readonly seed: Uint8Array; readonly secretKey: string; readonly publicKey: string; readonly keyId: KeyId } {
  const { seed, signer } = generateKeyPair(systemRandom);
  return { seed, secretKey: formatSecretKey(seed), publicKey: base64Url(signer.publicKey), keyId: keyIdOf(signer.publicKey) };
}

export function accessTokenFor(keyId: KeyId, mesh: MeshId): string {
  return formatAccessToken({ keyId, meshId: mesh });
}

/** The one line that a joining host is given. Throws INTERNAL where the peer's answer cannot be one. */
export function makeInvite(parts: {
  readonly mesh: MeshId;
  readonly id: string;
  readonly zone: string | undefined;
  readonly seed: Uint8Array;
  readonly issuer: ProvenPeer | undefined;
  readonly endpoints: readonly string[];
  readonly addresses: readonly string[];
  readonly expiresAtMs: number;
}): { readonly invite: string; readonly zone: string } {
  const zone = parts.zone ?? parts.issuer?.zone ?? "";
  if (!isInviteId(parts.id) || !isZone(zone) || parts.issuer === undefined)
    throw new CcError("INTERNAL", "the peer's answer does not make an invite; is its version much older than this program's?");
  const { seed, endpoints, addresses, expiresAtMs } = parts;
  return { invite: encodeInvite({ meshId: parts.mesh, inviteId: parts.id, zone, seed, issuer: parts.issuer.peerId, endpoints, addresses, expiresAtMs }), zone };
}

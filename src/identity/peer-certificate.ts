import { type MeshId, ok, type PeerId, type Result, refuse, type Zone } from "../base/index.ts";
import { CERTIFICATE_BYTES_MAX, decodeCertificate, encodeCertificate, type HostCertificate, verifyHostCertificate } from "./certificate.ts";
import { ed25519Verifier, type Signer, sha256, type Verifier } from "./crypto.ts";
import { base64, base64Url, fromBase64, fromBase64Url } from "./encodings.ts";
import { publicKeyOfPeer } from "./peer-ids.ts";

/**
 * The link from a TLS key to a host's certificate: a URI in the subjectAltName of the peer's self-signed certificate,
 * `cc-chain:<base64url of JSON>`. With it the mesh's fingerprint in the access token is all that a client has to be told.
 */
export const CHAIN_URI_SCHEME = "cc-chain:";
// base64url of the certificate inside JSON, and that again in base64url.
const CHAIN_URI_CHARACTERS_MAX = CERTIFICATE_BYTES_MAX * 2;

/** `spki`: the TLS key's SubjectPublicKeyInfo, DER. */
export function chainUri(certificate: HostCertificate, hostKey: Pick<Signer, "sign">, spki: Uint8Array): string {
  const tlsBinding = base64(hostKey.sign(tlsBindingText(spki)));
  return CHAIN_URI_SCHEME + base64Url(Buffer.from(JSON.stringify({ certificate: encodeCertificate(certificate), tlsBinding })));
}

/**
 * Who is at the other end of a TLS connection, before a byte is sent to it. `sanText` is Node's
 * `X509Certificate.subjectAltName`, `spki` its `publicKey.export({ type: "spki", format: "der" })`.
 */
export function verifyPeerCertificate(
  sanText: string,
  spki: Uint8Array,
  meshId: MeshId,
  verifier: Verifier = ed25519Verifier,
): Result<{ readonly peerId: PeerId; readonly zone: Zone }> {
  const stranger = refuse("NOT_A_MEMBER", "the server at this address is not a peer of any mesh: is the endpoint's address and port right?");
  const uri = sanText.split(", ").find((name) => name.startsWith(`URI:${CHAIN_URI_SCHEME}`));
  if (uri === undefined || uri.length > CHAIN_URI_CHARACTERS_MAX) return stranger;
  const bytes = fromBase64Url(uri.slice(`URI:${CHAIN_URI_SCHEME}`.length));
  const parts = bytes === undefined ? undefined : chainParts(bytes);
  if (parts === undefined) return stranger;
  const certificate = decodeCertificate(parts.certificate);
  if (!certificate.ok) return certificate;
  const identity = verifyHostCertificate(certificate.value, meshId, verifier);
  if (!identity.ok) return identity;
  const hostKey = publicKeyOfPeer(identity.value.peerId);
  if (!hostKey.ok || !verifier.verify(hostKey.value, tlsBindingText(spki), parts.tlsBinding)) {
    return refuse("NOT_A_MEMBER", "the server shows the certificate of a host whose key it does not have: somebody may be listening in");
  }
  return ok({ peerId: identity.value.peerId, zone: identity.value.zone });
}

function tlsBindingText(spki: Uint8Array): Uint8Array {
  return Buffer.from(`cc-tls-1\n${base64(sha256(spki))}`);
}

function chainParts(bytes: Uint8Array): { readonly certificate: string; readonly tlsBinding: Uint8Array } | undefined {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (typeof json !== "object" || json === null || !("certificate" in json) || !("tlsBinding" in json)) return undefined;
    const { certificate, tlsBinding } = json;
    const signature = typeof tlsBinding === "string" ? fromBase64(tlsBinding) : undefined;
    return typeof certificate === "string" && signature !== undefined ? { certificate, tlsBinding: signature } : undefined;
  } catch {
    return undefined; // Not JSON: some other server's certificate.
  }
}

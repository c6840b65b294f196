import { base32, isKeyId, isMeshId, type KeyId, type MeshId, ok, type Random, type Result, refuse } from "../base/index.ts";
import { SEED_BYTES, type Signer, sha256, signerFromSeed } from "./crypto.ts";
import { base64Url, fromBase64Url } from "./encodings.ts";

/** `seed` is the secret: it goes into a key file or a text form of `formatSecretKey`, nowhere else. */
export type KeyPair = { readonly seed: Uint8Array; readonly signer: Signer };

/** What the two settings of a user say: which key signs, and the root whose mesh it belongs to. */
export type AccessToken = { readonly keyId: KeyId; readonly meshId: MeshId };

const KEY_ID_CHARACTERS = 20;
const MESH_ID_CHARACTERS = 32;
const SECRET_PREFIX = "ccs_";
const RECOVERY_PREFIX = "ccr_";

/** A new Ed25519 key pair. */
export function generateKeyPair(random: Pick<Random, "bytes">): KeyPair {
  const seed = random.bytes(SEED_BYTES);
  return { seed, signer: signerFromSeed(seed) };
}

export function keyIdOf(publicKey: Uint8Array): KeyId {
  const id = `k${base32(sha256(publicKey)).slice(0, KEY_ID_CHARACTERS)}`;
  if (!isKeyId(id)) throw new TypeError("a key's id is not one");
  return id;
}

export function meshIdOf(rootPublicKey: Uint8Array): MeshId {
  const id = base32(sha256(rootPublicKey)).slice(0, MESH_ID_CHARACTERS);
  if (!isMeshId(id)) throw new TypeError("a mesh's id is not one");
  return id;
}

/** `<key id>.<mesh id>`: no secret, but without the mesh's fingerprint in it cc would have to trust whoever answers. */
export function formatAccessToken(token: AccessToken): string {
  return `${token.keyId}.${token.meshId}`;
}

export function parseAccessToken(text: string): Result<AccessToken> {
  const [keyId = "", meshId = "", ...more] = text.trim().split(".");
  if (more.length > 0 || !isKeyId(keyId) || !isMeshId(meshId)) {
    return refuse("BAD_USAGE", "the access token is not one: it looks like k....<mesh>, as cc-peer init and cc key create print it");
  }
  return ok({ keyId, meshId });
}

export function formatSecretKey(seed: Uint8Array): string {
  return SECRET_PREFIX + base64Url(seed);
}

/** Refusals never repeat the text: it may be a secret with one letter wrong. */
export function parseSecretKey(text: string): Result<Signer> {
  const seed = parseSeed(text, SECRET_PREFIX);
  if (seed !== undefined) return ok(signerFromSeed(seed));
  const hint = text.trim().startsWith(RECOVERY_PREFIX)
    ? "this is the mesh's recovery key; give it with --recovery-key-file"
    : "it begins with ccs_, as cc-peer init and cc key create print it; @FILE reads it from a file";
  return refuse("BAD_USAGE", `the secret key is not one: ${hint}`);
}

/** The root's own secret, which exists on paper only: it makes admin keys when all others are lost. */
export function formatRecoveryKey(seed: Uint8Array): string {
  return RECOVERY_PREFIX + base64Url(seed);
}

export function parseRecoveryKey(text: string): Result<Signer> {
  const seed = parseSeed(text, RECOVERY_PREFIX);
  if (seed !== undefined) return ok(signerFromSeed(seed));
  return refuse("BAD_USAGE", "the recovery key is not one: it begins with ccr_, as cc-peer init printed it once");
}

function parseSeed(text: string, prefix: string): Uint8Array | undefined {
  const trimmed = text.trim();
  if (!trimmed.startsWith(prefix)) return undefined;
  const seed = fromBase64Url(trimmed.slice(prefix.length));
  return seed?.length === SEED_BYTES ? seed : undefined;
}

import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from "node:crypto";

/** Holds an Ed25519 private key and shows only what it makes with it. */
export interface Signer {
  /** Raw, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** A port, so that the simulator can put a cheap one in its place. False for anything malformed; never throws. */
export interface Verifier {
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

export const PUBLIC_KEY_BYTES = 32;
export const SEED_BYTES = 32;
export const SIGNATURE_BYTES = 64;
/** Certificates and gossiped records are checked again and again: a remembered success costs a hash (2 µs), not a curve (120 µs). */
const MEMO_ENTRIES_MAX = 8_192;
const KEY_OBJECTS_MAX = 1_024;

// RFC 8410: the fixed DER heads of an Ed25519 private key (PKCS #8) and public key (SPKI); the raw key follows.
const PKCS8_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI_HEAD = Buffer.from("302a300506032b6570032100", "hex");

export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const first = parts[0];
  const input = parts.length === 1 && first !== undefined ? first : Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
  return new Uint8Array(hash("sha256", input, "buffer"));
}

/** Throws RangeError unless the seed has 32 bytes. The public key is worked out only when somebody asks for it. */
export function signerFromSeed(seed: Uint8Array): Signer {
  if (seed.length !== SEED_BYTES) throw new RangeError(`an Ed25519 seed has ${SEED_BYTES} bytes`);
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: "der", type: "pkcs8" });
  let publicKey: Uint8Array | undefined;
  return {
    get publicKey(): Uint8Array {
      publicKey ??= new Uint8Array(createPublicKey(privateKey).export({ format: "der", type: "spki" }).subarray(-PUBLIC_KEY_BYTES));
      return publicKey;
    },
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
  };
}

/** Real Ed25519 with a bounded memory of what it found true. What it found false is not kept: a flood of rubbish pushes nothing out. */
export function createEd25519Verifier(memoEntriesMax = MEMO_ENTRIES_MAX): Verifier {
  const found = new Set<string>();
  const keys = new Map<string, KeyObject>();

  const keyObject = (publicKey: Uint8Array): KeyObject => {
    const name = Buffer.from(publicKey).toString("latin1");
    const known = keys.get(name);
    if (known !== undefined) return known;
    const made = createPublicKey({ key: Buffer.concat([SPKI_HEAD, publicKey]), format: "der", type: "spki" });
    keys.set(name, made);
    forgetOldest(keys, KEY_OBJECTS_MAX);
    return made;
  };

  return {
    verify: (publicKey, message, signature) => {
      if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
      // Key and signature have fixed lengths, so the concatenation stands for one triple only.
      const triple = Buffer.from(sha256(publicKey, signature, message)).toString("latin1");
      if (found.has(triple)) return true;
      if (!verify(null, message, keyObject(publicKey), signature)) return false;
      found.add(triple);
      forgetOldest(found, memoEntriesMax);
      return true;
    },
  };
}

function forgetOldest(entries: Map<string, unknown> | Set<string>, max: number): void {
  if (entries.size <= max) return;
  for (const oldest of entries.keys()) {
    entries.delete(oldest);
    return;
  }
}

export const ed25519Verifier: Verifier = createEd25519Verifier();

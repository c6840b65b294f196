import { createSecretKey, type KeyObject } from "node:crypto";
import type { ICryptoInterface } from "@libp2p/noise";
import { defaultCrypto, nodeCrypto } from "@libp2p/noise/crypto";

type Ciphers = Pick<ICryptoInterface, "chaCha20Poly1305Encrypt" | "chaCha20Poly1305Decrypt">;
/** What Node's ciphers really take. */
type KeyedCiphers = {
  chaCha20Poly1305Encrypt(...of: [...Shared<"chaCha20Poly1305Encrypt">, key: Uint8Array | KeyObject]): ReturnType<Ciphers["chaCha20Poly1305Encrypt"]>;
  chaCha20Poly1305Decrypt(...of: [...Shared<"chaCha20Poly1305Decrypt">, key: Uint8Array | KeyObject]): ReturnType<Ciphers["chaCha20Poly1305Decrypt"]>;
};
/** Text, nonce and additional data. */
type Shared<C extends keyof Ciphers> = [text: Parameters<Ciphers[C]>[0], nonce: Uint8Array, ad: Uint8Array];

/** From here on noise itself takes Node's ciphers: below, entering native code costs more than it saves. */
const NATIVE_BYTES = 1_200;

const native: KeyedCiphers = nodeCrypto;
const keys = new WeakMap<Uint8Array, KeyObject>();

function keyOf(bytes: Uint8Array): KeyObject {
  const known = keys.get(bytes) ?? createSecretKey(bytes);
  keys.set(bytes, known);
  return known;
}

/** Noise's own cryptography, but a key is made Node's once a connection: done for each message, that is as much work as 64 KiB of chacha20-poly1305. */
export const noiseCrypto: ICryptoInterface = {
  ...defaultCrypto,
  chaCha20Poly1305Encrypt: (text, nonce, ad, key) =>
    text.byteLength < NATIVE_BYTES ? defaultCrypto.chaCha20Poly1305Encrypt(text, nonce, ad, key) : native.chaCha20Poly1305Encrypt(text, nonce, ad, keyOf(key)),
  chaCha20Poly1305Decrypt: (text, nonce, ad, key, to) =>
    text.byteLength < NATIVE_BYTES
      ? defaultCrypto.chaCha20Poly1305Decrypt(text, nonce, ad, key, to)
      : native.chaCha20Poly1305Decrypt(text, nonce, ad, keyOf(key)),
};

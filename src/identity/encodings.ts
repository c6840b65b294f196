/**
 * Text forms of bytes. Decoders take the one canonical spelling only: two texts for the same bytes would be two
 * signatures, ids or records for one thing.
 */
export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

export function base64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url");
}

/** Undefined unless `text` is canonical base64 with padding. */
export function fromBase64(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Buffer.from(text, "base64"));
  return base64(bytes) === text ? bytes : undefined;
}

/** Undefined unless `text` is canonical base64url without padding. */
export function fromBase64Url(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Buffer.from(text, "base64url"));
  return base64Url(bytes) === text ? bytes : undefined;
}

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** base58btc without multibase prefix. Quadratic: for ids, not for data. */
export function base58(bytes: Uint8Array): string {
  const zeros = bytes.findIndex((byte) => byte !== 0);
  const leading = zeros === -1 ? bytes.length : zeros;
  let rest = bytes.length === leading ? 0n : BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
  let text = "";
  while (rest > 0n) {
    text = BASE58.charAt(Number(rest % 58n)) + text;
    rest /= 58n;
  }
  return "1".repeat(leading) + text;
}

/** Undefined unless `text` is base58btc for exactly `length` bytes. */
export function fromBase58(text: string, length: number): Uint8Array | undefined {
  // 58^1.4 > 256: longer texts stand for more bytes, and are not worth the big numbers.
  if (text.length > length * 1.4 + 1) return undefined;
  let value = 0n;
  for (const letter of text) {
    const digit = BASE58.indexOf(letter);
    if (digit === -1) return undefined;
    value = value * 58n + BigInt(digit);
  }
  const hex = value.toString(16).padStart(length * 2, "0");
  if (hex.length !== length * 2) return undefined;
  const bytes = new Uint8Array(Buffer.from(hex, "hex"));
  return base58(bytes) === text ? bytes : undefined;
}

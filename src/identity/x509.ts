import { isIP } from "node:net";

/**
 * Just enough DER (X.690) for one self-signed X.509 v3 certificate (RFC 5280) of a P-256 key. What it says to its reader
 * stands in one URI; dates and issuer mean nothing to us, so none of them can be wrong.
 */
export type CertificateInit = {
  /** SubjectPublicKeyInfo of the P-256 key, DER. */
  readonly spki: Uint8Array;
  readonly commonName: string;
  /** 16 bytes. */
  readonly serial: Uint8Array;
  readonly uri: string;
  /** DNS names and IP addresses. */
  readonly names: readonly string[];
  /** ECDSA with SHA-256 over the given bytes, the signature in DER. */
  readonly sign: (bytes: Uint8Array) => Uint8Array;
};

const Tag = { integer: 0x02, bitString: 0x03, octetString: 0x04, utf8: 0x0c, time: 0x18, sequence: 0x30, set: 0x31 } as const;
/** GeneralName's context tags. */
const NameTag = { dns: 0x82, uri: 0x86, ip: 0x87 } as const;

// Object identifiers, whole.
const ECDSA_WITH_SHA256 = Buffer.from("06082a8648ce3d040302", "hex");
const COMMON_NAME = Buffer.from("0603550403", "hex");
const SUBJECT_ALT_NAME = Buffer.from("0603551d11", "hex");
const BASIC_CONSTRAINTS = Buffer.from("0603551d13", "hex");
const KEY_USAGE = Buffer.from("0603551d0f", "hex");
const EXTENDED_KEY_USAGE = Buffer.from("0603551d25", "hex");
const SERVER_AUTH = Buffer.from("06082b06010505070301", "hex");
const TRUE = Uint8Array.of(0x01, 0x01, 0xff);
const DIGITAL_SIGNATURE = Uint8Array.of(Tag.bitString, 0x02, 0x07, 0x80);
/** RFC 5280, 4.1.2.5: 99991231235959Z says "no end". */
const NOT_BEFORE = "20200101000000Z";
const NOT_AFTER = "99991231235959Z";

export function selfSignedCertificate(init: CertificateInit): Uint8Array {
  const algorithm = der(Tag.sequence, ECDSA_WITH_SHA256);
  const name = der(Tag.sequence, der(Tag.set, der(Tag.sequence, COMMON_NAME, der(Tag.utf8, Buffer.from(init.commonName)))));
  const body = der(
    Tag.sequence,
    der(0xa0, der(Tag.integer, Uint8Array.of(2))),
    // The first byte is 0x01 to 0x7f: a positive number in its shortest form.
    der(
      Tag.integer,
      init.serial.map((byte, at) => (at === 0 ? (byte & 0x3f) | 0x40 : byte)),
    ),
    algorithm,
    name,
    der(Tag.sequence, der(Tag.time, Buffer.from(NOT_BEFORE)), der(Tag.time, Buffer.from(NOT_AFTER))),
    name,
    init.spki,
    der(
      0xa3,
      der(
        Tag.sequence,
        extension(BASIC_CONSTRAINTS, true, der(Tag.sequence)),
        extension(KEY_USAGE, true, DIGITAL_SIGNATURE),
        extension(EXTENDED_KEY_USAGE, false, der(Tag.sequence, SERVER_AUTH)),
        extension(SUBJECT_ALT_NAME, false, der(Tag.sequence, der(NameTag.uri, Buffer.from(init.uri)), ...init.names.map(generalName))),
      ),
    ),
  );
  return der(Tag.sequence, body, algorithm, der(Tag.bitString, Uint8Array.of(0), init.sign(body)));
}

export function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function extension(oid: Uint8Array, critical: boolean, value: Uint8Array): Uint8Array {
  return critical ? der(Tag.sequence, oid, TRUE, der(Tag.octetString, value)) : der(Tag.sequence, oid, der(Tag.octetString, value));
}

function generalName(name: string): Uint8Array {
  const family = isIP(name);
  if (family === 4) return der(NameTag.ip, Uint8Array.from(name.split("."), Number));
  return family === 6 ? der(NameTag.ip, ipv6Bytes(name)) : der(NameTag.dns, Buffer.from(name));
}

function ipv6Bytes(address: string): Uint8Array {
  // The URL parser gives one spelling: hexadecimal groups, at most one "::".
  const [head = "", tail] = new URL(`http://[${address.split("%")[0]}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const before = groups(head);
  const after = groups(tail ?? "");
  const all = [...before, ...new Array<string>(8 - before.length - after.length).fill("0"), ...after];
  return new Uint8Array(Buffer.from(all.map((group) => group.padStart(4, "0")).join(""), "hex"));
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const size: number[] = [];
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256)) size.unshift(rest % 256);
  const head = content.length < 0x80 ? [tag, content.length] : [tag, 0x80 | size.length, ...size];
  return new Uint8Array(Buffer.concat([Uint8Array.from(head), content]));
}

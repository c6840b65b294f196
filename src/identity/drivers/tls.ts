import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { chmod, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { CcError, type Random } from "../../base/index.ts";
import { errorCode, makeFolderDurably, writeFileDurably } from "../../host/index.ts";
import type { HostCertificate } from "../certificate.ts";
import type { Signer } from "../crypto.ts";
import { chainUri } from "../peer-certificate.ts";
import { pem, selfSignedCertificate } from "../x509.ts";

/** PEM texts for node:tls. `key` is a secret. */
export type TlsIdentity = { readonly key: string; readonly certificate: string };

const KEY_FILE_MODE = 0o600;

/**
 * The peer's TLS key (made at the first call, kept in `keyFile`, 0600) and a certificate for it that carries the chain to
 * the mesh's root. The certificate is made anew each time: addresses change, and nobody remembers it.
 */
export async function loadTlsIdentity(init: {
  readonly keyFile: string;
  readonly certificate: HostCertificate;
  readonly hostKey: Signer;
  /** DNS names and IP addresses at which the peer answers; localhost and the loopback addresses are added. */
  readonly names: readonly string[];
  readonly random: Pick<Random, "bytes">;
}): Promise<TlsIdentity> {
  const key = await loadKey(init.keyFile);
  const spki = new Uint8Array(createPublicKey(key).export({ type: "spki", format: "der" }));
  const certificate = selfSignedCertificate({
    spki,
    commonName: init.certificate.peerId,
    serial: init.random.bytes(16),
    uri: chainUri(init.certificate, init.hostKey, spki),
    names: [...new Set(["localhost", "127.0.0.1", "::1", ...init.names])],
    sign: (bytes) => sign("sha256", bytes, key),
  });
  return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), certificate: pem("CERTIFICATE", certificate) };
}

async function loadKey(path: string): Promise<KeyObject> {
  try {
    const text = await readFile(path, "utf8");
    await chmod(path, KEY_FILE_MODE);
    return keyIn(path, text);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  await makeFolderDurably(dirname(path));
  await writeFileDurably(path, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: KEY_FILE_MODE });
  return privateKey;
}

function keyIn(path: string, text: string): KeyObject {
  const broken = (cause?: unknown): CcError =>
    new CcError("INTERNAL", `${path} holds no P-256 key; remove it, and a new one is made at the next start`, { cause });
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch (error) {
    throw broken(error);
  }
  if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw broken();
  return key;
}

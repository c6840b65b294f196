import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { CcError, type MeshId, type PeerId, type Zone } from "../../src/base/index.ts";
import { errorCode, makeFolderDurably, writeFileDurably } from "../../src/host/index.ts";
import {
  base64Url,
  decodeCertificate,
  ed25519Verifier,
  encodeCertificate,
  fromBase64Url,
  type HostCertificate,
  meshIdOf,
  peerIdOf,
  type Signer,
  signerFromSeed,
  verifyHostCertificate,
} from "../../src/identity/index.ts";
import type { paths } from "./config.ts";
import { must } from "./must.ts";

export type Paths = ReturnType<typeof paths>;

/** Who this host is: its key, and why it is a member. */
export type HostIdentityFiles = {
  readonly seed: Uint8Array;
  readonly signer: Signer;
  readonly peer: PeerId;
  readonly zone: Zone;
  readonly meshId: MeshId;
  readonly certificate: HostCertificate;
};

/** Where a joiner finds the mesh before it holds any record: what the issuer told it. */
export type KnownNeighbour = {
  readonly peer: string;
  readonly addresses: readonly string[];
  readonly endpoints: readonly string[];
  readonly certificate: string;
};

/** Throws CONFLICT when this data folder already belongs to a mesh. */
export function mustBeNobody(files: Paths): void {
  if (existsSync(files.certificate)) {
    throw new CcError(
      "CONFLICT",
      `this host is already a member of a mesh (${dirname(files.certificate)}); to start anew, remove it with \`cc host remove\` and delete that folder`,
    );
  }
}

/** The key first, the certificate last: a crash in between leaves a host that is nobody yet. */
export async function writeIdentity(files: Paths, seed: Uint8Array, certificate: HostCertificate, neighbours: readonly KnownNeighbour[]): Promise<void> {
  await makeFolderDurably(dirname(files.hostKey));
  await writeFileDurably(files.hostKey, base64Url(seed));
  await writeFileDurably(files.neighbours, JSON.stringify(neighbours));
  await writeFileDurably(files.certificate, encodeCertificate(certificate));
}

/** Throws NOT_A_MEMBER with what to do when there is no identity, or when its parts do not belong together. */
export async function readIdentity(files: Paths): Promise<HostIdentityFiles> {
  const text = await readOptional(files.certificate);
  const key = await readOptional(files.hostKey);
  if (text === undefined || key === undefined) {
    throw new CcError("NOT_A_MEMBER", "this host belongs to no mesh yet: make one with `cc-peer init`, or join one with `cc-peer join INVITE`");
  }
  const certificate = must(decodeCertificate(text));
  const seed = fromBase64Url(key.trim());
  if (seed === undefined) throw new CcError("NOT_A_MEMBER", `${files.hostKey} holds no key: restore it, or remove this host and join again`);
  const signer = signerFromSeed(seed);
  const meshId = meshIdOf(certificate.rootPublicKey);
  const member = must(verifyHostCertificate(certificate, meshId, ed25519Verifier));
  if (peerIdOf(signer.publicKey) !== member.peerId) throw new CcError("NOT_A_MEMBER", `${files.hostKey} is not the key of ${files.certificate}`);
  return { seed, signer, peer: member.peerId, zone: member.zone, meshId, certificate };
}

export async function readNeighbours(files: Paths): Promise<readonly KnownNeighbour[]> {
  const text = await readOptional(files.neighbours);
  return text === undefined ? [] : (JSON.parse(text) as readonly KnownNeighbour[]);
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

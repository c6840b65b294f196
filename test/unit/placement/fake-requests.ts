import { createHash } from "node:crypto";
import { type KeyId, ok, type PeerId, refuse } from "../../../src/base/index.ts";
import { peerIdOf, type Verifier } from "../../../src/identity/index.ts";
import type { Requirements, RunAsked, RunRequests } from "../../../src/placement/index.ts";

export const MESH_ID = "abcdefghijklmnopqrstuvwxyz234567";
export const KEY = `k${"a".repeat(20)}` as KeyId;
export const MIB = 1024 ** 2;

export const sha = (...parts: (Uint8Array | string)[]): Uint8Array => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};
const cheapSignature = (publicKey: Uint8Array, message: Uint8Array): Uint8Array =>
  new Uint8Array([...sha("1", publicKey, message), ...sha("2", publicKey, message)]);
export const cheapVerifier: Verifier = { verify: (key, message, signature) => Buffer.compare(cheapSignature(key, message), signature) === 0 };
export const keysOf = (seed: string): { peer: PeerId; sign: (message: Uint8Array) => Uint8Array } => {
  const publicKey = sha(seed);
  return { peer: peerIdOf(publicKey), sign: (message) => cheapSignature(publicKey, message) };
};

export type SpecOptions = Partial<Requirements> & { readonly command?: string };
export type Body = {
  to: { call: string; mesh: string; peer: string };
  token: string;
  spec: SpecOptions;
  askedBefore: PeerId[];
  nonce: string;
  signedAtMs: number;
};

const decoder = new TextDecoder();
export const requests: RunRequests = {
  check: (request) => Promise.resolve(request.signature === "forged" ? refuse("UNAUTHENTICATED", "the signature is not the key's") : requests.read(request)),
  read: (request) => {
    const body = JSON.parse(decoder.decode(request.body)) as Body;
    const { spec } = body;
    const requirements: Requirements = {
      name: "",
      image: "alpine",
      memoryBytes: 64 * MIB,
      diskBytes: 64 * MIB,
      cpuShares: 1024,
      labels: {},
      host: "",
      zone: "",
      volumes: [],
      vpc: undefined,
      publish: [],
      publishEverywhere: false,
      ...spec,
    };
    return ok({
      key: KEY,
      token: body.token,
      nonce: body.nonce,
      signedAtMs: body.signedAtMs,
      addressedTo: body.to.peer as PeerId,
      requirements,
      askedBefore: body.askedBefore,
      spec: JSON.stringify(spec),
    } satisfies RunAsked);
  },
};

import { hash } from "node:crypto";
import type { KeyId, MeshId, PeerId, Result } from "../../../src/base/index.ts";
import {
  type Act,
  type ActJournal,
  base64Url,
  countersign,
  generateKeyPair,
  type HostCertificate,
  inviteIdOf,
  type KeyPair,
  keyIdOf,
  meshIdOf,
  parseAdminRequest,
  peerIdOf,
  type Role,
  type SignedRequest,
  type StampedRecord,
  signBinding,
  signRequest,
} from "../../../src/identity/index.ts";

const pairs = new Map<string, KeyPair>();

/** The same name gives the same key. */
export function keyPair(name: string): KeyPair {
  const pair = pairs.get(name) ?? generateKeyPair({ bytes: (length) => new Uint8Array(hash("sha256", name, "buffer")).subarray(0, length) });
  pairs.set(name, pair);
  return pair;
}

export const keyId = (name: string): KeyId => keyIdOf(keyPair(name).signer.publicKey);
export const peerId = (name: string): PeerId => peerIdOf(keyPair(name).signer.publicKey);
export const ROOT = keyPair("root");
export const MESH: MeshId = meshIdOf(ROOT.signer.publicKey);
export const PEER = peerId("peer 1");
/** Wall clock at which the tests' requests are signed, in seconds. */
export const CREATED_S = 1_800_000_000;

let nonces = 0;

export type SignOptions = {
  readonly by?: string;
  readonly peer?: PeerId;
  readonly createdS?: number;
  readonly mesh?: string;
  readonly nonce?: string;
  readonly unsigned?: boolean;
};

/** A JSON request of a call, signed by the named key. */
export function request(call: string, fields: object, options: SignOptions = {}): SignedRequest {
  const by = options.by ?? "root";
  nonces += 1;
  const body = Buffer.from(JSON.stringify({ to: { call, mesh: options.mesh ?? MESH, peer: options.peer ?? PEER }, ...fields }));
  const { signatureInput, signature } = signRequest({
    body,
    keyId: keyId(by),
    signer: options.unsigned === true ? { sign: () => new Uint8Array(64) } : keyPair(by).signer,
    createdS: options.createdS ?? CREATED_S,
    nonce: options.nonce ?? `nonce-${String(nonces).padStart(12, "0")}`,
  });
  return { body, signatureInput, signature };
}

export function grant(name: string, role: Role, options: SignOptions = {}): SignedRequest {
  return request(
    "CreateKey",
    { token: `make ${name}`, publicKey: base64Url(keyPair(name).signer.publicKey), role, name: name.replaceAll(/[^a-z0-9]/g, "-") },
    options,
  );
}

export function invitation(name: string, fields: object = {}, options: SignOptions = {}): SignedRequest {
  return request(
    "CreateInvite",
    { token: `invite ${name}`, zone: "attic", uses: 1, validForMs: 3_600_000, publicKey: base64Url(keyPair(`invite ${name}`).signer.publicKey), ...fields },
    options,
  );
}

export type StampOptions = { readonly atMs?: number; readonly counter?: number; readonly writer?: PeerId };

/** The record that a request became, stamped by its addressed peer. `atMs` counts from the signed time. */
export function record(signed: SignedRequest, options: StampOptions = {}): StampedRecord {
  const { recordKey, to, parameters } = value(parseAdminRequest(signed));
  const stamp = { writer: options.writer ?? (to.peer as PeerId), timeMs: parameters.createdS * 1000 + (options.atMs ?? 0), counter: options.counter ?? 0 };
  return { key: recordKey, request: signed, stamp };
}

export function value<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`${result.code}: ${result.message}`);
  return result.value;
}

/** A host admitted by `issuer` with the invite of that name, signed by `by`. */
export function certificateOf(
  host: string,
  options: SignOptions & {
    readonly issuer?: string;
    readonly chain?: readonly SignedRequest[];
    readonly atMs?: number;
    readonly uses?: number;
    readonly useNumber?: number;
  } = {},
): HostCertificate {
  const issuer = options.issuer ?? "peer 1";
  const by = options.by ?? "root";
  const invite = value(parseAdminRequest(invitation(host, { uses: options.uses ?? 1 }, { ...options, by, peer: peerId(issuer) })));
  if (invite.kind !== "invite") throw new Error("not an invite");
  const binding = signBinding(keyPair(`invite ${host}`).signer, inviteIdOf(keyId(by), `invite ${host}`), peerId(host));
  const subject = {
    rootPublicKey: ROOT.signer.publicKey,
    chain: options.chain ?? [],
    invite: invite.request,
    peerId: peerId(host),
    name: host.replaceAll(" ", "-"),
    binding,
  };
  return countersign(keyPair(issuer).signer, subject, invite, { atMs: options.atMs ?? CREATED_S * 1000 + 60_000, useNumber: options.useNumber ?? 1 });
}

/** A journal whose `lasting` are the acts that a power cut leaves. */
export class MemoryJournal implements ActJournal {
  kept: Act[] = [];
  lasting: Act[] = [];
  forgottenBelowS = Number.NEGATIVE_INFINITY;
  /** What the next writing fails with. */
  failure: Error | undefined;

  async load(): Promise<readonly Act[]> {
    return this.kept;
  }

  async keep(act: Act, isDurable: boolean): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.kept.push(act);
    if (isDurable) this.lasting.push(act);
  }

  async forget(belowS: number): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.forgottenBelowS = belowS;
  }
}

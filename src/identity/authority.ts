import type { InviteId, KeyId, MeshId, PeerId } from "../base/index.ts";
import { keyIdOf, meshIdOf } from "./access.ts";
import { type AdminRequest, type HostInvite, type HostRemoval, type KeyGrant, type KeyRevocation, parseAdminRequest, type Role } from "./admin-requests.ts";
import type { Verifier } from "./crypto.ts";
import { groupBy } from "./group-by.ts";
import { type Chain, chainsOf, isInChain, type Revocations, rootChain, type Stamped, type StampedRevocation, stands } from "./key-chains.ts";
import { verifyRequest } from "./request-signature.ts";
import { compareRoles } from "./roles.ts";
import { compareMoments, effectiveStamps, type Moment, NEVER, readStamped, type Stamp, type StampedRecord } from "./stamps.ts";

export type KeyStanding = {
  readonly keyId: KeyId;
  readonly publicKey: Uint8Array;
  /** The highest that anybody who may has given it. */
  readonly role: Role;
  readonly name: string;
  readonly isRoot: boolean;
  /** Undefined for the root. */
  readonly signedBy: KeyId | undefined;
  readonly createdAtMs: number;
  /** live: may sign; revoked: what it signed before stays; void: its own record does not count (its signer was revoked and did not keep it). */
  readonly state: "live" | "revoked" | "void";
  /** When it ended, unless it is live. */
  readonly endedAtMs: number | undefined;
};

/**
 * What a set of admin/ records amounts to: the same set gives the same, in any order, on every host. Everything in it is
 * decided anew on reading; no record is ever thrown away for it.
 */
export type Authority = {
  readonly meshId: MeshId;
  readonly rootKeyId: KeyId;
  readonly keys: ReadonlyMap<KeyId, KeyStanding>;
  /** Valid ones, expired or not. */
  readonly invites: ReadonlyMap<InviteId, HostInvite>;
  /** Final. Of several the first stamped counts. */
  readonly removals: ReadonlyMap<PeerId, HostRemoval & { readonly stamp: Stamp }>;
  /** Record keys of those that count. */
  readonly standing: ReadonlySet<string>;
  /** Record keys of those that do not: signed by nobody known, outside of a revocation's list, stamped wrongly. */
  readonly voided: ReadonlySet<string>;
  /** Record keys of what stands, by the key that signed it: what `cc key revoke` shows and lists. */
  readonly signed: ReadonlyMap<KeyId, readonly string[]>;
  readonly chains: ReadonlyMap<KeyId, readonly Chain[]>;
  readonly revocations: Revocations;
  readonly stamps: ReadonlyMap<string, Stamp>;
};

export function computeAuthority(input: {
  readonly rootPublicKey: Uint8Array;
  readonly records: Iterable<StampedRecord>;
  readonly verifier: Verifier;
}): Authority {
  const rootKeyId = keyIdOf(input.rootPublicKey);
  const meshId = meshIdOf(input.rootPublicKey);
  const all = [...input.records];
  const facts = signedFacts(all, meshId, input.rootPublicKey, input.verifier);
  const revocations = groupBy(facts.filter(isRevocation), (revocation) => revocation.fact.target);
  const chains = chainsOf(rootChain(rootKeyId, input.rootPublicKey), facts.filter(isGrant), revocations);
  // In the order of stamps: of two that say the same the first counts.
  const valid = facts.filter((fact) => (chains.get(fact.fact.parameters.keyId) ?? []).some((chain) => stands(chain, fact)) || isOwnRevocation(fact, chains));
  const standing = new Set<string>(valid.map(({ fact }) => fact.recordKey));
  const invites = new Map<InviteId, HostInvite>();
  const removals = new Map<PeerId, HostRemoval & { readonly stamp: Stamp }>();
  for (const { fact, stamp } of valid) {
    if (fact.kind === "invite" && !invites.has(fact.inviteId)) invites.set(fact.inviteId, fact);
    if (fact.kind === "removal" && !removals.has(fact.host)) removals.set(fact.host, { ...fact, stamp });
  }
  return {
    meshId,
    rootKeyId,
    keys: new Map([...chains].map(([keyId, ways]) => [keyId, standingOf(ways)])),
    invites,
    removals,
    standing,
    voided: new Set(all.map(({ key }) => key).filter((key) => !standing.has(key))),
    signed: new Map([...groupBy(valid, ({ fact }) => fact.parameters.keyId)].map(([keyId, signed]) => [keyId, signed.map(({ fact }) => fact.recordKey)])),
    chains,
    revocations,
    stamps: new Map(facts.map(({ fact, stamp }) => [fact.recordKey, stamp])),
  };
}

type StampedFact = { readonly fact: AdminRequest; readonly stamp: Stamp };

/** Those that are what their record key says, stamped by whom they address, and signed by the key that they name. */
function signedFacts(records: readonly StampedRecord[], meshId: MeshId, rootPublicKey: Uint8Array, verifier: Verifier): StampedFact[] {
  const read: (StampedRecord & StampedFact)[] = [];
  for (const record of records) {
    const fact = parseAdminRequest(record.request);
    if (fact.ok && fact.value.recordKey === record.key && readStamped(record.request, record.stamp, meshId).ok) read.push({ ...record, fact: fact.value });
  }
  // A key's id is the hash of the key: whoever made a record of it, the id leads to this key only.
  const publicKeys = new Map([[keyIdOf(rootPublicKey), rootPublicKey]]);
  for (const { fact } of read) if (fact.kind === "key") publicKeys.set(fact.keyId, fact.publicKey);
  const signed = read.filter(({ fact }) => {
    const publicKey = publicKeys.get(fact.parameters.keyId);
    return publicKey !== undefined && verifyRequest(fact.request, publicKey, verifier);
  });
  return effectiveStamps(signed);
}

/** Whether a revocation by `signer` would end any way to `target`: the root, a key above it, or the key itself. */
export function mayRevoke(authority: Authority, signer: KeyId, target: KeyId): boolean {
  if (signer === target) return target !== authority.rootKeyId;
  return (authority.chains.get(target) ?? []).some((chain) => chain.parent !== undefined && isInChain(chain.parent, signer));
}

/** Any key may end itself, whatever its role. */
function isOwnRevocation({ fact }: StampedFact, chains: ReadonlyMap<KeyId, readonly Chain[]>): boolean {
  return (
    fact.kind === "revocation" &&
    fact.target === fact.parameters.keyId &&
    (chains.get(fact.target) ?? []).some((chain) => chain.revocations.some((counting) => counting.fact === fact))
  );
}

function standingOf(ways: readonly Chain[]): KeyStanding {
  const [best, ...others] = ways;
  if (best === undefined) throw new TypeError("a key without a way to it");
  const live = ways.filter((way) => way.endsAt === NEVER);
  const role = (live.length > 0 ? live : [best]).reduce((highest, way) => (compareRoles(way.role, highest) > 0 ? way.role : highest), best.role);
  const shown = [best, ...others].find((way) => way.role === role && (live.length === 0 || live.includes(way))) ?? best;
  const state = live.length > 0 ? "live" : ways.some((way) => way.cutAt === NEVER) ? "revoked" : "void";
  return {
    keyId: shown.keyId,
    publicKey: shown.publicKey,
    role,
    name: shown.grant?.fact.name ?? "root",
    isRoot: shown.parent === undefined,
    signedBy: shown.parent?.keyId,
    createdAtMs: shown.grant?.stamp?.timeMs ?? 0,
    state,
    endedAtMs: state === "live" ? undefined : latest(ways.map((way) => way.endsAt)).timeMs,
  };
}

function latest(moments: readonly Moment[]): Moment {
  return moments.reduce((a, b) => (compareMoments(a, b) < 0 ? b : a));
}

function isGrant(fact: StampedFact): fact is Stamped<KeyGrant> & StampedFact & { readonly fact: KeyGrant } {
  return fact.fact.kind === "key";
}

function isRevocation(fact: StampedFact): fact is StampedRevocation & { readonly fact: KeyRevocation } {
  return fact.fact.kind === "revocation";
}

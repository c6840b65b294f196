import type { KeyId } from "../base/index.ts";
import type { AdminRequest, KeyGrant, KeyRevocation, Role } from "./admin-requests.ts";
import { groupBy } from "./group-by.ts";
import { compareRoles } from "./roles.ts";
import { compareMoments, compareText, earlier, isBefore, type Moment, NEVER, type Stamp } from "./stamps.ts";

/** A request that made an admin/ record. `stamp` is missing where only a certificate shows it and no record is known. */
export type Stamped<R extends AdminRequest> = { readonly fact: R; readonly stamp: Stamp | undefined };
export type StampedRevocation = { readonly fact: KeyRevocation; readonly stamp: Stamp };

/** By the key that they are about. */
export type Revocations = ReadonlyMap<KeyId, readonly StampedRevocation[]>;

/** One way from the root to a key. */
export type Chain = {
  readonly keyId: KeyId;
  readonly publicKey: Uint8Array;
  readonly role: Role;
  readonly grant: Stamped<KeyGrant> | undefined;
  readonly parent: Chain | undefined;
  readonly depth: number;
  /** When this way was cut above the key, by a revocation that does not keep the next grant. */
  readonly cutAt: Moment;
  /** Those that count against the key itself on this way. */
  readonly revocations: readonly StampedRevocation[];
  /** From here on nothing that the key signs as a user counts. */
  readonly endsAt: Moment;
  /** Names the way; the same everywhere. */
  readonly path: string;
};

/** Keys below the root. Each hand that a power passes through is one more that can be stolen. */
const CHAIN_DEPTH_MAX = 8;
/**
 * Ways that are remembered per key and role. More than one exists only where several admins vouch for one key; a bound,
 * because admins who sign one another's keys in a ring have as many ways as permutations.
 */
const CHAINS_PER_KEY_MAX = 16;

export function rootChain(keyId: KeyId, publicKey: Uint8Array): Chain {
  return { keyId, publicKey, role: "admin", grant: undefined, parent: undefined, depth: 0, cutAt: NEVER, revocations: [], endsAt: NEVER, path: "" };
}

/** The chain one key longer. The grant has to be signed by the chain's key. */
export function extendChain(parent: Chain, grant: Stamped<KeyGrant>, all: Revocations): Chain {
  const cutAt = parent.revocations.filter((revocation) => !keeps(revocation, grant)).reduce((moment, { stamp }) => earlier(moment, stamp), parent.cutAt);
  const { keyId, publicKey, role, recordKey } = grant.fact;
  const revocations = countingAgainst(keyId, parent, all.get(keyId) ?? []);
  const endsAt = revocations.reduce((moment, { stamp }) => earlier(moment, stamp), cutAt);
  return { keyId, publicKey, role, grant, parent, depth: parent.depth + 1, cutAt, revocations, endsAt, path: `${parent.path}>${recordKey}` };
}

/** Whether what the chain's key signed as an admin counts. */
export function stands(chain: Chain, fact: Stamped<AdminRequest>): boolean {
  return chain.role === "admin" && chain.cutAt === NEVER && chain.revocations.every((revocation) => keeps(revocation, fact));
}

export function isInChain(chain: Chain, keyId: KeyId): boolean {
  for (let link: Chain | undefined = chain; link !== undefined; link = link.parent) if (link.keyId === keyId) return true;
  return false;
}

/**
 * All ways from the root to all keys, level by level. A key's ways are judged apart: a revocation counts on the ways that
 * lead through its signer, so no admin gets above another by vouching for it, and none undoes a revocation by vouching.
 */
export function chainsOf(root: Chain, grants: readonly Stamped<KeyGrant>[], all: Revocations): ReadonlyMap<KeyId, readonly Chain[]> {
  const bySigner = groupBy(
    [...grants].sort((a, b) => compareText(a.fact.recordKey, b.fact.recordKey)),
    (grant) => grant.fact.parameters.keyId,
  );
  const found = new Map<string, readonly Chain[]>();
  let level: readonly Chain[] = [root];
  for (let depth = 1; depth <= CHAIN_DEPTH_MAX && level.length > 0; depth += 1) {
    const longer = level
      .filter((chain) => chain.role === "admin")
      .flatMap((chain) =>
        (bySigner.get(chain.keyId) ?? []).filter((grant) => !isInChain(chain, grant.fact.keyId)).map((grant) => extendChain(chain, grant, all)),
      );
    const next: Chain[] = [];
    for (const [name, chains] of groupBy(longer, ({ keyId, role }) => `${keyId} ${role}`)) {
      const best = [...(found.get(name) ?? []), ...chains].sort(compareChains).slice(0, CHAINS_PER_KEY_MAX);
      found.set(name, best);
      next.push(...best.filter((chain) => chain.depth === depth));
    }
    level = next;
  }
  return groupBy([root, ...[...found.values()].flat().sort(compareChains)], ({ keyId }) => keyId);
}

/** The best first: what ends last, may most, is shortest. Total. */
function compareChains(a: Chain, b: Chain): number {
  return (
    compareMoments(b.endsAt, a.endsAt) || compareMoments(b.cutAt, a.cutAt) || compareRoles(b.role, a.role) || a.depth - b.depth || compareText(a.path, b.path)
  );
}

/** A key is revoked by the root, by a key above it on this way that may still say so, or by itself. */
function countingAgainst(keyId: KeyId, parent: Chain, revocations: readonly StampedRevocation[]): readonly StampedRevocation[] {
  const fromAbove = revocations.filter((revocation) => {
    for (let link: Chain | undefined = parent; link !== undefined; link = link.parent)
      if (link.keyId === revocation.fact.parameters.keyId) return stands(link, revocation);
    return false;
  });
  // Of a key's own revocations only the first counts, and none that a revocation from above does not keep: whoever stole
  // a revoked key must not void with it what the list keeps.
  const [own] = revocations
    .filter((revocation) => revocation.fact.parameters.keyId === keyId && fromAbove.every((above) => keeps(above, revocation)))
    .sort((a, b) => compareMoments(a.stamp, b.stamp) || compareText(a.fact.recordKey, b.fact.recordKey));
  return own === undefined ? fromAbove : [...fromAbove, own];
}

function keeps(revocation: StampedRevocation, { fact, stamp }: Stamped<AdminRequest>): boolean {
  if (revocation.fact.recordKey === fact.recordKey || revocation.fact.keep.has(fact.recordKey)) return true;
  return revocation.fact.keepAll && stamp !== undefined && isBefore(stamp, revocation.stamp);
}

import type { Authority } from "./authority.ts";
import type { HostIdentity } from "./certificate.ts";
import { type Chain, extendChain, rootChain, stands } from "./key-chains.ts";

export type MemberStanding =
  | { readonly standing: "member" }
  /** Finally. */
  | { readonly standing: "removed" }
  | { readonly standing: "void"; readonly reason: string };

/**
 * What revocations and removals leave of a certificate that holds. Its own chain is enough to stand on, so that a host
 * without any records can judge its first neighbour; what it learns afterwards may void it.
 */
export function memberStanding(host: HostIdentity, authority: Authority): MemberStanding {
  if (authority.removals.has(host.peerId)) return { standing: "removed" };
  if (!inviteStands(host, authority))
    return { standing: "void", reason: "the key that signed its invite was revoked, and the revocation does not keep the invite" };
  const sponsor = authority.removals.get(host.issuer);
  if (sponsor !== undefined) {
    // With "all known" the time that the sponsor itself signed has to do: a list is sharper.
    const kept = sponsor.certificatesKept.has(host.peerId) || (sponsor.allCertificates && host.admittedAtMs < sponsor.stamp.timeMs);
    if (!kept) return { standing: "void", reason: "the host that admitted it was removed, and the removal does not keep its certificate" };
  }
  return { standing: "member" };
}

function inviteStands(host: HostIdentity, authority: Authority): boolean {
  const root = authority.chains.get(authority.rootKeyId)?.[0];
  if (root === undefined || host.keyIds[0] !== authority.rootKeyId) return false;
  const own = new Map<string, Chain>([[authority.rootKeyId, rootChain(authority.rootKeyId, root.publicKey)]]);
  for (const fact of host.grants) {
    const above = own.get(fact.parameters.keyId);
    if (above !== undefined && !own.has(fact.keyId))
      own.set(fact.keyId, extendChain(above, { fact, stamp: authority.stamps.get(fact.recordKey) }, authority.revocations));
  }
  const signer = host.invite.parameters.keyId;
  const invite = { fact: host.invite, stamp: authority.stamps.get(host.invite.recordKey) };
  const shown = own.get(signer);
  return (shown !== undefined && stands(shown, invite)) || (authority.chains.get(signer) ?? []).some((chain) => stands(chain, invite));
}

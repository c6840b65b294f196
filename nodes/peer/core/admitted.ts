import type { MeshId, PeerId, Result } from "../../../src/base/index.ts";
import { ok } from "../../../src/base/index.ts";
import {
  type Authority,
  decodeCertificate,
  type HostCertificate,
  type HostIdentity,
  memberStanding,
  type Verifier,
  verifyHostCertificate,
} from "../../../src/identity/index.ts";

/** Certificates shown at the HTTPS port and not yet in a record: forgotten oldest first. */
const INTRODUCED_MAX = 1_024;
/** Hosts that are not connected show the same certificates every few seconds, each with its neighbours': these are not checked again. */
const CHECKED_MAX = 256;

export type Introduced = { readonly identity: HostIdentity; readonly certificate: HostCertificate; readonly addresses: readonly string[] };

/** Who may open a libp2p connection: members by their records, and those who have just shown a certificate that holds. */
export type Admitted = {
  /** Cheap: asked at each connection and message. */
  has(peer: PeerId): boolean;
  peers(): readonly PeerId[];
  addressesOf(peer: PeerId): readonly string[];
  /** Checks a certificate and remembers it until its record has come. */
  introduce(certificate: string, addresses: readonly string[]): Result<HostIdentity>;
};

export function createAdmitted(parts: {
  readonly self: PeerId;
  readonly meshId: MeshId;
  readonly verifier: Verifier;
  readonly authority: () => Authority;
  readonly members: () => ReadonlySet<PeerId>;
}): Admitted {
  const introduced = new Map<PeerId, Introduced>();
  /** Certificates that hold, by their text: whether one does never changes. */
  const checked = new Map<string, Pick<Introduced, "identity" | "certificate">>();
  // Judged again whenever the authority changes: a host that was removed is refused as soon as the removal is here.
  let judged: { authority: Authority; peers: ReadonlySet<PeerId> } | undefined;
  const standing = (): ReadonlySet<PeerId> => {
    const authority = parts.authority();
    if (judged?.authority !== authority) {
      const peers = [...introduced].filter(([, { identity }]) => memberStanding(identity, authority).standing === "member").map(([peer]) => peer);
      judged = { authority, peers: new Set(peers) };
    }
    return judged.peers;
  };
  const check = (text: string): Result<Pick<Introduced, "identity" | "certificate">> => {
    const known = checked.get(text);
    if (known !== undefined) return ok(known);
    const certificate = decodeCertificate(text);
    if (!certificate.ok) return certificate;
    const identity = verifyHostCertificate(certificate.value, parts.meshId, parts.verifier);
    if (!identity.ok) return identity;
    const holds = { identity: identity.value, certificate: certificate.value };
    checked.set(text, holds);
    forgetOldest(checked, CHECKED_MAX);
    return ok(holds);
  };
  // The observer asks five times a second.
  let listed: { members: ReadonlySet<PeerId>; shown: ReadonlySet<PeerId>; peers: readonly PeerId[] } | undefined;
  const peers = (): readonly PeerId[] => {
    const members = parts.members();
    const shown = standing();
    if (listed?.members !== members || listed.shown !== shown) listed = { members, shown, peers: [...new Set([...members, ...shown])] };
    return listed.peers;
  };
  return {
    has: (peer) => parts.members().has(peer) || standing().has(peer),
    peers,
    addressesOf: (peer) => introduced.get(peer)?.addresses ?? [],
    introduce(text, addresses) {
      const holds = check(text);
      if (!holds.ok) return holds;
      const { identity, certificate } = holds.value;
      const { peerId } = identity;
      if (peerId === parts.self) return ok(identity);
      if (introduced.get(peerId)?.identity !== identity) judged = undefined;
      introduced.delete(peerId);
      introduced.set(peerId, { identity, certificate, addresses: addresses.slice(0, 16) });
      if (forgetOldest(introduced, INTRODUCED_MAX)) judged = undefined;
      return ok(identity);
    },
  };
}

/** True when there was one too many. */
function forgetOldest(entries: Map<string, unknown>, max: number): boolean {
  if (entries.size <= max) return false;
  for (const oldest of entries.keys()) {
    entries.delete(oldest);
    break;
  }
  return true;
}

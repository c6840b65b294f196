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
  return {
    has: (peer) => parts.members().has(peer) || standing().has(peer),
    peers: () => [...new Set([...parts.members(), ...standing()])],
    addressesOf: (peer) => introduced.get(peer)?.addresses ?? [],
    introduce(text, addresses) {
      const certificate = decodeCertificate(text);
      if (!certificate.ok) return certificate;
      const identity = verifyHostCertificate(certificate.value, parts.meshId, parts.verifier);
      if (!identity.ok) return identity;
      const { peerId } = identity.value;
      if (peerId === parts.self) return identity;
      introduced.delete(peerId);
      introduced.set(peerId, { identity: identity.value, certificate: certificate.value, addresses: addresses.slice(0, 16) });
      if (introduced.size > INTRODUCED_MAX)
        for (const oldest of introduced.keys()) {
          introduced.delete(oldest);
          break;
        }
      judged = undefined;
      return ok(identity.value);
    },
  };
}

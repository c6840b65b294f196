import { callUnsigned } from "../../src/api/client.ts";
import { type Dialer, parseEndpoints } from "../../src/api/client-connection.ts";
import { CcError, type Clock } from "../../src/base/index.ts";
import {
  base64,
  decodeCertificate,
  ed25519Verifier,
  type HostCertificate,
  type Invite,
  type KeyPair,
  peerIdOf,
  signBinding,
  signerFromSeed,
  verifyHostCertificate,
} from "../../src/identity/index.ts";
import type { KnownNeighbour } from "./identity-files.ts";
import { must } from "./must.ts";

export type Admission = { readonly certificate: HostCertificate; readonly neighbours: readonly KnownNeighbour[] };

/**
 * Shows the invite at its issuer's HTTPS port, one endpoint after another. Throws what the issuer refused with, or
 * PEER_UNREACHABLE with the advice to make an invite at another peer: only the issuer counts its uses.
 */
export async function askForAdmission(
  parts: { readonly dialer: Dialer; readonly clock: Clock },
  invite: Invite,
  host: KeyPair,
  name: string,
): Promise<Admission> {
  const peer = peerIdOf(host.signer.publicKey);
  const request = { invite: invite.inviteId, peer, name, binding: base64(signBinding(signerFromSeed(invite.seed), invite.inviteId, peer)) };
  const failures: string[] = [];
  for (const endpoint of must(parseEndpoints(invite.endpoints.join(",")))) {
    try {
      const reply = await callUnsigned(parts, endpoint, "Admit", request);
      const certificate = must(decodeCertificate(reply.certificate));
      const member = must(verifyHostCertificate(certificate, invite.meshId, ed25519Verifier));
      if (member.peerId !== peer) throw new CcError("NOT_A_MEMBER", "the issuer answered with another host's certificate");
      return { certificate, neighbours: reply.neighbours };
    } catch (error) {
      if (error instanceof CcError && error.code !== "PEER_UNREACHABLE" && error.code !== "TIMEOUT") throw error;
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new CcError(
    "PEER_UNREACHABLE",
    `the peer that made this invite does not answer (${failures.join("; ")}); if it is gone, make an invite at another peer with \`cc host invite\``,
  );
}

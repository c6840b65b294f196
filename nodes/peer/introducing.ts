import { callUnsigned } from "../../src/api/client.ts";
import { parseEndpoints } from "../../src/api/client-connection.ts";
import { createDialer } from "../../src/api/drivers/dialer.ts";
import { asCcError, type Clock, type Logger, type MeshId, type PeerId, sleep } from "../../src/base/index.ts";
import { encodeCertificate, type HostCertificate, verifyPeerCertificate } from "../../src/identity/index.ts";
import type { KnownNeighbour } from "./identity-files.ts";

const EVERY_MS = 2_000;
const PER_ROUND_MAX = 8;

export type IntroducingParts = {
  readonly meshId: MeshId;
  readonly certificate: HostCertificate;
  /** Where other members' APIs are, by peer id. */
  readonly neighbours: () => ReadonlyMap<string, readonly string[]>;
  readonly addresses: () => readonly string[];
  readonly connected: () => readonly PeerId[];
  readonly onNeighbours: (found: readonly KnownNeighbour[]) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
};

/**
 * Shows this host's certificate to members that have not let it connect: they may not have heard of it yet, and on libp2p
 * nothing answers a stranger. Ends when the signal is aborted.
 */
export async function introduceToAll(parts: IntroducingParts): Promise<void> {
  const { meshId, certificate, clock, log, signal } = parts;
  const dialer = createDialer((sanText, spki) => verifyPeerCertificate(sanText, spki, meshId));
  const text = encodeCertificate(certificate);
  while (!signal.aborted) {
    const connected = new Set<string>(parts.connected());
    const strangers = [...parts.neighbours()].filter(([peer]) => !connected.has(peer) && peer !== certificate.peerId).slice(0, PER_ROUND_MAX);
    await Promise.all(
      strangers.map(async ([peer, endpoints]) => {
        const parsed = parseEndpoints(endpoints.join(","));
        if (!parsed.ok) return;
        for (const endpoint of parsed.value) {
          try {
            const reply = await callUnsigned({ dialer, clock }, endpoint, "Introduce", { certificate: text, addresses: [...parts.addresses()] });
            parts.onNeighbours(reply.neighbours);
            return;
          } catch (error) {
            log.debug({ peer, code: asCcError(error).code }, "could not introduce this host to a peer");
          }
        }
      }),
    );
    await sleep(clock, EVERY_MS, signal).catch(() => undefined); // Aborted: the loop ends.
  }
}

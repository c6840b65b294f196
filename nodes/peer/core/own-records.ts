import { create, toBinary } from "@bufbuild/protobuf";
import { CertificateRecordSchema, HostFactsSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { asCcError, type Clock, formatIp, type Logger, type PeerId, sleep, type Zone } from "../../../src/base/index.ts";
import { encodeCertificate, type HostCertificate } from "../../../src/identity/index.ts";
import type { DeclaredCapacity } from "../../../src/placement/index.ts";
import { hostKey, type ReplicaService } from "../../../src/state/index.ts";
import type { HostFactsNow } from "./handlers/parts.ts";

/** An address that changes is followed by the others within this time. */
const FACTS_AGAIN_MS = 10_000;

export type OwnRecordsParts = {
  readonly self: PeerId;
  readonly zone: Zone;
  readonly certificate: HostCertificate;
  readonly replica: ReplicaService;
  readonly host: { readonly capacity: DeclaredCapacity; readonly labels: Readonly<Record<string, string>> };
  readonly facts: () => HostFactsNow;
  readonly startedAtMs: number;
  readonly clock: Clock;
  readonly log: Logger;
};

export type OwnRecords = {
  writeCertificate(): Promise<void>;
  writeFacts(): Promise<void>;
  /** Addresses change: a lease ends, a cable is moved. Until aborted. */
  keepFacts(signal: AbortSignal): Promise<void>;
};

/** What this host tells of itself, written when it differs from what its records say. */
export function createOwnRecords(parts: OwnRecordsParts): OwnRecords {
  const { self, zone, replica, clock, log, startedAtMs } = parts;

  const writeIfOther = async (kind: "certificate" | "facts", content: Uint8Array): Promise<void> => {
    const key = hostKey(self, zone, kind, "self");
    const stored = replica.get(key);
    if (stored !== undefined && Buffer.from(stored.content).equals(content)) return;
    await replica.write([{ key, content }], { copies: 1 });
  };

  const writeFacts = async (): Promise<void> => {
    const { name, version, endpoints, addresses, networks, underlay, tunnel } = parts.facts();
    const { memoryBytes, diskBytes, cpuShares, containersMax } = parts.host.capacity;
    const facts = {
      name,
      version,
      addresses: [...addresses],
      endpoints: [...endpoints],
      networks: [...networks],
      underlay: underlay === undefined ? "" : formatIp(underlay.address),
      underlayMtu: underlay?.mtu ?? 0,
      wireguardKey: tunnel.end?.publicKey ?? "",
      wireguardPort: tunnel.end?.port ?? 0,
      encryptionRequired: tunnel.isRequired,
      capacity: { memoryBytes, diskBytes, cpuShares, containersMax },
      labels: { ...parts.host.labels },
      startedAtMs,
    };
    await writeIfOther("facts", toBinary(HostFactsSchema, create(HostFactsSchema, facts)));
  };

  return {
    writeFacts,
    writeCertificate: async () => {
      const certificate = Buffer.from(encodeCertificate(parts.certificate));
      await writeIfOther("certificate", toBinary(CertificateRecordSchema, create(CertificateRecordSchema, { certificate })));
    },
    keepFacts: async (signal) => {
      while (!signal.aborted) {
        try {
          await sleep(clock, FACTS_AGAIN_MS, signal);
          await writeFacts();
        } catch (error) {
          if (!signal.aborted) log.error({ err: asCcError(error) }, "this host's facts could not be written");
        }
      }
    },
  };
}

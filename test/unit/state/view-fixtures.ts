import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  AwardSchema,
  AwardTermsSchema,
  CertificateRecordSchema,
  type ClaimedNetworkSchema,
  ClaimSchema,
  HostFactsSchema,
  PhaseSchema,
} from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { ContainerId, RecordKey, Zone } from "../../../src/base/index.ts";
import { ed25519Verifier, encodeCertificate, type SignedRequest } from "../../../src/identity/index.ts";
import { buildRecord, containerIdOf, createView, hostKey, type StoredRecord, userKey, type Version, type View } from "../../../src/state/index.ts";
import { RecordBook } from "../../../src/state/record-book.ts";
import { StampBook } from "../../../src/state/stamps.ts";
import { certificateOf, grant, keyId, keyPair, peerId, ROOT, request, record as stampOfRequest } from "../identity/fixtures.ts";
import { CREATED_S, stampedBy, ZONE } from "./fixtures.ts";

/** The mesh's time of these tests: when requests are signed. */
export const NOW = CREATED_S * 1_000;

/** Records as a replica holds them, and a view on them. */
export class Desk {
  readonly book = new RecordBook();
  readonly stamps = new StampBook();
  readonly listeners = new Set<(changed: readonly StoredRecord[]) => void>();
  readonly view: View = this.look();

  look(): View {
    return createView({
      replica: {
        get: (key) => this.book.get(key),
        list: (prefix) => this.book.list(prefix),
        onChange: (listener) => {
          this.listeners.add(listener);
          return () => this.listeners.delete(listener);
        },
        stampOf: (record) => this.stamps.stampOf(record),
      },
      verifier: ed25519Verifier,
      rootPublicKey: ROOT.signer.publicKey,
    });
  }

  take(...records: readonly StoredRecord[]): this {
    const visible = records.filter((record) => {
      const restamped = this.stamps.note(record, NOW);
      return this.book.accept(record, NOW + 3_600_000).visible || restamped;
    });
    for (const listener of this.listeners) listener(visible);
    return this;
  }
}

export type At = { readonly by?: string; readonly at?: string; readonly ms?: number; readonly minor?: number; readonly nonce?: string };

/** A request of a user's at a peer, signed `ms` after the tests' time. */
export function asks(call: string, fields: object, { by = "ann", at = "peer 1", ms = 0, nonce }: At = {}): SignedRequest {
  return request(call, fields, { by, peer: peerId(at), createdS: CREATED_S + Math.floor(ms / 1_000), ...(nonce === undefined ? {} : { nonce }) });
}

function admin(signed: SignedRequest, at = "peer 1", ms = 0): StoredRecord {
  const { key } = stampOfRequest(signed);
  return stampedBy(at, key as RecordKey, signed, NOW + ms);
}

export function grants(name: string, role: "viewer" | "operator" | "admin", by = "root", at = "peer 1", ms = -1_000): StoredRecord {
  return admin(grant(name, role, { by, peer: peerId(at), createdS: CREATED_S }), at, ms);
}

export function own(
  host: string,
  kind: string,
  id: string,
  content: Uint8Array,
  version: Version = { major: 1, minor: 1 },
  final = false,
  zone: Zone = ZONE,
): StoredRecord {
  return buildRecord({ key: hostKey(peerId(host), zone, kind, id), version, final, content }, peerId(host), keyPair(host).signer);
}

export function certificate(host: string, issuer = "peer 1"): StoredRecord {
  return own(
    host,
    "certificate",
    "self",
    toBinary(CertificateRecordSchema, create(CertificateRecordSchema, { certificate: Buffer.from(encodeCertificate(certificateOf(host, { issuer }))) })),
  );
}

export function facts(host: string, name: string, minor = 2): StoredRecord {
  return own(host, "facts", "self", toBinary(HostFactsSchema, create(HostFactsSchema, { name, addresses: [`/dns4/${name}/tcp/4001`] })), { major: 1, minor });
}

/** A member mesh of four hosts with an operator, ann, a viewer, vic, and an admin, adam. */
export const MEMBERS: readonly StoredRecord[] = [
  ...["peer 1", "peer 2", "peer 3", "liar"].map((host) => certificate(host)),
  grants("ann", "operator"),
  grants("vic", "viewer"),
  grants("adam", "admin"),
];

export function runFields(name: string, token = `token of ${name}`, spec: object = {}): object {
  return { token, spec: { image: "alpine", name, memoryBytes: 1_000, diskBytes: 10, cpuShares: 1, ...spec } };
}

export function idOf(name: string, by = "ann"): ContainerId {
  return containerIdOf(keyId(by), `token of ${name}`);
}

/** The stamped create of a container. */
export function creates(name: string, at: At & { readonly spec?: object } = {}): StoredRecord {
  return stampedBy(at.at ?? "peer 1", userKey(ZONE, "container", idOf(name, at.by)), asks("Run", runFields(name, undefined, at.spec), at), NOW + (at.ms ?? 0));
}

export type ClaimOptions = {
  readonly epoch?: number;
  readonly claimEpoch?: number;
  readonly holder?: string;
  readonly signer?: string;
  readonly zone?: Zone;
  readonly version?: Version;
  readonly id?: ContainerId;
  readonly network?: MessageInitShape<typeof ClaimedNetworkSchema>;
};

/** A claim of `host` with an award of the create's stamping peer. */
export function claims(host: string, createRecord: StoredRecord, options: ClaimOptions = {}): StoredRecord {
  const id = options.id ?? (createRecord.key.split("/").at(-1) as ContainerId);
  const epoch = options.epoch ?? 1;
  const signed = toBinary(
    AwardTermsSchema,
    create(AwardTermsSchema, { container: id, epoch, holder: peerId(options.holder ?? host), requestHash: createRecord.hash, awardedAtMs: NOW }),
  );
  const awarder = options.signer ?? ["peer 1", "peer 2", "peer 3", "liar", "peer 9"].find((name) => peerId(name) === createRecord.writer) ?? "peer 1";
  const award = create(AwardSchema, {
    signed,
    signature: keyPair(awarder).signer.sign(Buffer.concat([Buffer.from("cc-award-1\n"), signed])),
    request: createRecord.frame,
  });
  const content = toBinary(
    ClaimSchema,
    create(ClaimSchema, {
      container: id,
      epoch: options.claimEpoch ?? epoch,
      claimedAtMs: NOW,
      warrant: { kind: { case: "award", value: award } },
      ...(options.network === undefined ? {} : { network: options.network }),
    }),
  );
  return own(host, "claim", id, content, options.version ?? { major: 1, minor: 10 + epoch }, false, options.zone);
}

export function says(
  host: string,
  id: ContainerId,
  phase: string,
  options: {
    readonly epoch?: number;
    readonly version?: Version;
    readonly endedAtMs?: number;
    readonly changedAtMs?: number;
    readonly final?: boolean;
    readonly tokens?: readonly string[];
  } = {},
): StoredRecord {
  const { epoch = 1, endedAtMs = 0, changedAtMs = NOW } = options;
  const [runToken = "", ...earlierRunTokens] = options.tokens ?? [];
  const content = toBinary(PhaseSchema, create(PhaseSchema, { container: id, epoch, phase, endedAtMs, changedAtMs, runToken, earlierRunTokens }));
  return own(host, "phase", id, content, options.version ?? { major: 1, minor: 20 }, options.final ?? phase === "gone");
}

/** A user's change of containers: the stamped record of one of them. */
export function changes(
  call: "Stop" | "Start" | "Restart" | "Remove",
  ids: readonly ContainerId[],
  at: At & { readonly final?: boolean; readonly about?: ContainerId } = {},
): StoredRecord {
  const signed = asks(call, { token: `${call} ${at.ms ?? 0}`, containers: ids }, at);
  return restamps(signed, call, at.about ?? (ids[0] as ContainerId), at.at ?? "peer 1", at.ms ?? 0, at.final);
}

export function restamps(signed: SignedRequest, call: string, about: ContainerId, at: string, ms: number, final = call === "Remove"): StoredRecord {
  return stampedBy(at, userKey(ZONE, "wanted", about), signed, NOW + ms, 0, final);
}

export function revokes(key: string, fields: object = {}, by = "root", ms = 0): StoredRecord {
  return admin(
    request("RevokeKey", { token: `revoke ${key}`, key: keyId(key), keepAll: true, ...fields }, { by, createdS: CREATED_S + Math.floor(ms / 1_000) }),
    "peer 1",
    ms,
  );
}

export function removes(host: string, fields: object = {}, by = "adam", ms = 0): StoredRecord {
  return admin(
    request(
      "RemoveHost",
      { token: `remove ${host}`, host: peerId(host), countsToMajor: 1, countsToMinor: 1_000, allCertificates: true, ...fields },
      { by, createdS: CREATED_S + Math.floor(ms / 1_000) },
    ),
    "peer 1",
    ms,
  );
}

export { keyId, peerId, ZONE };

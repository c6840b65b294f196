import type { HostFacts } from "../../api/gen/cc/v1/records_pb.ts";
import type { PeerId, RecordKey, Zone } from "../../base/index.ts";
import { computeAuthority, type HostCertificate, meshIdOf, type StampedRecord, type Verifier } from "../../identity/index.ts";
import { compareBytes } from "../merge.ts";
import type { KeyParts } from "../record-key.ts";
import type { StoredRecord, Version } from "../replica.ts";
import type { ReplicaService } from "../replica-parts.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { factsIn } from "./facts.ts";
import { type HostStanding, type Judge, judgeHosts } from "./standing.ts";

/** An admitted host that was not removed. */
export type Member = {
  readonly peer: PeerId;
  readonly zone: Zone;
  /** As its facts say, else its certificate; may be empty. */
  readonly name: string;
  readonly admittedAtMs: number;
  /** Undefined until its facts are known. */
  readonly facts: HostFacts | undefined;
  readonly addresses: readonly string[];
  readonly certificate: HostCertificate;
};

export type ViewParts = {
  readonly replica: Pick<ReplicaService, "get" | "list" | "onChange" | "stampOf">;
  readonly verifier: Verifier;
  readonly rootPublicKey: Uint8Array;
};

/** Who may what and who is in, computed when it is asked for and kept until a record changes it. */
export class Members {
  readonly #parts: ViewParts;
  readonly #certificates = new Map<PeerId, StoredRecord>();
  #judge: Judge | undefined;
  #members: readonly Member[] | undefined;
  #ids: ReadonlySet<PeerId> | undefined;

  constructor(parts: ViewParts) {
    this.#parts = parts;
  }

  /** What has to be judged anew after this record: everything, what did not count or not yet (a newcomer's), or nothing. */
  note(record: StoredRecord, key: KeyParts | undefined): "all" | "incomplete" | "none" {
    if (key?.family === "admin") return this.#changed("all");
    if (key?.family !== "host") return "none";
    if (key.kind === "facts") this.#members = undefined;
    if (key.kind !== "certificate" || key.id !== "self") return "none";
    const before = this.#certificates.get(record.writer);
    // A host writes its certificate at every start: mostly nothing changes.
    if (before !== undefined && compareBytes(before.content, record.content) === 0) return "none";
    this.#certificates.set(record.writer, record);
    return this.#changed(before === undefined ? "incomplete" : "all");
  }

  judge(): Judge {
    if (this.#judge !== undefined) return this.#judge;
    const { replica, verifier, rootPublicKey } = this.#parts;
    const stampOf = (record: StoredRecord): Version => replica.stampOf(record);
    const records = replica.list("admin/").flatMap((record): StampedRecord[] => {
      const content = stampedContentOf(record);
      const { major, minor } = stampOf(record);
      return content === undefined ? [] : [{ key: record.key, request: content.request, stamp: { writer: record.writer, timeMs: major, counter: minor } }];
    });
    const authority = computeAuthority({ rootPublicKey, records, verifier });
    this.#judge = { authority, hosts: judgeHosts([...this.#certificates.values()], authority, meshIdOf(rootPublicKey), verifier), verifier, stampOf };
    return this.#judge;
  }

  /** By peer id. */
  all(): readonly Member[] {
    this.#members ??= [...this.judge().hosts]
      .flatMap(([peer, host]) => (host.standing === "member" ? [this.#memberOf(peer, host)] : []))
      .sort((a, b) => (a.peer < b.peer ? -1 : 1));
    return this.#members;
  }

  ids(): ReadonlySet<PeerId> {
    this.#ids ??= new Set(this.all().map(({ peer }) => peer));
    return this.#ids;
  }

  of(peer: PeerId): Member | undefined {
    const host = this.judge().hosts.get(peer);
    return host?.standing === "member" ? this.#memberOf(peer, host) : undefined;
  }

  #changed<What>(what: What): What {
    this.#judge = undefined;
    this.#members = undefined;
    this.#ids = undefined;
    return what;
  }

  #memberOf(peer: PeerId, { identity, certificate, zone }: HostStanding): Member {
    const record = this.#parts.replica.get(`host/${peer}/${zone}/facts/self` as RecordKey);
    const facts = record === undefined ? undefined : factsIn(record);
    return { peer, zone, name: facts?.name || identity.name, admittedAtMs: identity.admittedAtMs, facts, addresses: facts?.addresses ?? [], certificate };
  }
}

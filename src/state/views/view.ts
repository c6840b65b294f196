import { type HostFacts, HostFactsSchema } from "../../api/gen/cc/v1/records_pb.ts";
import { type ContainerId, isContainerId, type PeerId, type RecordKey, type Zone } from "../../base/index.ts";
import { type Authority, computeAuthority, type HostCertificate, type KeyStanding, meshIdOf, type StampedRecord, type Verifier } from "../../identity/index.ts";
import { compareBytes } from "../merge.ts";
import { isHostKey, type KeyParts, parseRecordKey } from "../record-key.ts";
import type { StoredRecord, Version } from "../replica.ts";
import type { ReplicaService } from "../replica-parts.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeContent } from "./bodies.ts";
import { type CountedClaim, judgeClaim, readCreate } from "./claims.ts";
import { type ContainerView, deriveContainer, type Holding } from "./container.ts";
import { type HostStanding, type Judge, judgeHostRecord, judgeHosts, judgeUserRecord } from "./standing.ts";
import { deriveWanted } from "./wanted.ts";

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

/** What a host holds, by the claims that count. Bytes; `containersMax` is their number. */
export type Used = { readonly memoryBytes: number; readonly diskBytes: number; readonly cpuShares: number; readonly containersMax: number };

/**
 * What this host's records say, decided on reading: the same records give the same, in any order, on every host. Nothing
 * here has an effect; recomputed is only what changed since the last question.
 */
export interface View {
  authority(): Authority;
  keys(): readonly KeyStanding[];
  /** By peer id. */
  members(): readonly Member[];
  memberIds(): ReadonlySet<PeerId>;
  member(peer: PeerId): Member | undefined;
  /** Undefined: no claim of it is known here; then `isGone` tells a removed one from an unknown one. */
  container(id: ContainerId): ContainerView | undefined;
  /** All that are known, gone ones too, by id. */
  containers(): readonly ContainerView[];
  /** Live containers of this name, the oldest first: with two of them the bare name means neither. */
  byName(name: string): readonly ContainerId[];
  /** Whether a user removed it, or its holder as its spec allows. True also where its claims are not known here. */
  isGone(id: ContainerId): boolean;
  /** Claims of this host that count, given-way ones too. */
  claimsOf(peer: PeerId): readonly CountedClaim[];
  claimOf(id: ContainerId, peer: PeerId): CountedClaim | undefined;
  /** The claim that this host has to give way to: it stops its own and writes `yielded`. */
  betterClaimThan(own: Holding & { readonly id: ContainerId }): Holding | undefined;
  usedBy(peer: PeerId): Used;
  /** Every record about these containers: what is told to who asks around. */
  recordsOf(ids: Iterable<string>): readonly StoredRecord[];
  /** Whether a record counts for nobody, as far as known here. Kinds that this version does not know count. */
  isVoid(record: StoredRecord): boolean;
  /** Stops following the replica. */
  close(): void;
}

export type ViewParts = {
  readonly replica: Pick<ReplicaService, "get" | "list" | "onChange" | "stampOf">;
  readonly verifier: Verifier;
  readonly rootPublicKey: Uint8Array;
};

/** Kinds of records that are about one container, with its id. */
const CONTAINER_KINDS = new Set(["claim", "phase", "container", "wanted"]);

export function createView(parts: ViewParts): View {
  return new RecordView(parts);
}

class RecordView implements View {
  readonly #parts: ViewParts;
  readonly #unsubscribe: () => void;
  /** Keys of the records about each container. */
  readonly #keys = new Map<ContainerId, Set<RecordKey>>();
  readonly #containers = new Map<ContainerId, ContainerView>();
  readonly #gone = new Set<ContainerId>();
  /** Containers on which each host has a claim that counts. */
  readonly #claimed = new Map<PeerId, Set<ContainerId>>();
  /** Containers with a record that does not count, or not yet. */
  readonly #incomplete = new Set<ContainerId>();
  readonly #certificates = new Map<PeerId, StoredRecord>();
  readonly #dirty = new Set<ContainerId>();
  #judge: Judge | undefined;
  #members: readonly Member[] | undefined;
  #memberIds: ReadonlySet<PeerId> | undefined;
  #list: readonly ContainerView[] | undefined;
  #names: ReadonlyMap<string, readonly ContainerId[]> | undefined;

  constructor(parts: ViewParts) {
    this.#parts = parts;
    for (const record of [...parts.replica.list("host/"), ...parts.replica.list("user/")]) this.#note(record, parseRecordKey(record.key));
    this.#unsubscribe = parts.replica.onChange((changed) => this.#changed(changed));
  }

  close(): void {
    this.#unsubscribe();
  }

  authority(): Authority {
    return this.#judged().authority;
  }

  keys(): readonly KeyStanding[] {
    return [...this.authority().keys.values()];
  }

  members(): readonly Member[] {
    this.#members ??= [...this.#judged().hosts]
      .flatMap(([peer, host]) => (host.standing === "member" ? [this.#memberOf(peer, host)] : []))
      .sort((a, b) => (a.peer < b.peer ? -1 : 1));
    return this.#members;
  }

  memberIds(): ReadonlySet<PeerId> {
    this.#memberIds ??= new Set(this.members().map(({ peer }) => peer));
    return this.#memberIds;
  }

  member(peer: PeerId): Member | undefined {
    const host = this.#judged().hosts.get(peer);
    return host?.standing === "member" ? this.#memberOf(peer, host) : undefined;
  }

  container(id: ContainerId): ContainerView | undefined {
    this.#refresh();
    return this.#containers.get(id);
  }

  containers(): readonly ContainerView[] {
    this.#refresh();
    this.#list ??= [...this.#containers.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    return this.#list;
  }

  byName(name: string): readonly ContainerId[] {
    this.#refresh();
    this.#names ??= namesOf(this.containers());
    return this.#names.get(name) ?? [];
  }

  isGone(id: ContainerId): boolean {
    this.#refresh();
    return this.#gone.has(id);
  }

  claimsOf(peer: PeerId): readonly CountedClaim[] {
    this.#refresh();
    return [...(this.#claimed.get(peer) ?? [])].sort().flatMap((id) => this.claimOf(id, peer) ?? []);
  }

  claimOf(id: ContainerId, peer: PeerId): CountedClaim | undefined {
    return this.container(id)?.claims.find(({ holder }) => holder === peer);
  }

  betterClaimThan(own: Holding & { readonly id: ContainerId }): Holding | undefined {
    const best = this.container(own.id)?.best;
    return best === undefined || best.holder === own.holder ? undefined : best;
  }

  usedBy(peer: PeerId): Used {
    const used = { memoryBytes: 0, diskBytes: 0, cpuShares: 0, containersMax: 0 };
    for (const { best, gone, spec, phase } of this.containers()) {
      if (gone || best?.holder !== peer) continue;
      used.containersMax += 1;
      used.diskBytes += spec.diskBytes;
      if (phase?.phase === "ended" || phase?.phase === "failed") continue;
      used.memoryBytes += spec.memoryBytes;
      used.cpuShares += spec.cpuShares;
    }
    return used;
  }

  recordsOf(ids: Iterable<string>): readonly StoredRecord[] {
    return [...ids].flatMap((id) => (isContainerId(id) ? this.#recordsOf(id) : []));
  }

  isVoid(record: StoredRecord): boolean {
    const key = parseRecordKey(record.key);
    const judge = this.#judged();
    if (key === undefined) return true;
    if (key.family === "host") {
      if (judgeHostRecord(record, key.zone, judge) === "void") return true;
      return key.kind === "claim" && isContainerId(key.id) && judgeClaim(record, undefined, judge) === undefined;
    }
    if (key.family === "admin") return !judge.authority.standing.has(record.key);
    const { standing } = judgeUserRecord(record, judge);
    if (standing !== "counts") return standing === "void";
    if (key.kind === "container") return readCreate(record) === undefined;
    return key.kind === "wanted" && isContainerId(key.id) && deriveWanted(key.id, [record], judge) === undefined;
  }

  #changed(records: readonly StoredRecord[]): void {
    for (const record of records) {
      const key = parseRecordKey(record.key);
      if (key?.family === "admin") this.#judgeAnew(this.#keys.keys());
      if (key?.family === "host" && key.kind === "facts") this.#members = undefined;
      this.#note(record, key);
    }
  }

  /** Who may what has changed: these containers are judged anew, from what was read of them before. */
  #judgeAnew(ids: Iterable<ContainerId>): void {
    this.#judge = undefined;
    this.#members = undefined;
    this.#memberIds = undefined;
    for (const id of ids) this.#dirty.add(id);
  }

  /** A host writes its certificate at every start: mostly nothing changes, and a newcomer makes count only what did not yet. */
  #noteCertificate(record: StoredRecord): void {
    const before = this.#certificates.get(record.writer);
    if (before !== undefined && compareBytes(before.content, record.content) === 0) return;
    this.#certificates.set(record.writer, record);
    this.#judgeAnew(before === undefined ? this.#incomplete : this.#keys.keys());
  }

  #note(record: StoredRecord, key: KeyParts | undefined): void {
    if (key?.family === "host" && key.kind === "certificate" && key.id === "self") this.#noteCertificate(record);
    if (key === undefined || key.family === "admin" || !CONTAINER_KINDS.has(key.kind) || !isContainerId(key.id)) return;
    const keys = this.#keys.get(key.id) ?? new Set();
    keys.add(record.key);
    this.#keys.set(key.id, keys);
    this.#dirty.add(key.id);
  }

  #refresh(): void {
    if (this.#dirty.size === 0) return;
    const judge = this.#judged();
    for (const id of this.#dirty) this.#derive(id, judge);
    this.#dirty.clear();
    this.#list = undefined;
    this.#names = undefined;
  }

  #derive(id: ContainerId, judge: Judge): void {
    const records = this.#recordsOf(id);
    const ofKind = (family: "user" | "host", kind: string): readonly StoredRecord[] =>
      records.filter(({ key }) => key.startsWith(family) && key.split("/").at(-2) === kind);
    const phases = new Map(ofKind("host", "phase").map((record) => [record.key, record]));
    const wanted = deriveWanted(id, ofKind("user", "wanted"), judge);
    const isRemoved = wanted?.kind === "removed";
    const claims = ofKind("host", "claim").flatMap(
      (record) => judgeClaim(record, phases.get(record.key.replace("/claim/", "/phase/") as RecordKey), judge, isRemoved) ?? [],
    );
    const creates = ofKind("user", "container").flatMap((record) => (judgeUserRecord(record, judge).standing === "counts" ? (readCreate(record) ?? []) : []));
    const view = deriveContainer(id, claims, creates, wanted);
    const counting = claims.length + creates.length + (wanted === undefined ? 0 : 1) + phases.size;
    if (counting < records.length) this.#incomplete.add(id);
    else this.#incomplete.delete(id);
    for (const { holder } of this.#containers.get(id)?.claims ?? []) this.#claimed.get(holder)?.delete(id);
    for (const { holder } of view?.claims ?? []) this.#claimed.set(holder, (this.#claimed.get(holder) ?? new Set()).add(id));
    if (view === undefined) this.#containers.delete(id);
    else this.#containers.set(id, view);
    if (view?.gone ?? isRemoved) this.#gone.add(id);
    else this.#gone.delete(id);
  }

  #recordsOf(id: ContainerId): readonly StoredRecord[] {
    const { replica } = this.#parts;
    return [...(this.#keys.get(id) ?? [])].sort().flatMap((key) => (isHostKey(key) ? (replica.get(key) ?? []) : replica.list(`${key}!`)));
  }

  #judged(): Judge {
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

  #memberOf(peer: PeerId, { identity, certificate, zone }: HostStanding): Member {
    const record = this.#parts.replica.get(`host/${peer}/${zone}/facts/self` as RecordKey);
    const facts = record === undefined ? undefined : factsIn(record);
    return { peer, zone, name: facts?.name || identity.name, admittedAtMs: identity.admittedAtMs, facts, addresses: facts?.addresses ?? [], certificate };
  }
}

/** Read once per record; undefined for what is none. */
const factsRead = new WeakMap<StoredRecord, HostFacts>();

function factsIn(record: StoredRecord): HostFacts | undefined {
  const facts = factsRead.get(record) ?? decodeContent(HostFactsSchema, record.content);
  if (facts !== undefined) factsRead.set(record, facts);
  return facts;
}

function namesOf(containers: readonly ContainerView[]): ReadonlyMap<string, readonly ContainerId[]> {
  const names = new Map<string, ContainerView[]>();
  for (const container of containers) {
    if (container.gone || container.name === "") continue;
    names.set(container.name, [...(names.get(container.name) ?? []), container]);
  }
  const older = (a: ContainerView, b: ContainerView): number => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1);
  return new Map([...names].map(([name, found]) => [name, found.sort(older).map(({ id }) => id)]));
}

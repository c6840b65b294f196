import {
  type ContainerId,
  type FirewallRuleId,
  isContainerId,
  isFirewallRuleId,
  isVolumeId,
  isVpcId,
  type KeyId,
  type PeerId,
  type RecordKey,
  type VolumeId,
  type VpcId,
} from "../../base/index.ts";
import type { Authority, KeyStanding } from "../../identity/index.ts";
import { isHostKey, type KeyParts, parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import type { CountedClaim } from "./claims.ts";
import type { ContainerView, Holding } from "./container.ts";
import { containerOf, type Derived, ruleOf, volumeOf, vpcOf } from "./derive.ts";
import type { FirewallRuleView } from "./firewall-rule.ts";
import { type Member, Members, type ViewParts } from "./members.ts";
import type { Named } from "./names.ts";
import type { Judge } from "./standing.ts";
import { Things } from "./things.ts";
import { isVoidRecord } from "./void.ts";
import { usersOfVolumes, type VolumeView } from "./volume.ts";
import type { VpcView } from "./vpc.ts";

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
  /** Undefined: no holding of it is known here that counts. Deleted ones too. */
  volume(id: VolumeId): VolumeView | undefined;
  /** All that are known, deleted ones too, by id. */
  volumes(): readonly VolumeView[];
  /** As `byName`. */
  volumesByName(name: string): readonly VolumeId[];
  /** What this user's create with this token has made, at whichever peer. */
  volumeOfToken(key: KeyId, token: string): VolumeView | undefined;
  /** Containers that are not gone and name it, ended ones too, by id. */
  usersOf(id: VolumeId): readonly ContainerView[];
  /** Undefined: no create of it is known here that counts. Deleted ones too. */
  vpc(id: VpcId): VpcView | undefined;
  /** All that are known, deleted ones too, by id. */
  vpcs(): readonly VpcView[];
  /** As `byName`, of all zones. */
  vpcsByName(name: string): readonly VpcId[];
  /** All that are known, removed ones too, by id. */
  firewallRules(): readonly FirewallRuleView[];
  firewallRule(id: FirewallRuleId): FirewallRuleView | undefined;
  /** Every record about these containers, volumes, VPCs and firewall rules: what is told to who asks around. */
  recordsOf(ids: Iterable<string>): readonly StoredRecord[];
  /** Whether a record counts for nobody, as far as known here. Kinds that this version does not know count. */
  isVoid(record: StoredRecord): boolean;
  /** Stops following the replica. */
  close(): void;
}

/** Kinds of records that are about one thing, with its id. */
const KINDS = new Set(["claim", "phase", "container", "volume", "vpc", "blocks", "firewall", "wanted"]);
type ThingId = ContainerId | VolumeId | VpcId | FirewallRuleId;
const isThing = (id: string): id is ThingId => isContainerId(id) || isVolumeId(id) || isVpcId(id) || isFirewallRuleId(id);

export function createView(parts: ViewParts): View {
  return new RecordView(parts);
}

class RecordView implements View {
  readonly #parts: ViewParts;
  readonly #unsubscribe: () => void;
  /** Keys of the records about each thing. */
  readonly #keys = new Map<ThingId, Set<RecordKey>>();
  readonly #containers = new Things<ContainerId, ContainerView>();
  readonly #volumes = new Things<VolumeId, VolumeView>();
  readonly #vpcs = new Things<VpcId, VpcView>();
  readonly #rules = new Things<FirewallRuleId, FirewallRuleView>();
  readonly #gone = new Set<ContainerId>();
  /** Containers on which each host has a claim that counts. */
  readonly #claimed = new Map<PeerId, Set<ContainerId>>();
  /** What has a record that does not count, or not yet. */
  readonly #incomplete = new Set<ThingId>();
  readonly #members: Members;
  readonly #dirty = new Set<ThingId>();
  #volumeUsers: ReadonlyMap<string, readonly ContainerView[]> | undefined;

  constructor(parts: ViewParts) {
    this.#parts = parts;
    this.#members = new Members(parts);
    for (const record of [...parts.replica.list("host/"), ...parts.replica.list("user/")]) this.#note(record, parseRecordKey(record.key));
    this.#unsubscribe = parts.replica.onChange((changed) => this.#changed(changed));
  }

  close(): void {
    this.#unsubscribe();
  }

  authority(): Authority {
    return this.#members.judge().authority;
  }

  keys(): readonly KeyStanding[] {
    return [...this.authority().keys.values()];
  }

  members(): readonly Member[] {
    return this.#members.all();
  }

  memberIds(): ReadonlySet<PeerId> {
    return this.#members.ids();
  }

  member(peer: PeerId): Member | undefined {
    return this.#members.of(peer);
  }

  container(id: ContainerId): ContainerView | undefined {
    this.#refresh();
    return this.#containers.get(id);
  }

  containers(): readonly ContainerView[] {
    this.#refresh();
    return this.#containers.all();
  }

  byName(name: string): readonly ContainerId[] {
    this.#refresh();
    return this.#containers.named(name);
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
    for (const { id, holder, gone, state, sizeBytes } of this.volumes()) {
      if (!gone && holder === peer && (state === "mounted" || this.usersOf(id).length > 0)) used.diskBytes += sizeBytes;
    }
    return used;
  }

  volume(id: VolumeId): VolumeView | undefined {
    this.#refresh();
    return this.#volumes.get(id);
  }

  volumes(): readonly VolumeView[] {
    this.#refresh();
    return this.#volumes.all();
  }

  volumesByName(name: string): readonly VolumeId[] {
    this.#refresh();
    return this.#volumes.named(name);
  }

  volumeOfToken(key: KeyId, token: string): VolumeView | undefined {
    return this.volumes().find((volume) => volume.keyId === key && volume.token === token);
  }

  usersOf(id: VolumeId): readonly ContainerView[] {
    this.#refresh();
    this.#volumeUsers ??= usersOfVolumes(this.containers());
    return this.#volumeUsers.get(id) ?? [];
  }

  vpc(id: VpcId): VpcView | undefined {
    this.#refresh();
    return this.#vpcs.get(id);
  }

  vpcs(): readonly VpcView[] {
    this.#refresh();
    return this.#vpcs.all();
  }

  vpcsByName(name: string): readonly VpcId[] {
    this.#refresh();
    return this.#vpcs.named(name);
  }

  firewallRules(): readonly FirewallRuleView[] {
    this.#refresh();
    return this.#rules.all();
  }

  firewallRule(id: FirewallRuleId): FirewallRuleView | undefined {
    this.#refresh();
    return this.#rules.get(id);
  }

  recordsOf(ids: Iterable<string>): readonly StoredRecord[] {
    return [...ids].flatMap((id) => (isThing(id) ? this.#recordsOf(id) : []));
  }

  isVoid(record: StoredRecord): boolean {
    return isVoidRecord(record, this.#members.judge());
  }

  #changed(records: readonly StoredRecord[]): void {
    for (const record of records) this.#note(record, parseRecordKey(record.key));
  }

  #note(record: StoredRecord, key: KeyParts | undefined): void {
    const anew = this.#members.note(record, key);
    // Who may what has changed: judged anew, from what was read before. A newcomer makes count only what did not yet.
    if (anew !== "none") for (const id of anew === "all" ? this.#keys.keys() : this.#incomplete) this.#dirty.add(id);
    if (key === undefined || key.family === "admin" || !KINDS.has(key.kind) || !isThing(key.id)) return;
    const keys = this.#keys.get(key.id) ?? new Set();
    keys.add(record.key);
    this.#keys.set(key.id, keys);
    this.#dirty.add(key.id);
  }

  #refresh(): void {
    if (this.#dirty.size === 0) return;
    const judge = this.#members.judge();
    for (const id of this.#dirty) {
      const records = this.#recordsOf(id);
      if (isContainerId(id)) this.#putContainer(id, records, judge);
      else if (isFirewallRuleId(id)) this.#put(this.#rules, id, records, ruleOf(id, records, judge));
      else if (isVpcId(id)) this.#put(this.#vpcs, id, records, vpcOf(id, records, judge));
      else this.#put(this.#volumes, id, records, volumeOf(id, records, judge));
    }
    this.#dirty.clear();
    this.#volumeUsers = undefined;
  }

  #putContainer(id: ContainerId, records: readonly StoredRecord[], judge: Judge): void {
    const derived = containerOf(id, records, judge);
    for (const { holder } of this.#containers.get(id)?.claims ?? []) this.#claimed.get(holder)?.delete(id);
    for (const { holder } of derived.thing?.claims ?? []) this.#claimed.set(holder, (this.#claimed.get(holder) ?? new Set()).add(id));
    this.#put(this.#containers, id, records, derived);
    if (derived.thing?.gone ?? derived.isRemoved) this.#gone.add(id);
    else this.#gone.delete(id);
  }

  #put<Id extends ThingId, Thing extends Named<Id>>(
    things: Things<Id, Thing>,
    id: Id,
    records: readonly StoredRecord[],
    { thing, counting }: Derived<Thing>,
  ): void {
    things.put(id, thing);
    if (counting < records.length) this.#incomplete.add(id);
    else this.#incomplete.delete(id);
  }

  #recordsOf(id: ThingId): readonly StoredRecord[] {
    const { replica } = this.#parts;
    return [...(this.#keys.get(id) ?? [])].sort().flatMap((key) => (isHostKey(key) ? (replica.get(key) ?? []) : replica.list(`${key}!`)));
  }
}

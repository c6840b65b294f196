import { formatIp, type Ip, type PeerId, type VpcId } from "../base/index.ts";
import { parseRecordKey, type StoredRecord, type VpcView } from "../state/index.ts";
import { type TakenAddresses, takenIn } from "./blocks.ts";
import { type Membership, membershipOf } from "./membership.ts";
import type { VpcParts } from "./parts.ts";

/**
 * Which addresses of each VPC this host must not give out, by what it knows: those of every container that is not over, and those
 * that were freed and may still be somebody's elsewhere: until this host has synced with more than half of its zone since.
 */
export class TakenBook {
  readonly #parts: Pick<VpcParts, "view" | "replica" | "clock" | "mesh">;
  readonly #onChange: () => void;
  #byVpc: ReadonlyMap<VpcId, readonly Membership[]> | undefined;
  /** When each freed claim was first seen so, by the monotonic clock. What lay there at the start was freed then. */
  readonly #freedAtMs = new Map<string, number>();
  readonly #undo: () => void;

  constructor(parts: Pick<VpcParts, "view" | "replica" | "clock" | "mesh">, onChange: () => void = () => undefined) {
    this.#parts = parts;
    this.#onChange = onChange;
    this.#undo = parts.replica.onChange((changed) => this.#note(changed));
  }

  close(): void {
    this.#undo();
  }

  /** Everybody who has or had an address of the VPC, as far as known here. */
  members(vpc: VpcId): readonly Membership[] {
    this.#byVpc ??= this.#read();
    return this.#byVpc.get(vpc) ?? [];
  }

  /** In order; reserved ones among them. `reserved`: those that are being given out at this moment. */
  taken(vpc: VpcView, reserved: readonly Ip[]): TakenAddresses {
    const members = this.members(vpc.id);
    const held = members.filter((member) => !member.isOver || !this.#isFreeAgain(member, vpc.zone));
    return takenIn(vpc.cidr, [...held.map(({ address }) => address), ...reserved]);
  }

  #isFreeAgain(member: Membership, zone: string): boolean {
    const freedAtMs = this.#freedAtMs.get(nameOf(member));
    if (freedAtMs === undefined) return false;
    const { view, replica, mesh } = this.#parts;
    const hosts = view.members().filter((host) => host.zone === zone);
    const synced = hosts.filter(({ peer }) => peer === mesh.self || isSince(replica.syncedAtMs(peer), freedAtMs));
    return synced.length * 2 > hosts.length;
  }

  #note(changed: readonly StoredRecord[]): void {
    const touches = ({ key }: StoredRecord): boolean => {
      const parts = parseRecordKey(key);
      return parts?.family === "admin" || (parts !== undefined && TOUCHING.has(parts.kind));
    };
    if (!changed.some(touches)) return;
    this.#byVpc = undefined;
    this.#onChange();
  }

  #read(): ReadonlyMap<VpcId, readonly Membership[]> {
    const nowMs = this.#parts.clock.monotonicMs();
    const members = this.#parts.view.containers().flatMap(({ claims }) => claims.flatMap((claim) => membershipOf(claim) ?? []));
    const over = new Set<string>();
    for (const member of members) {
      if (!member.isOver) continue;
      const name = nameOf(member);
      over.add(name);
      if (!this.#freedAtMs.has(name)) this.#freedAtMs.set(name, nowMs);
    }
    for (const name of this.#freedAtMs.keys()) if (!over.has(name)) this.#freedAtMs.delete(name);
    return Map.groupBy(members, ({ vpc }) => vpc);
  }
}

/** Kinds of records by which an address is taken or freed. */
const TOUCHING = new Set(["claim", "phase", "container", "wanted", "certificate"]);

const nameOf = ({ container, holder, claim, address }: Membership): string => `${container} ${holder as PeerId} ${claim.epoch} ${formatIp(address)}`;
const isSince = (atMs: number | undefined, sinceMs: number): boolean => atMs !== undefined && atMs >= sinceMs;

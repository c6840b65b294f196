import { formatIp, type Ip, isContainerId, type PeerId, type VpcId } from "../base/index.ts";
import { type ContainerView, parseRecordKey, type StoredRecord, type VpcView } from "../state/index.ts";
import { type TakenAddresses, takenIn } from "./blocks.ts";
import { type Membership, membershipOf } from "./membership.ts";
import type { VpcParts } from "./parts.ts";

/**
 * Which addresses of each VPC this host must not give out, by what it knows: those of every container that is not over, and those
 * that were freed and may still be somebody's elsewhere: until this host has synced with more than half of its zone since.
 */
export class TakenBook {
  readonly #parts: Pick<VpcParts, "view" | "replica" | "clock" | "mesh">;
  #byVpc: ReadonlyMap<VpcId, readonly Membership[]> | undefined;
  /** When each freed claim was first seen so, by the monotonic clock. What lay there at the start was freed then. */
  readonly #freedAtMs = new Map<string, number>();
  readonly #undo: () => void;

  constructor(parts: Pick<VpcParts, "view" | "replica" | "clock" | "mesh">) {
    this.#parts = parts;
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

  /** When it becomes known, not when it is asked for: each moment later waits for another sync. */
  #note(changed: readonly StoredRecord[]): void {
    const containers = new Set<string>();
    let isAnybodys = false;
    for (const { key } of changed) {
      const parts = parseRecordKey(key);
      if (parts?.family === "admin" || parts?.kind === "certificate") isAnybodys = true;
      else if (parts !== undefined && TOUCHING.has(parts.kind)) containers.add(parts.id);
    }
    if (!isAnybodys && containers.size === 0) return;
    this.#byVpc = undefined;
    if (isAnybodys) this.#byVpc = this.#read();
    else for (const id of containers) if (isContainerId(id)) this.#noteFreed(membershipsOf(this.#parts.view.container(id)));
  }

  #read(): ReadonlyMap<VpcId, readonly Membership[]> {
    const members = this.#parts.view.containers().flatMap(membershipsOf);
    const over = this.#noteFreed(members);
    for (const name of this.#freedAtMs.keys()) if (!over.has(name)) this.#freedAtMs.delete(name);
    return Map.groupBy(members, ({ vpc }) => vpc);
  }

  #noteFreed(members: readonly Membership[]): ReadonlySet<string> {
    const nowMs = this.#parts.clock.monotonicMs();
    const over = new Set(members.flatMap((member) => (member.isOver ? [nameOf(member)] : [])));
    for (const name of over) if (!this.#freedAtMs.has(name)) this.#freedAtMs.set(name, nowMs);
    return over;
  }
}

/** Kinds of a container's records by which its address is taken or freed. */
const TOUCHING = new Set(["claim", "phase", "container", "wanted"]);

const membershipsOf = (container: ContainerView | undefined): readonly Membership[] => (container?.claims ?? []).flatMap((claim) => membershipOf(claim) ?? []);

const nameOf = ({ container, holder, claim, address }: Membership): string => `${container} ${holder as PeerId} ${claim.epoch} ${formatIp(address)}`;
const isSince = (atMs: number | undefined, sinceMs: number): boolean => atMs !== undefined && atMs >= sinceMs;

import { type ContainerId, formatSize, ok, type Result, refuse } from "../base/index.ts";
import type { Needs } from "./requirements.ts";

/** What a host gives to containers, as it declares it. */
export type DeclaredCapacity = Needs & { readonly containersMax: number };
/** What counted claims take of it. */
export type UsedCapacity = Needs & { readonly containers: number };

/** Why a host of this capacity and use cannot take `needs` too; undefined: it can. CPU shares are weights, so their sum may exceed the host. */
export function whatLacks(declared: DeclaredCapacity, used: UsedCapacity, needs: Needs): string | undefined {
  const memoryFree = declared.memoryBytes - used.memoryBytes;
  if (needs.memoryBytes > memoryFree)
    return `${formatSize(needs.memoryBytes)} of memory asked, ${formatSize(Math.max(0, memoryFree))} free of ${formatSize(declared.memoryBytes)}`;
  const diskFree = declared.diskBytes - used.diskBytes;
  if (needs.diskBytes > diskFree)
    return `${formatSize(needs.diskBytes)} of disk asked, ${formatSize(Math.max(0, diskFree))} free of ${formatSize(declared.diskBytes)}`;
  if (used.containers >= declared.containersMax) return `all its ${declared.containersMax} places for containers are taken`;
  if (needs.cpuShares > declared.cpuShares) return `${needs.cpuShares} CPU shares asked, it has ${declared.cpuShares} in all`;
  return undefined;
}

/**
 * What this host has promised: declared capacity minus the sum over counted claims. A claim counts from the moment it is
 * taken until its container is gone, whatever happens in between: a timer would give the room of a slow pull away twice.
 * Check and taking are one synchronous step, so two awards at once never see the same free bytes.
 */
export class CapacityLedger {
  #declared: DeclaredCapacity;
  readonly #counted = new Map<ContainerId, Needs>();
  #used: UsedCapacity = { memoryBytes: 0, diskBytes: 0, cpuShares: 0, containers: 0 };
  #volumeBytes = 0;

  constructor(declared: DeclaredCapacity) {
    this.#declared = declared;
  }

  get declared(): DeclaredCapacity {
    return this.#declared;
  }

  get used(): UsedCapacity {
    return { ...this.#used, diskBytes: this.#used.diskBytes + this.#volumeBytes };
  }

  /** What volumes take of the disk, all together: whatever container has them, each is there once. */
  countVolumes(bytes: number): void {
    this.#volumeBytes = bytes;
  }

  ids(): readonly ContainerId[] {
    return [...this.#counted.keys()];
  }

  has(id: ContainerId): boolean {
    return this.#counted.has(id);
  }

  /** A smaller capacity drops nothing: what is there stays counted, and nothing further fits. */
  declare(capacity: DeclaredCapacity): void {
    this.#declared = capacity;
  }

  whatLacks(needs: Needs): string | undefined {
    return whatLacks(this.#declared, this.used, needs);
  }

  /** Takes the room if it is there, with so many bytes for volumes beside it. The same id again is the same room. */
  take(id: ContainerId, needs: Needs, volumeBytes = 0): Result<true> {
    if (this.#counted.has(id)) return ok(true);
    const lacks = this.whatLacks({ ...needs, diskBytes: needs.diskBytes + volumeBytes });
    if (lacks !== undefined) return refuse("NO_ROOM", lacks);
    this.count(id, needs);
    this.#volumeBytes += volumeBytes;
    return ok(true);
  }

  /** Counts what is held already (read from records after a start): not a question of room. */
  count(id: ContainerId, needs: Needs): void {
    this.drop(id);
    this.#counted.set(id, needs);
    this.#add(needs, 1);
  }

  drop(id: ContainerId): void {
    const needs = this.#counted.get(id);
    if (needs === undefined) return;
    this.#counted.delete(id);
    this.#add(needs, -1);
  }

  #add(needs: Needs, sign: 1 | -1): void {
    this.#used = {
      memoryBytes: this.#used.memoryBytes + sign * needs.memoryBytes,
      diskBytes: this.#used.diskBytes + sign * needs.diskBytes,
      cpuShares: this.#used.cpuShares + sign * needs.cpuShares,
      containers: this.#used.containers + sign,
    };
  }
}

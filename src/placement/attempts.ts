import type { BidRequest } from "../api/gen/cc/v1/mesh_pb.ts";
import type { Award } from "../api/gen/cc/v1/records_pb.ts";
import type { ContainerId, PeerId } from "../base/index.ts";
import type { Holding } from "../state/index.ts";
import { BoundedMemory } from "./bounded-memory.ts";

/** An award of which this peer does not know whether it was taken. The same bytes sent again get the same answer. */
export type Unsettled = { readonly holding: Holding; readonly award: Award; readonly bidAtMs: number; readonly bidValidMs: number };

/** What the holder half of this peer needs to know of a placement that the requester half is at work on. */
export interface ActiveAttempt {
  readonly name: string;
  readonly bidRequest: BidRequest;
  /** An award has gone out: it gives way to nobody any more. */
  readonly awarded: boolean;
  /** Whether the own request is to be shown to this rival now: not at every answer, since showing it is a question too. */
  showTo(peer: PeerId): boolean;
  /** Another peer showed a request for the same container. */
  onRival(peer: PeerId): void;
  /** Records about the container came in. */
  onRecords(): void;
}

const ATTEMPTS_MAX = 1_024;
const RIVALS_PER_CONTAINER_MAX = 16;

/**
 * The placements of this peer: those at work, and what is left of earlier ones. Both halves look here, so that the holder
 * can say 'at work on it' and the requester learns who else is.
 */
export class Attempts {
  readonly #active = new Map<ContainerId, ActiveAttempt>();
  readonly #unsettled = new BoundedMemory<ContainerId, Unsettled>({ entriesMax: 1_024, keepMs: 600_000 });
  readonly #epochs = new BoundedMemory<ContainerId, number>({ entriesMax: 8_192, keepMs: 600_000 });
  readonly #rivals = new BoundedMemory<ContainerId, readonly PeerId[]>({ entriesMax: 1_024, keepMs: 5_000 });

  readonly #copies = new BoundedMemory<ContainerId, number>({ entriesMax: 8_192, keepMs: 600_000 });

  get isFull(): boolean {
    return this.#active.size >= ATTEMPTS_MAX;
  }

  begin(id: ContainerId, attempt: ActiveAttempt): void {
    this.#active.set(id, attempt);
  }

  end(id: ContainerId): void {
    this.#active.delete(id);
  }

  active(id: ContainerId): ActiveAttempt | undefined {
    return this.#active.get(id);
  }

  /** The container, other than `id`, that this peer is placing under this name. */
  placingName(name: string, id: ContainerId): ContainerId | undefined {
    for (const [other, attempt] of this.#active) if (other !== id && attempt.name === name) return other;
    return undefined;
  }

  rivals(id: ContainerId, nowMs: number): readonly PeerId[] {
    return this.#rivals.get(id, nowMs) ?? [];
  }

  addRival(id: ContainerId, peer: PeerId, nowMs: number): void {
    const known = this.rivals(id, nowMs).filter((other) => other !== peer);
    this.#rivals.set(id, [...known, peer].slice(-RIVALS_PER_CONTAINER_MAX), nowMs);
    this.#active.get(id)?.onRival(peer);
  }

  /** It was asked and is not at work any more. */
  dropRival(id: ContainerId, peer: PeerId, nowMs: number): void {
    this.#rivals.set(
      id,
      this.rivals(id, nowMs).filter((other) => other !== peer),
      nowMs,
    );
  }

  unsettled(id: ContainerId, nowMs: number): Unsettled | undefined {
    return this.#unsettled.get(id, nowMs);
  }

  /** Remembered before the award leaves: whatever happens then, a retry knows of it. */
  remember(id: ContainerId, unsettled: Unsettled, nowMs: number): void {
    this.#unsettled.set(id, unsettled, nowMs);
    this.raiseEpoch(id, unsettled.holding.epoch, nowMs);
  }

  settle(id: ContainerId): void {
    this.#unsettled.delete(id);
  }

  /** On how many disks a container of this peer's placing was when it was acknowledged: a retry is told the same. */
  acknowledge(id: ContainerId, copies: number, nowMs: number): void {
    this.#copies.set(id, copies, nowMs);
  }

  copies(id: ContainerId, nowMs: number): number {
    return this.#copies.get(id, nowMs) ?? 0;
  }

  /** The highest epoch that any award of this container is known to have had. */
  epoch(id: ContainerId, nowMs: number): number {
    return this.#epochs.get(id, nowMs) ?? 0;
  }

  raiseEpoch(id: ContainerId, epoch: number, nowMs: number): void {
    this.#epochs.set(id, Math.max(epoch, this.epoch(id, nowMs)), nowMs);
  }
}

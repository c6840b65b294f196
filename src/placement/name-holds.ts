import type { ContainerId, PeerId } from "../base/index.ts";
import { BoundedMemory } from "./bounded-memory.ts";

export const NAME_HOLD_MS = 10_000;

type Hold = { readonly id: ContainerId; readonly requester: PeerId };

/**
 * Names that this host holds for containers that are being placed. Each host holds for whoever came first; only the lowest
 * peer's word counts (awaited.ts), so that of two creates at once exactly one goes on.
 *
 * A requester's newer id replaces its own older one: it knows itself whether it is still at work on the older, so a user
 * whose first try was refused may try again at once.
 */
export class NameHolds {
  readonly #holds = new BoundedMemory<string, Hold>({ entriesMax: 4_096, keepMs: NAME_HOLD_MS });

  /** Holds `name` for `id`, or gives the id that has it already. */
  hold(name: string, id: ContainerId, requester: PeerId, nowMs: number): ContainerId | undefined {
    const held = this.#holds.get(name, nowMs);
    if (held !== undefined && held.id !== id && held.requester !== requester) return held.id;
    this.#holds.set(name, { id, requester }, nowMs);
    return undefined;
  }

  /** The container is there or was refused: from now on its record says who has the name. */
  release(name: string, id: ContainerId, nowMs: number): void {
    if (this.#holds.get(name, nowMs)?.id === id) this.#holds.delete(name);
  }
}

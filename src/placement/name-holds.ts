import type { PeerId } from "../base/index.ts";
import { BoundedMemory } from "./bounded-memory.ts";

export const NAME_HOLD_MS = 10_000;

type Hold<Id> = { readonly id: Id; readonly requester: PeerId };

/**
 * Names that this host holds for what is being made: containers that are placed, volumes. Each host holds for whoever came first; only the lowest
 * peer's word counts (awaited.ts), so that of two creates at once exactly one goes on.
 *
 * A requester's newer id replaces its own older one: it knows itself whether it is still at work on the older, so a user
 * whose first try was refused may try again at once.
 */
export class NameHolds<Id extends string> {
  readonly #holds = new BoundedMemory<string, Hold<Id>>({ entriesMax: 4_096, keepMs: NAME_HOLD_MS });

  /** Holds `name` for `id`, or gives the id that has it already. */
  hold(name: string, id: Id, requester: PeerId, nowMs: number): Id | undefined {
    const held = this.#holds.get(name, nowMs);
    if (held !== undefined && held.id !== id && held.requester !== requester) return held.id;
    this.#holds.set(name, { id, requester }, nowMs);
    return undefined;
  }

  /** It is there or was refused: from now on its record says who has the name. */
  release(name: string, id: Id, nowMs: number): void {
    if (this.#holds.get(name, nowMs)?.id === id) this.#holds.delete(name);
  }
}

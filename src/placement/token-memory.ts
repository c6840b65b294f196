import { type ContainerId, ok, type Result, refuse } from "../base/index.ts";
import { BoundedMemory } from "./bounded-memory.ts";

/** A token stands for one spec: the same again is a retry, another spec under it a mistake that must not become either of the two. */
export function sameSpec(known: string, asked: string): Result<true> {
  if (known === asked) return ok(true);
  return refuse("TOKEN_REUSED", "this client token was used for another container before; use a new token for a new container");
}

/**
 * Which spec each token stood for at this peer lately. Only for what has no record yet; afterwards the record tells, for as
 * long as it lives.
 */
export class TokenMemory {
  readonly #specs = new BoundedMemory<ContainerId, string>({ entriesMax: 8_192, keepMs: 600_000 });

  /** `spec` is a fingerprint of all that the user asked for, the same at every peer and attempt. */
  use(id: ContainerId, spec: string, nowMs: number): Result<true> {
    const same = sameSpec(this.#specs.get(id, nowMs) ?? spec, spec);
    if (same.ok) this.#specs.set(id, spec, nowMs);
    return same;
  }
}

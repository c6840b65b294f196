import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import { asCcError, CcError, type Clock, type Logger, type PeerId, type Random } from "../base/index.ts";
import type { Mesh } from "../mesh/index.ts";
import { compareBytes } from "./merge.ts";
import { answerReconciliation, checkReconciliation, isEmptyReconciliation, openReconciliation } from "./reconcile.ts";
import type { RecordIndex } from "./record-index.ts";

const CALL_MS_MAX = 3_000;
/** 64 messages of 512 KiB: a longer refill goes on in the next session. */
const ROUNDS_MAX = 64;
/** Between two repairs (half to one and a half of it): while something differs, and while nothing does. */
const DIFFERING_MS = 1_000;
const IDLE_MS = 3_000;
/** The pause of a refill that one session did not finish. */
const UNFINISHED_MS = 20;

export type RepairParts = {
  readonly mesh: Pick<Mesh, "call" | "connected" | "onConnection">;
  readonly index: RecordIndex;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Gives how many of the frames were new. */
  readonly take: (frames: readonly RecordFrame[], from: PeerId) => Promise<number>;
};

export type Session = { readonly complete: boolean; readonly took: number; readonly gave: number; readonly rounds: number };

/** Makes both sides hold the union of what both hold. Throws what the call throws. */
export async function reconcileWith(peer: PeerId, parts: Pick<RepairParts, "mesh" | "index" | "take">, signal: AbortSignal): Promise<Session> {
  let message = openReconciliation(parts.index);
  let took = 0;
  let gave = 0;
  for (let rounds = 1; rounds <= ROUNDS_MAX; rounds += 1) {
    const reply = await parts.mesh.call(
      peer,
      "reconcile",
      { ranges: [...message.ranges].map(({ items, ...range }) => ({ ...range, items: [...items] })), frames: [...message.frames], wanted: [...message.wanted] },
      { timeoutMs: CALL_MS_MAX, signal },
    );
    const checked = checkReconciliation(reply);
    if (!checked.ok) throw new CcError(checked.code, checked.message);
    if (reply.frames.length > 0) took += await parts.take(reply.frames, peer);
    message = answerReconciliation(parts.index, reply);
    gave += message.frames.length;
    if (isEmptyReconciliation(message)) return { complete: true, took, gave, rounds };
  }
  return { complete: false, took, gave, rounds: ROUNDS_MAX };
}

/**
 * Repair with random neighbours, for ever. Neighbours tell their digests with every probe, so who is known to have the same
 * is not asked: an idle mesh sends nothing for it.
 */
export class RepairLoop {
  readonly #parts: RepairParts;
  readonly #stopped = new AbortController();
  readonly #digests = new Map<PeerId, Uint8Array>();
  readonly #syncedAtMs = new Map<PeerId, number>();
  #next: PeerId | undefined;
  #dueMs = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #running = false;
  #unsubscribe: (() => void) | undefined;

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#unsubscribe ??= this.#parts.mesh.onConnection((peer, open) => {
      this.#digests.delete(peer);
      // A cut that heals shows itself as a connection: what differs is found at once, not at the next turn.
      if (open) this.#soon(peer);
    });
    this.#schedule(DIFFERING_MS);
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#cancel?.();
    this.#stopped.abort(new CcError("CANCELLED", "the replica is stopped"));
  }

  /** A neighbour told the digest of all that it has; `urgent`: it says that it has what we have to know at once. */
  heard(peer: PeerId, digest: Uint8Array, urgent: boolean): void {
    const before = this.#digests.get(peer);
    this.#digests.set(peer, digest);
    if (compareBytes(digest, this.#parts.index.digest()) === 0) this.#syncedAtMs.set(peer, this.#parts.clock.monotonicMs());
    // Once may be a delta on its way; the same difference twice is something to repair.
    const differs = before !== undefined && compareBytes(before, digest) === 0 && compareBytes(digest, this.#parts.index.digest()) !== 0;
    if (differs || urgent) this.#soon(peer);
  }

  /** When both had all that the other had; undefined: not in this life. */
  syncedAtMs(peer: PeerId): number | undefined {
    return this.#syncedAtMs.get(peer);
  }

  #soon(peer: PeerId): void {
    this.#next = peer;
    this.#schedule(DIFFERING_MS / 2);
  }

  #schedule(aboutMs: number): void {
    if (this.#stopped.signal.aborted) return;
    const { clock, random } = this.#parts;
    const delayMs = aboutMs / 2 + random.below(aboutMs);
    const dueMs = clock.monotonicMs() + delayMs;
    if (this.#running || dueMs >= this.#dueMs) return;
    this.#cancel?.();
    this.#dueMs = dueMs;
    this.#cancel = clock.after(delayMs, () => void this.#turn());
  }

  async #turn(): Promise<void> {
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#running = true;
    const session = await this.#session();
    this.#running = false;
    if (session?.complete === false) this.#schedule(UNFINISHED_MS);
    else if (this.#next !== undefined) this.#schedule(DIFFERING_MS / 2);
    else this.#schedule(session !== undefined && session.took + session.gave > 0 ? DIFFERING_MS : IDLE_MS);
  }

  async #session(): Promise<Session | undefined> {
    const { mesh, random, log } = this.#parts;
    const own = this.#parts.index.digest();
    const connected = mesh.connected();
    const differing = connected.filter((peer) => {
      const digest = this.#digests.get(peer);
      return digest === undefined || compareBytes(digest, own) !== 0;
    });
    const peer = this.#next !== undefined && connected.includes(this.#next) ? this.#next : differing[random.below(Math.max(1, differing.length))];
    this.#next = undefined;
    if (peer === undefined) return undefined;
    const { clock } = this.#parts;
    const startedAtMs = clock.monotonicMs();
    try {
      const session = await reconcileWith(peer, this.#parts, this.#stopped.signal);
      // What came after the first message may have been left out of a range that was equal then.
      if (session.complete) this.#syncedAtMs.set(peer, startedAtMs);
      if (session.took + session.gave > 0) log.debug({ peer, ...session }, "repaired");
      return session;
    } catch (error) {
      // The next turn asks another one; a neighbour that fails for long is the observers' business.
      log.debug({ peer, code: asCcError(error).code }, "repair failed");
      return undefined;
    }
  }
}

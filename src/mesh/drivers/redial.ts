import type { Clock, Logger, PeerId, Random } from "../../base/index.ts";
import { firstDialDelayMs, redialDelayMs } from "../redial-delay.ts";

const TICK_MS = 500;
const DIALS_AT_ONCE_MAX = 8;
/** A connection that held so long is no longer one that was dialled in vain. */
const LASTING_MS = 5_000;

export type RedialParts = {
  readonly self: PeerId;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Everyone this host should be connected to. */
  readonly wanted: () => readonly PeerId[];
  readonly isConnected: (peer: PeerId) => boolean;
  /** One attempt; throws when it failed. */
  readonly dial: (peer: PeerId, attempts: number) => Promise<void>;
};

export type Redial = {
  start(): void;
  stop(): void;
  /** Dials everyone absent as soon as it may: members changed, or addresses became known. */
  poke(): void;
};

/**
 * Keeps connections to everyone wanted. libp2p's own `bootstrap` dials once: a seed that does not listen yet would mean
 * no connection, ever.
 */
export function createRedial({ self, clock, random, log, wanted, isConnected, dial }: RedialParts): Redial {
  type Absence = { attempts: number; nextAtMs: number; dialling: boolean; connectedAtMs: number | undefined };
  const absences = new Map<PeerId, Absence>();
  let cancel: (() => void) | undefined;

  const attempt = async (peer: PeerId, absence: Absence): Promise<void> => {
    absence.dialling = true;
    try {
      await dial(peer, absence.attempts);
    } catch (error) {
      log.debug({ peer, attempts: absence.attempts, err: error }, "a peer could not be dialled");
    } finally {
      absence.dialling = false;
      absence.attempts += 1;
      absence.nextAtMs = clock.monotonicMs() + redialDelayMs(absence.attempts, absences.size, random);
    }
  };

  const tick = (): void => {
    cancel = clock.after(TICK_MS, tick);
    const nowMs = clock.monotonicMs();
    const absent = new Set(wanted().filter((peer) => !isConnected(peer)));
    for (const [peer, absence] of absences) {
      if (absent.has(peer)) absence.connectedAtMs = undefined;
      else if (!isConnected(peer))
        absences.delete(peer); // not wanted any more
      else {
        absence.connectedAtMs ??= nowMs;
        // A peer that does not admit us lets the dial succeed and drops it at once: only what lasts starts afresh.
        if (nowMs - absence.connectedAtMs > LASTING_MS) absences.delete(peer);
      }
    }
    let dialling = [...absences.values()].filter((absence) => absence.dialling).length;
    for (const peer of absent) {
      const absence = absences.get(peer) ?? { attempts: 0, nextAtMs: nowMs + firstDialDelayMs(self, peer, random), dialling: false, connectedAtMs: undefined };
      absences.set(peer, absence);
      if (absence.dialling || absence.nextAtMs > nowMs || dialling >= DIALS_AT_ONCE_MAX) continue;
      dialling += 1;
      void attempt(peer, absence);
    }
  };

  return {
    start() {
      if (cancel === undefined) tick();
    },
    stop() {
      cancel?.();
      cancel = undefined;
      absences.clear();
    },
    poke() {
      if (cancel === undefined) return;
      for (const absence of absences.values()) absence.nextAtMs = Math.min(absence.nextAtMs, clock.monotonicMs());
      cancel();
      tick();
    },
  };
}

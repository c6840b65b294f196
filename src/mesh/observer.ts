import { asCcError, type Clock, type Logger, type PeerId, type Random } from "../base/index.ts";
import { addSample, bestOffsetMs, clockSample, medianOffsetMs } from "./clocks.ts";
import { probeAnswered, probeMissed, restarted } from "./evidence.ts";
import type { Liveness, Sighting, Standing } from "./liveness.ts";
import type { CallReplyInit, Mesh } from "./mesh.ts";
import { type Heard, readObservation } from "./observation.ts";
import { type ClockReading, didStall } from "./stall.ts";
import { isEarlier, judge, type Life, laterLife, refutation } from "./verdict.ts";
import { knowledgeOf, NO_LIFE, newlyWatched, sightingOf, type Watched } from "./watched.ts";

/**
 * A host that vanishes is missed by the probe that is under way or starts within `probeEveryMs`, then by two more, the
 * last at least 2 s after the first miss: 2 to 5.7 s, the median 4 to 4.5 s (simulated; 2.5 s where a closed connection
 * tells of it). From 17 hosts on each probes rarely, but the first miss makes the others look: 3.5 s at 40.
 */
export type ObserverSettings = {
  /** Between probes of one peer; stretched above 16 hosts so that the load stays that of 16. */
  readonly probeEveryMs: number;
  /** An answer takes 1 to 5 ms at home and 300 across the world. */
  readonly probeTimeoutMs: number;
  /** Between the starts of two probes after a miss: a refused one fails at once and must not be hammered. */
  readonly retryGapMs: number;
  readonly tickMs: number;
  /** After a stall this host withholds its judgement so long: one round of probes with a loop that runs. */
  readonly withholdMs: number;
};

const OBSERVER_DEFAULTS: ObserverSettings = { probeEveryMs: 2_000, probeTimeoutMs: 1_000, retryGapMs: 600, tickMs: 200, withholdMs: 3_000 };

/** Up to here everyone probes everyone at full rate. */
const FULL_RATE_HOSTS = 16;
/** Words in one probe: they must fit into a frame of 64 KiB. */
const OPINIONS_SAID_MAX = 512;
/** A word that makes everybody probe at once is heeded this often: accusing is cheap. */
const RALLY_EVERY_MS = 5_000;
/** A connection over which so many further probes were missed is aborted again. */
const ABORT_EVERY_MISSES = 3;

/** What the state side has to say in a probe, and hears from one. */
export type ObserverFacts = {
  /** This peer's start number. */
  startNumber(): number;
  /** Of the records of `peer`: the key of the newest, and the highest start number stored. */
  highestOf(peer: PeerId): { readonly key: string; readonly startNumber: number };
  /** Over all records. */
  digest(): Uint8Array;
  /** What a peer said of this host's records, and the digest of its own. */
  heard(peer: PeerId, said: { readonly highestKey: string; readonly highestStartNumber: number; readonly digest: Uint8Array }): void;
};

export type ObserverParts = {
  readonly mesh: Pick<Mesh, "self" | "call" | "handle" | "connected" | "disconnect" | "onConnection" | "answeredAtMs">;
  /** All admitted hosts, oneself included or not. */
  readonly members: () => readonly PeerId[];
  readonly facts: ObserverFacts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
};

export interface Observer extends Liveness {
  start(): void;
  stop(): void;
}

/** The service that watches all members: probes, exchanges words, judges, and aborts connections that lead nowhere. */
export function createObserver(parts: ObserverParts, settings: ObserverSettings = OBSERVER_DEFAULTS): Observer {
  const { mesh, members, facts, clock, random, log } = parts;
  const watched = new Map<PeerId, Watched>();
  const listeners = new Set<(sighting: Sighting) => void>();
  let incarnation = 0;
  let withholdUntilMs = Number.NEGATIVE_INFINITY;
  let ralliedAtMs = Number.NEGATIVE_INFINITY;
  let lastReading: ClockReading = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
  let tickDueAtMs = Number.POSITIVE_INFINITY;
  let running: { controller: AbortController; cancelTick: () => void; unsubscribe: () => void } | undefined;
  let startedAtMs = clock.nowMs();

  const withholds = (): boolean => clock.monotonicMs() < withholdUntilMs;
  const probeEveryMs = (): number => settings.probeEveryMs * Math.max(1, watched.size / (FULL_RATE_HOSTS - 1));

  /** Looked at before each judgement: after a stall, time limits fire before the tick that would notice it. */
  const noticeStall = (): void => {
    const now = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
    if (!didStall(lastReading, now, tickDueAtMs)) return;
    if (!withholds()) log.info({ lateMs: Math.round(now.monotonicMs - tickDueAtMs) }, "this peer did not run for a while and withholds its judgement");
    withholdUntilMs = now.monotonicMs + settings.withholdMs;
    lastReading = now;
    tickDueAtMs = Math.max(tickDueAtMs, now.monotonicMs);
  };

  const watch = (peer: PeerId): Watched => {
    const known = watched.get(peer);
    if (known !== undefined) return known;
    const fresh = newlyWatched(clock.nowMs(), clock.monotonicMs() + random.below(Math.max(1, Math.round(settings.retryGapMs))));
    watched.set(peer, fresh);
    return fresh;
  };

  const probeSoon = (of: Watched): void => {
    of.nextProbeAtMs = Math.min(of.nextProbeAtMs, Math.max(clock.monotonicMs(), of.probedAtMs + settings.retryGapMs));
  };

  const observationFor = (peer: PeerId): CallReplyInit<"observe"> => {
    const highest = facts.highestOf(peer);
    const silent = withholds();
    const opinions = silent
      ? []
      : [...watched]
          .filter(([, of]) => of.evidence.down)
          .slice(0, OPINIONS_SAID_MAX)
          .map(([accused, of]) => ({ peer: accused, ...laterLife(of.life, of.accusedLife), sinceMs: of.sinceMs }));
    return {
      timeMs: clock.nowMs(),
      startNumber: facts.startNumber(),
      incarnation,
      opinions,
      withholds: silent,
      highestOfYoursKey: highest.key,
      highestStartOfYours: highest.startNumber,
      digest: facts.digest(),
    };
  };

  const tell = (peer: PeerId, of: Watched): void => {
    const sighting = sightingOf(peer, of);
    for (const listener of listeners) {
      try {
        listener(sighting);
      } catch (error) {
        log.error({ peer, err: error }, "a listener of liveness failed");
      }
    }
  };

  const judgeAll = (): void => {
    noticeStall();
    const nowMs = clock.monotonicMs();
    const known = knowledgeOf(watched, { self: mesh.self, withholds: withholds(), reportAgeMaxMs: 3 * probeEveryMs() + settings.probeTimeoutMs });
    for (const [peer, of] of watched) {
      const { standing, seenBy } = judge(peer, of.standing, known, nowMs);
      of.seenBy = seenBy;
      if (standing === of.standing) continue;
      of.standing = standing;
      of.sinceMs = clock.nowMs();
      log[standing === "unreachable" ? "warn" : "info"]({ peer, standing, seenBy: seenBy.length }, "a host's standing changed");
      tell(peer, of);
    }
  };

  /** Everything that a peer's observation says, whether it came as a probe of its or as the answer to ours. */
  const take = (peer: PeerId, of: Watched, heard: Heard): void => {
    const nowMs = clock.monotonicMs();
    of.heardAtMs = clock.nowMs();
    const later = isEarlier(of.life, heard.life);
    const anew = heard.life.startNumber > of.life.startNumber;
    if (anew) of.evidence = restarted(of.evidence);
    // Messages overtake each other: an earlier life said late changes nothing.
    if (later) of.life = heard.life;
    of.report = { withholds: heard.withholds, accused: heard.accused, atMs: nowMs };
    for (const [accused, life] of heard.accused) {
      const other = watched.get(accused);
      if (other === undefined) continue;
      // A host that missed the accused's last life would accuse an earlier one for ever, and its word be void.
      other.accusedLife = laterLife(other.accusedLife, life);
      // Somebody misses it: look at once rather than when its turn comes.
      if (!other.evidence.down) probeSoon(other);
    }
    const answer = refutation({ startNumber: facts.startNumber(), incarnation }, heard.accused.get(mesh.self));
    if (answer !== undefined) {
      incarnation = answer;
      if (nowMs - ralliedAtMs >= RALLY_EVERY_MS) {
        ralliedAtMs = nowMs;
        for (const other of watched.values()) probeSoon(other);
      }
    }
    facts.heard(peer, { highestKey: heard.highestOfYoursKey, highestStartNumber: heard.highestStartOfYours, digest: heard.digest });
    if (anew) tell(peer, of);
  };

  const missed = (peer: PeerId, of: Watched, error: unknown): void => {
    noticeStall();
    const before = of.evidence;
    // Something else was answered since: the host is late, not gone.
    if ((mesh.answeredAtMs?.(peer) ?? Number.NEGATIVE_INFINITY) >= of.probedAtMs) {
      of.evidence = probeAnswered(before, clock.monotonicMs());
      return;
    }
    of.evidence = probeMissed(before, clock.monotonicMs(), withholds());
    if (!of.evidence.down) return;
    if (!before.down) {
      log.info({ peer, code: asCcError(error).code }, "a host does not answer this one");
      // The others hear of it at once, and look themselves.
      for (const [other, its] of watched) if (other !== peer && !its.evidence.down) probeSoon(its);
    }
    // A dead link stays "connected" for minutes: what does not answer is closed here.
    const again = of.evidence.missed % ABORT_EVERY_MISSES === 0;
    if ((!before.down || again) && mesh.connected().includes(peer)) {
      mesh.disconnect(peer).catch((failure: unknown) => log.warn({ peer, err: failure }, "a connection could not be closed"));
    }
  };

  const probe = async (peer: PeerId, of: Watched, signal: AbortSignal): Promise<void> => {
    of.probing = true;
    const sentAtMs = clock.monotonicMs();
    of.probedAtMs = sentAtMs;
    try {
      const reply = await mesh.call(peer, "observe", observationFor(peer), { timeoutMs: settings.probeTimeoutMs, signal });
      if (signal.aborted) return;
      const heard = readObservation(reply);
      const nowMs = clock.monotonicMs();
      of.samples = addSample(of.samples, clockSample(heard.timeMs, clock.nowMs(), nowMs - sentAtMs, nowMs));
      take(peer, of, heard);
      of.evidence = probeAnswered(of.evidence, nowMs);
    } catch (error) {
      if (!signal.aborted) missed(peer, of, error);
    } finally {
      of.probing = false;
      const restMs = of.evidence.missed > 0 && !of.evidence.down ? settings.retryGapMs : probeEveryMs() * (0.9 + random.below(200) / 1_000);
      of.nextProbeAtMs = Math.max(clock.monotonicMs(), of.probedAtMs + restMs);
    }
    if (!signal.aborted) judgeAll();
  };

  const tick = (signal: AbortSignal): void => {
    noticeStall();
    const nowMs = clock.monotonicMs();
    lastReading = { wallMs: clock.nowMs(), monotonicMs: nowMs };
    const wanted = new Set(members().filter((member) => member !== mesh.self));
    for (const peer of watched.keys()) if (!wanted.has(peer)) watched.delete(peer);
    for (const peer of wanted) {
      const of = watch(peer);
      if (!of.probing && of.nextProbeAtMs <= nowMs) void probe(peer, of, signal);
    }
    judgeAll();
    tickDueAtMs = nowMs + settings.tickMs;
    if (running !== undefined) running.cancelTick = clock.after(settings.tickMs, () => tick(signal));
  };

  mesh.handle("observe", async (request, from) => {
    const heard = readObservation(request);
    // Before it was started, and from who is just being admitted, an answer is given without a memory of it.
    if (running !== undefined && members().includes(from)) {
      const of = watch(from);
      take(from, of, heard);
      // Hearing is no round trip: whether this host reaches it too, its own probe must show.
      if (of.evidence.down || of.evidence.answeredAtMs === undefined) probeSoon(of);
    }
    return observationFor(from);
  });

  return {
    start() {
      if (running !== undefined) return;
      const controller = new AbortController();
      startedAtMs = clock.nowMs();
      tickDueAtMs = Number.POSITIVE_INFINITY;
      lastReading = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
      const unsubscribe = mesh.onConnection((peer) => {
        const of = watched.get(peer);
        if (of !== undefined) probeSoon(of);
      });
      running = { controller, cancelTick: () => undefined, unsubscribe };
      tick(controller.signal);
    },
    stop() {
      running?.controller.abort();
      running?.cancelTick();
      running?.unsubscribe();
      running = undefined;
      watched.clear();
    },
    of(peer) {
      const known = watched.get(peer);
      if (known !== undefined) return sightingOf(peer, known);
      const self = peer === mesh.self;
      const standing: Standing = self ? "alive" : members().includes(peer) ? "suspect" : "unreachable";
      const life: Life = self ? { startNumber: facts.startNumber(), incarnation } : NO_LIFE;
      return {
        peer,
        standing,
        sinceMs: startedAtMs,
        heardAtMs: self ? clock.nowMs() : undefined,
        seenBy: self ? [peer] : [],
        clockOffsetMs: self ? 0 : undefined,
        ...life,
      };
    },
    reachable: () => [...watched].filter(([, of]) => of.standing !== "unreachable").map(([peer]) => peer),
    all: () => [...watched].map(([peer, of]) => sightingOf(peer, of)),
    medianOffsetMs: () => medianOffsetMs([...watched.values()].filter((of) => of.standing === "alive").flatMap((of) => bestOffsetMs(of.samples) ?? [])),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

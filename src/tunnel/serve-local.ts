import { asCcError, CcError, type Clock, sleep } from "../base/index.ts";
import { retryDelayMs } from "./backoff.ts";
import type { Bind } from "./bind.ts";
import { isTunnelFrame, type ResetReason } from "./frames.ts";
import { type FrameSender, Multiplexer } from "./multiplexer.ts";
import type { TunnelSocket } from "./socket.ts";
import { type LocalStanding, mayPass, standingLine } from "./standing.ts";
import { Budget } from "./window.ts";

/** After the first interruption connections may go on so long. */
const FINISH_MS_MAX = 5_000;
const FINISH_LOOK_MS = 50;
/** What could be said for each connection is said this seldom. */
const SAY_AGAIN_MS = 10_000;
/** The host says how the container stands as soon as it has the request. */
const STANDING_MS_MAX = 15_000;
/** Connections that wait for a lost link to be made anew. */
const HELD_MAX = 1_024;

/** One stream to the container's host, through whichever peer. */
export interface TunnelLink extends FrameSender {
  listen(events: { frame(bytes: Uint8Array): void; drained(): void; end(error: CcError): void }): void;
  close(): void;
}

export type LocalListener = { readonly at: Bind; close(): void };

export type LocalParts = {
  /** Throws CcError: what a peer refused with, or PEER_UNREACHABLE when none could be reached. */
  readonly open: () => Promise<TunnelLink>;
  /** Reads `{type: "standing"}` and `{type: "error"}` from a frame that is none of the tunnel's; undefined for others. */
  readonly readEvent: (frame: Uint8Array) => { readonly running: boolean; readonly text: string } | CcError | undefined;
  /** Throws CcError when the address cannot be had. */
  readonly listen: (bind: Bind, accept: (socket: TunnelSocket) => void) => Promise<LocalListener>;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly chance: () => number;
  /** One line for people. */
  readonly say: (text: string) => void;
  readonly listening: (at: Bind) => void;
};

export type LocalTarget = { readonly name: string; readonly port: number };

type Session = { readonly tunnel: Multiplexer; readonly link: TunnelLink; readonly over: Promise<CcError>; running: boolean };

/**
 * The user's end of a tunnel: a local port whose connections go to the container, until `stop` is aborted. Then open connections
 * have 5 s to end by themselves; `kill` ends them at once. Throws what will not pass by itself (the container is gone,
 * the key is revoked), before it listens as well as later.
 */
export async function serveLocal(parts: LocalParts, bind: Bind, target: LocalTarget, stop: AbortSignal, kill: AbortSignal): Promise<void> {
  const service = new LocalService(parts, target);
  const stopped = Promise.withResolvers<never>();
  stopped.promise.catch(() => undefined); // Whoever waits for something else meanwhile hears it by the race.
  const onStop = (): void => stopped.reject(stop.reason);
  if (stop.aborted) onStop();
  stop.addEventListener("abort", onStop, { once: true });
  let listener: LocalListener | undefined;
  try {
    await Promise.race([service.reach(), stopped.promise]);
    listener = await parts.listen(bind, (socket) => service.accept(socket));
    parts.listening(listener.at);
    await Promise.race([service.stayReached(stop), stopped.promise]);
  } catch (error) {
    if (!stop.aborted) throw error;
    listener?.close();
    await service.finish(kill);
  } finally {
    stop.removeEventListener("abort", onStop);
    listener?.close();
    service.end();
  }
}

class LocalService {
  readonly #parts: LocalParts;
  readonly #target: LocalTarget;
  readonly #budget = new Budget();
  readonly #saidAtMs = new Map<string, number>();
  #standing: LocalStanding | undefined;
  #session: Session | undefined;
  /** While the link is made anew: undefined once an attempt has failed. */
  #held: TunnelSocket[] | undefined;

  constructor(parts: LocalParts, target: LocalTarget) {
    this.#parts = parts;
    this.#target = target;
  }

  /** One attempt; what passes by itself is only said. */
  async reach(): Promise<boolean> {
    const first = this.#standing === undefined;
    let link: TunnelLink;
    try {
      link = await this.#parts.open();
    } catch (thrown) {
      return this.#failed(asCcError(thrown), first);
    }
    const { started, session } = this.#start(link);
    const error = await started;
    if (error !== undefined) return this.#failed(error, false);
    this.#session = session;
    for (const socket of this.#held?.splice(0) ?? []) this.accept(socket);
    return true;
  }

  /** Until `stop`: whenever the link is lost it is made anew. */
  async stayReached(stop: AbortSignal): Promise<never> {
    for (let failures = 0; ; failures += 1) {
      const session = this.#session;
      if (session !== undefined) {
        failures = 0;
        const error = await session.over;
        stop.throwIfAborted();
        this.#session = undefined;
        if (!mayPass(error.code)) throw error;
        this.#parts.say(`the way to ${this.#target.name} was lost (${error.message}): connections through it have ended`);
        this.#held = [];
      } else await sleep(this.#parts.clock, retryDelayMs(failures, this.#parts.chance()), stop);
      stop.throwIfAborted();
      await this.reach();
    }
  }

  /** A program on this machine connected. */
  accept(socket: TunnelSocket): void {
    const session = this.#session;
    if (session?.running === true) {
      if (!session.tunnel.open(socket)) this.#onRefused("no-room");
    } else if (session === undefined && this.#held !== undefined && this.#held.length < HELD_MAX) this.#held.push(socket);
    else socket.reset();
  }

  async finish(kill: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    const tunnel = this.#session?.tunnel;
    const untilMs = clock.monotonicMs() + FINISH_MS_MAX;
    if (tunnel !== undefined && tunnel.size > 0)
      this.#parts.say(`${tunnel.size} open connections have ${FINISH_MS_MAX / 1_000} s to end; interrupt again to end at once`);
    while (tunnel !== undefined && tunnel.size > 0 && !kill.aborted && clock.monotonicMs() < untilMs) await sleep(clock, FINISH_LOOK_MS);
  }

  end(): void {
    this.#resetHeld();
    this.#session?.tunnel.close();
    this.#session?.link.close();
    this.#session = undefined;
  }

  /** `started` resolves when the host has said how the container stands (undefined), or with why it did not. */
  #start(link: TunnelLink): { readonly started: Promise<CcError | undefined>; readonly session: Session } {
    const started = Promise.withResolvers<CcError | undefined>();
    const over = Promise.withResolvers<CcError>();
    const tunnel = new Multiplexer(link, this.#budget, {
      refused: (reason) => this.#onRefused(reason),
      answered: () => this.#become({ kind: "serving" }),
    });
    const session: Session = { tunnel, link, over: over.promise, running: false };
    const end = (error: CcError): void => {
      cancel();
      session.running = false;
      tunnel.close();
      link.close();
      started.resolve(error);
      over.resolve(error);
    };
    const cancel = this.#parts.clock.after(STANDING_MS_MAX, () => end(new CcError("TIMEOUT", "the container's host did not answer in time")));
    const onFrame = (bytes: Uint8Array): void => {
      if (isTunnelFrame(bytes)) return tunnel.receive(bytes);
      const event = this.#parts.readEvent(bytes);
      if (event instanceof CcError) return end(event);
      if (event === undefined) return;
      cancel();
      session.running = event.running;
      this.#become(event.running ? { kind: "serving" } : { kind: "stopped", text: event.text });
      started.resolve(undefined);
    };
    link.listen({
      frame: (bytes) => {
        try {
          onFrame(bytes);
        } catch (thrown) {
          end(asCcError(thrown));
        }
      },
      drained: () => tunnel.drained(),
      end,
    });
    return { started: started.promise, session };
  }

  #failed(error: CcError, fatal: boolean): false {
    if (fatal || !mayPass(error.code)) throw error;
    this.#become({ kind: "unreachable", text: error.message });
    this.#resetHeld();
    return false;
  }

  #resetHeld(): void {
    for (const socket of this.#held ?? []) socket.reset();
    this.#held = undefined;
  }

  #onRefused(reason: ResetReason): void {
    if (reason === "refused") this.#become({ kind: "port-closed" });
    if (reason === "no-room") this.#saySeldom("there are too many connections at once: some are refused");
    if (reason === "failed") this.#saySeldom(`${this.#target.name}'s host could not connect into the container: the peer's log there says why`);
  }

  #become(standing: LocalStanding): void {
    const line = standingLine(this.#standing, standing, this.#target);
    this.#standing = standing;
    if (line !== undefined) this.#parts.say(line);
  }

  #saySeldom(text: string): void {
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs - (this.#saidAtMs.get(text) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN_MS) return;
    this.#saidAtMs.set(text, nowMs);
    this.#parts.say(text);
  }
}

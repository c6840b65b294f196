import type { Clock } from "../base/index.ts";
import { type RouterAnswer, type RouterDriver, type RouterRoute, type RouterSession, type RouterTrouble, type RouterVia, troubled } from "./router-driver.ts";

type Standing = {
  readonly session: RouterSession | undefined;
  readonly trouble: RouterTrouble | undefined;
  readonly tries: number;
  readonly againMs: number;
  /** This router has spoken the protocol before: it is only away for a moment. */
  readonly spoke: boolean;
};

const FIND_AGAIN_MS = 5_000;
/** A router starts in a minute or two; whoever switches port mapping on in its settings is not to wait for long either. */
const FIND_AGAIN_MS_MAX = 120_000;
const SPOKE_AGAIN_MS_MAX = 30_000;

/** Which protocols the router at hand speaks; asked again now and then where it does not. */
export class RouterSessions {
  readonly #drivers: readonly RouterDriver[];
  readonly #clock: Clock;
  readonly #standings = new Map<RouterVia, Standing>();

  constructor(drivers: readonly RouterDriver[], clock: Clock) {
    this.#drivers = drivers;
    this.#clock = clock;
  }

  /** In the order in which they are tried: `first`, then what the router is known to speak, then the drivers' own order. */
  order(first: RouterVia | undefined): readonly RouterVia[] {
    const rank = (via: RouterVia): number => (via === first ? 0 : this.#standings.get(via)?.session !== undefined ? 1 : 2);
    return this.#drivers.map(({ via }) => via).toSorted((a, b) => rank(a) - rank(b));
  }

  async open(via: RouterVia, route: RouterRoute, signal: AbortSignal): Promise<RouterAnswer<RouterSession>> {
    const before = this.#standings.get(via);
    if (before?.session !== undefined) return { ok: true, value: before.session, restarted: false };
    if (before?.trouble !== undefined && before.againMs > this.#clock.monotonicMs()) return troubled(before.trouble);
    const driver = this.#drivers.find((candidate) => candidate.via === via);
    if (driver === undefined) return troubled({ kind: "cannot", reason: `${via} is switched off` });
    const answer = await driver.find(route, signal);
    if (answer.ok) this.#standings.set(via, { session: answer.value, trouble: undefined, tries: 0, againMs: 0, spoke: true });
    else this.#note(via, answer.trouble, (before?.tries ?? 0) + 1, before?.spoke ?? false);
    return answer;
  }

  /** It did not answer: what is known about it counts no more, and it is looked for at once. */
  lose(via: RouterVia, trouble: RouterTrouble): void {
    this.#standings.set(via, { session: undefined, trouble, tries: 0, againMs: this.#clock.monotonicMs(), spoke: true });
  }

  /** Another router, or the same one on a new way. */
  forget(): void {
    this.#standings.clear();
  }

  /** When the first of those that were not found is looked for again; undefined: some were found. */
  nextMs(): number | undefined {
    const standings = this.#drivers.map(({ via }) => this.#standings.get(via));
    if (standings.some((standing) => standing === undefined || standing.session !== undefined)) return undefined;
    return Math.min(...standings.map((standing) => standing?.againMs ?? 0));
  }

  /** Those that spoke and are silent now, in words. */
  silent(): ReadonlyMap<RouterVia, string> {
    const found = new Map<RouterVia, string>();
    for (const [via, { session, trouble, spoke }] of this.#standings)
      if (session === undefined && spoke && trouble !== undefined) found.set(via, trouble.reason);
    return found;
  }

  spoken(): readonly RouterVia[] {
    return [...this.#standings].filter(([, { session }]) => session !== undefined).map(([via]) => via);
  }

  #note(via: RouterVia, trouble: RouterTrouble, tries: number, spoke: boolean): void {
    const waitMs = Math.min(spoke ? SPOKE_AGAIN_MS_MAX : FIND_AGAIN_MS_MAX, FIND_AGAIN_MS * 2 ** Math.min(tries - 1, 10));
    this.#standings.set(via, { session: undefined, trouble, tries, againMs: this.#clock.monotonicMs() + waitMs, spoke });
  }
}

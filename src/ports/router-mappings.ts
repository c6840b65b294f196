import { asCcError, type Clock, formatIp, type Logger, sleep } from "../base/index.ts";
import { isPublicAddress, type MappingStatus, mappingsFor, type RouterForward, type SortedForwards, statusOfForward } from "./mapping-status.ts";
import { MappingWork } from "./mapping-work.ts";
import { isSameRoute, planMappings } from "./plan-mappings.ts";
import type { MappingBook, RouteFinder, RouterDriver, RouterRoute, RouterVia } from "./router-driver.ts";
import { RouterSessions } from "./router-sessions.ts";

export type RouterMappingsDeps = {
  /** In the order in which they are tried. */
  readonly drivers: readonly RouterDriver[];
  readonly routes: RouteFinder;
  readonly book: MappingBook;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called after the status of some forward may have changed. */
  readonly changed: () => void;
};

export type RouterMappingsSettings = {
  /** Of a host that is lost its mappings are gone after this; what changes at the router unseen is seen after half of it. */
  readonly leaseSeconds: number;
  /** How soon a router that has restarted is asked again. */
  readonly lookEveryMs: number;
  /** How soon a change of the default gateway is followed. */
  readonly routeEveryMs: number;
};

const DEFAULTS: RouterMappingsSettings = { leaseSeconds: 1_200, lookEveryMs: 20_000, routeEveryMs: 10_000 };

/** Whom is asked, and by what it answers. */
export type RouterReport = { readonly route: RouterRoute | undefined; readonly via: readonly RouterVia[] };

/** Keeps the mappings at the host's router as they are wanted. */
export interface RouterMappings {
  /** All that is to be forwarded; what is not among it any more is removed. Before the first call nothing is touched. */
  want(forwards: readonly RouterForward[]): void;
  /** In the order in which they are wanted. */
  status(): readonly MappingStatus[];
  router(): RouterReport;
  start(): void;
  /** Leaves the mappings: containers outlive the peer, and without it leases run out. */
  stop(): Promise<void>;
}

export function createRouterMappings(deps: RouterMappingsDeps, settings: Partial<RouterMappingsSettings> = {}): RouterMappings {
  return new Service(deps, { ...DEFAULTS, ...settings });
}

const IDLE_MS = 3_600_000;
const FAULT_MS = 10_000;
const REST_MS = 1_000;
/** After so many the loop rests, whatever is left to do. */
const ACTIONS_A_ROUND_MAX = 512;

class Service implements RouterMappings {
  readonly #deps: RouterMappingsDeps;
  readonly #settings: RouterMappingsSettings;
  readonly #stopping = new AbortController();
  readonly #sessions: RouterSessions;
  readonly #work: MappingWork;
  #forwards: readonly RouterForward[] | undefined;
  #sorted: SortedForwards = { wanted: [], impossible: new Map() };
  /** The last one that there was; `nobody` says why it is not to be asked now. */
  #route: RouterRoute | undefined;
  #nobody: string | undefined;
  #routeLookedMs = Number.NEGATIVE_INFINITY;
  #tookOver = false;
  #nap = new AbortController();
  #running: Promise<void> | undefined;

  constructor(deps: RouterMappingsDeps, settings: RouterMappingsSettings) {
    this.#deps = deps;
    this.#settings = settings;
    this.#sessions = new RouterSessions(deps.drivers, deps.clock);
    this.#work = new MappingWork({ ...deps, sessions: this.#sessions });
  }

  want(forwards: readonly RouterForward[]): void {
    this.#forwards = forwards;
    this.#sort();
    this.#nap.abort();
    this.#deps.changed();
  }

  status(): readonly MappingStatus[] {
    const { clock } = this.#deps;
    const nowMs = clock.monotonicMs();
    const parts = {
      route: this.#route,
      sorted: this.#sorted,
      held: this.#work.held(),
      retries: this.#work.retries(),
      silent: this.#sessions.silent(),
      nobody: this.#nobody,
      nowMs,
      wallOffsetMs: clock.nowMs() - nowMs,
    };
    return (this.#forwards ?? []).map((forward) => statusOfForward(forward, parts));
  }

  router(): RouterReport {
    return this.#nobody === undefined ? { route: this.#route, via: this.#sessions.spoken() } : { route: undefined, via: [] };
  }

  start(): void {
    this.#running ??= this.#loop();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #loop(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#nap = new AbortController();
      const waitMs = await this.#round(signal).catch((error: unknown) => {
        if (!signal.aborted) this.#deps.logger.error({ error: asCcError(error) }, "the router could not be asked for port mappings; it is tried again");
        return FAULT_MS;
      });
      await sleep(this.#deps.clock, waitMs, AbortSignal.any([signal, this.#nap.signal])).catch(() => undefined); // Woken or stopped: the loop looks.
    }
  }

  /** Does what is due; gives how long there is nothing to do. */
  async #round(signal: AbortSignal): Promise<number> {
    const { clock, book, changed } = this.#deps;
    const { routeEveryMs, lookEveryMs } = this.#settings;
    if (this.#forwards === undefined) return IDLE_MS;
    const booked = this.#tookOver ? [] : await book.load();
    if (this.#forwards.length + this.#work.held().length + booked.length === 0) return IDLE_MS;
    if (this.#nobody !== undefined || clock.monotonicMs() - this.#routeLookedMs >= routeEveryMs) await this.#follow(signal);
    const route = this.#route;
    if (this.#nobody !== undefined || route === undefined) return routeEveryMs;
    if (!this.#tookOver) await this.#work.takeOver(booked, route);
    this.#tookOver = true;
    for (let step = 0; step < ACTIONS_A_ROUND_MAX; step += 1) {
      const nowMs = clock.monotonicMs();
      const { actions, nextMs } = planMappings({ wanted: this.#sorted.wanted, held: this.#work.held(), retries: this.#work.retries(), lookEveryMs, nowMs });
      const [action] = actions;
      if (action === undefined) return Math.min(routeEveryMs, nextMs - nowMs);
      await this.#work.perform(action, route, signal);
      signal.throwIfAborted();
      changed();
    }
    return REST_MS;
  }

  /** Whom there is to ask now. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { routes, logger, clock, changed } = this.#deps;
    const route = await routes.find(signal);
    this.#routeLookedMs = clock.monotonicMs();
    const nobody = whyNobody(route);
    const before = this.#nobody;
    this.#nobody = nobody;
    if (nobody !== before) changed();
    if (nobody !== undefined || route === undefined) return;
    if (this.#route !== undefined && isSameRoute(this.#route, route)) return;
    if (this.#route !== undefined) {
      logger.info(
        { gateway: formatIp(route.gateway), address: formatIp(route.local) },
        "the default gateway is another one; it is asked for all port mappings",
      );
      this.#sessions.forget();
      this.#work.leave();
    }
    this.#route = route;
    this.#sort();
    changed();
  }

  #sort(): void {
    if (this.#route === undefined) return;
    this.#sorted = mappingsFor(this.#forwards ?? [], this.#route, this.#settings.leaseSeconds);
    this.#work.keepRetries(this.#sorted.wanted);
  }
}

/** Why no router is to be asked for anything. */
function whyNobody(route: RouterRoute | undefined): string | undefined {
  if (route === undefined) return "this host has no default gateway, so there is no router to ask";
  if (isPublicAddress(route.local)) return `the host's own address ${formatIp(route.local)} is public: it is reached without a mapping`;
  return undefined;
}

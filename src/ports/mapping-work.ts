import { asCcError, assertNever, type Clock, formatIp, isSameIp, type Logger } from "../base/index.ts";
import { expiresMs, type HeldMapping, isSameRoute, keyOf, type MappingAction, type Retry, retryAtMs, type WantedMapping } from "./plan-mappings.ts";
import type { BookedMapping, MapGrant, MappingBook, RouterAnswer, RouterRoute, RouterSession, RouterTrouble, RouterVia } from "./router-driver.ts";
import type { RouterSessions } from "./router-sessions.ts";

export type MappingWorkDeps = { readonly sessions: RouterSessions; readonly book: MappingBook; readonly clock: Clock; readonly logger: Logger };

/** While no protocol is found it is not tried again sooner. */
const FIND_MS_MIN = 1_000;
const WORD: Readonly<Record<RouterVia, string>> = { pcp: "PCP", upnp: "UPnP" };

/** Does with the router what was planned, and remembers what came of it. */
export class MappingWork {
  readonly #deps: MappingWorkDeps;
  readonly #held = new Map<string, HeldMapping>();
  readonly #retries = new Map<string, Retry>();
  #booked = "";

  constructor(deps: MappingWorkDeps) {
    this.#deps = deps;
  }

  held(): readonly HeldMapping[] {
    return [...this.#held.values()];
  }

  retries(): ReadonlyMap<string, Retry> {
    return this.#retries;
  }

  /** What an earlier process had: asked for again where it is still wanted, else removed. */
  async takeOver(booked: readonly BookedMapping[], route: RouterRoute): Promise<void> {
    for (const { gateway, internalAddress, ...mapping } of booked) {
      if (isSameRoute({ gateway, local: internalAddress }, route)) this.#perhaps({ ...mapping, internalAddress });
    }
    this.#booked = "what another process wrote";
    await this.#saveBook(route);
  }

  /** Another router, or another address of ours at it: there nothing can be removed any more, and leases end it. */
  leave(): void {
    this.#held.clear();
    this.#retries.clear();
  }

  /** Failures of what is neither wanted nor held count no more. */
  keepRetries(wanted: readonly WantedMapping[]): void {
    const keys = new Set([...wanted.map(keyOf), ...this.#held.keys()]);
    for (const key of this.#retries.keys()) if (!keys.has(key)) this.#retries.delete(key);
  }

  async perform(action: MappingAction, route: RouterRoute, signal: AbortSignal): Promise<void> {
    switch (action.kind) {
      case "ask":
      case "renew":
        await this.#map(action, route, signal);
        break;
      case "remove":
        await this.#remove(action.key, action.held, route, signal);
        break;
      case "look":
        await this.#look(action.key, action.held, route, signal);
        break;
      case "forget":
        this.#forget(action.key, action.held);
        break;
      default:
        assertNever(action);
    }
    await this.#saveBook(route);
  }

  async #open(via: RouterVia, route: RouterRoute, signal: AbortSignal): Promise<RouterAnswer<RouterSession>> {
    const found = await this.#deps.sessions.open(via, route, signal);
    if (found.restarted) this.#lose(via);
    return found;
  }

  /** The router may have it: it is asked for or removed, and counts as held until then. */
  #perhaps(mapping: Omit<BookedMapping, "gateway">): void {
    const nowMs = this.#deps.clock.monotonicMs();
    this.#held.set(keyOf(mapping), {
      ...mapping,
      externalAddress: undefined,
      because: undefined,
      leaseSeconds: 0,
      grantedMs: nowMs,
      lookedMs: nowMs,
      lost: true,
    });
  }

  #forget(key: string, held: HeldMapping): void {
    if (held.leaseSeconds === 0)
      this.#deps.logger.warn(factsOf(held), "the router could not be made to remove a port mapping; it may stay until it is removed on the router's own pages");
    this.#held.delete(key);
    this.#retries.delete(key);
  }

  async #map({ kind, key, wanted, held }: Extract<MappingAction, { wanted: unknown }>, route: RouterRoute, signal: AbortSignal): Promise<void> {
    const { sessions } = this.#deps;
    const { protocol, internalAddress, internalPort, externalPort: preferredPort, leaseSeconds, description } = wanted;
    const externalPort = held?.externalPort ?? preferredPort;
    const reasons: string[] = [];
    let refusal: RouterTrouble | undefined;
    for (const via of sessions.order(held?.via)) {
      const found = await this.#open(via, route, signal);
      if (!found.ok) {
        reasons.push(`${WORD[via]}: ${found.trouble.reason}`);
        continue;
      }
      if (held === undefined) {
        // Booked before it is asked for: were this process killed now, the next one would know what to remove.
        this.#perhaps({ protocol, internalAddress, internalPort, via, externalPort, preferredPort });
        await this.#saveBook(route);
      }
      const answer = await found.value.map({ protocol, internalPort, externalPort, leaseSeconds, description, renewal: kind === "renew" }, signal);
      if (answer.restarted) this.#lose(via);
      if (answer.ok) return this.#granted(key, wanted, via, answer.value);
      reasons.push(`${WORD[via]}: ${answer.trouble.reason}`);
      if (answer.trouble.kind === "silent") sessions.lose(via, answer.trouble);
      else if (held === undefined) this.#held.delete(key);
      if (answer.trouble.kind !== "refused") continue;
      refusal = answer.trouble;
      break;
    }
    const runs = held !== undefined && !held.lost ? { expiresMs: expiresMs(held) } : {};
    this.#failed(key, "map", reasons.join("; "), { ...runs, askedPauseSeconds: refusal?.waitSeconds });
  }

  #granted(key: string, wanted: WantedMapping, via: RouterVia, grant: MapGrant): void {
    const nowMs = this.#deps.clock.monotonicMs();
    const before = this.#held.get(key);
    const { protocol, internalAddress, internalPort, externalPort: preferredPort } = wanted;
    const isNew = before?.externalAddress === undefined || before.lost;
    // Where it got a substitute once, and has that again, the reason is still the first one.
    const because = grant.because ?? (before?.externalPort === grant.externalPort ? before.because : undefined);
    const lookedMs = isNew ? nowMs : before.lookedMs;
    const held: HeldMapping = { protocol, internalAddress, internalPort, via, ...grant, preferredPort, because, grantedMs: nowMs, lookedMs, lost: false };
    this.#held.set(key, held);
    this.#retries.delete(key);
    this.#readdress(grant.externalAddress);
    if (isNew) this.#deps.logger.info(factsOf(held), "the router forwards a port to this host");
  }

  async #remove(key: string, held: HeldMapping, route: RouterRoute, signal: AbortSignal): Promise<void> {
    const { sessions, logger } = this.#deps;
    const found = await this.#open(held.via, route, signal);
    const answer = found.ok ? await found.value.unmap(held, signal) : found;
    if (answer.restarted) this.#lose(held.via);
    if (answer.ok) {
      this.#held.delete(key);
      this.#retries.delete(key);
      logger.info(factsOf(held), "the router forwards a port no more");
      return;
    }
    if (found.ok && answer.trouble.kind === "silent") sessions.lose(held.via, answer.trouble);
    this.#failed(key, "remove", answer.trouble.reason, { askedPauseSeconds: answer.trouble.waitSeconds });
  }

  async #look(key: string, held: HeldMapping, route: RouterRoute, signal: AbortSignal): Promise<void> {
    const { sessions, clock } = this.#deps;
    const { via } = held;
    this.#held.set(key, { ...held, lookedMs: clock.monotonicMs() });
    // Twice: a router that has restarted may answer at another port, where it has to be found first.
    for (let tries = 0; tries < 2; tries += 1) {
      const found = await this.#open(via, route, signal);
      if (!found.ok) return this.#lookElsewhere(via, route, signal);
      const answer = await found.value.look(held, signal);
      if (answer.restarted || (answer.ok && !answer.value.kept)) return this.#lose(via);
      if (answer.ok) return this.#readdress(answer.value.externalAddress);
      if (answer.trouble.kind !== "silent") return;
      sessions.lose(via, answer.trouble);
    }
  }

  /** A router that answers by another protocol, and no more by this one, is not merely away: it is asked by the other. */
  async #lookElsewhere(silent: RouterVia, route: RouterRoute, signal: AbortSignal): Promise<void> {
    for (const via of this.#deps.sessions.order(undefined)) if (via !== silent && (await this.#open(via, route, signal)).ok) return this.#lose(silent);
  }

  /** The router has none of them any more: each is due at once. */
  #lose(via: RouterVia): void {
    this.#deps.logger.info({ via }, "the router has lost its port mappings; they are asked for again");
    for (const [key, held] of this.#held) {
      if (held.via !== via) continue;
      this.#held.set(key, { ...held, lost: true });
      this.#retries.delete(key);
    }
  }

  /** A router has one address to the outside, and a provider may give it another at any time. */
  #readdress(externalAddress: HeldMapping["externalAddress"]): void {
    if (externalAddress === undefined) return;
    for (const [key, held] of this.#held) {
      if (held.externalAddress !== undefined && !isSameIp(held.externalAddress, externalAddress)) this.#held.set(key, { ...held, externalAddress });
    }
  }

  #failed(key: string, of: Retry["of"], reason: string, pause: { readonly askedPauseSeconds?: number | undefined; readonly expiresMs?: number }): void {
    const nowMs = this.#deps.clock.monotonicMs();
    const before = this.#retries.get(key);
    const tries = (before?.of === of ? before.tries : 0) + 1;
    // While no protocol is found, all wait for the next search for one.
    const findMs = this.#deps.sessions.nextMs();
    const againMs = findMs === undefined ? retryAtMs(tries, nowMs, pause) : Math.max(findMs, nowMs + FIND_MS_MIN);
    this.#retries.set(key, { of, tries, againMs, reason });
    this.#deps.logger.debug({ key, of, reason, againInMs: againMs - nowMs }, "the router did not do what it was asked for");
  }

  async #saveBook({ gateway }: RouterRoute): Promise<void> {
    const mappings = this.held().map(({ via, protocol, internalAddress, internalPort, externalPort, preferredPort }): BookedMapping => {
      return { via, gateway, protocol, internalAddress, internalPort, externalPort, preferredPort };
    });
    const text = mappings.map((mapping) => `${mapping.via} ${keyOf(mapping)} ${mapping.externalPort} ${mapping.preferredPort}`).join("\n");
    if (text === this.#booked) return;
    try {
      await this.#deps.book.save(mappings);
      this.#booked = text;
    } catch (error) {
      // Forwarding goes on: what suffers is the next process's knowledge of mappings without a lease.
      this.#deps.logger.warn({ error: asCcError(error) }, "the list of port mappings could not be saved");
    }
  }
}

function factsOf({ protocol, internalPort, externalPort, externalAddress, via }: HeldMapping): object {
  return { protocol, port: internalPort, externalPort, via, ...(externalAddress === undefined ? {} : { externalAddress: formatIp(externalAddress) }) };
}

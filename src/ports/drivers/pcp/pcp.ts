import { createHmac } from "node:crypto";
import { type Clock, formatIp, type Random } from "../../../base/index.ts";
import {
  answered,
  type MappingAtRouter,
  type RouterAnswer,
  type RouterDriver,
  type RouterRoute,
  type RouterSession,
  type RouterTrouble,
  troubled,
} from "../../router-driver.ts";
import { type Epoch, epochGoesOn } from "./epoch.ts";
import { exchange } from "./exchange.ts";
import { encodeAnnounce, encodeMap, hasAddress, isAnswerTo, NONCE_BYTES, type PcpAnswer, type PcpMapRequest } from "./packets.ts";

export type PcpDeps = {
  readonly clock: Clock;
  readonly random: Random;
  /** Known to this host only and for as long as it lives: who has it can change and remove its mappings. */
  readonly secret: Uint8Array;
};

export type PcpSettings = { readonly port: number; readonly firstRetryMs: number; readonly limitMs: number };

/**
 * Times of RFC 6887, 8.1.1: 3 seconds, then twice as long each time. Where that goes on for ever, somebody waits here, and UPnP is still to be
 * tried: three packets in 10 seconds.
 */
const DEFAULTS: PcpSettings = { port: 5_351, firstRetryMs: 3_000, limitMs: 10_000 };

const UNSUPPORTED_VERSION = 1;
const NOT_AUTHORIZED = 2;
const UNSUPPORTED_OPCODE = 4;
const NO_RESOURCES = 8;
const UNSUPPORTED_PROTOCOL = 9;

/** What the results mean (RFC 6887, 7.4), and whether another protocol may do better. */
const RESULTS: Readonly<Record<number, { readonly kind: "cannot" | "refused"; readonly reason: string }>> = {
  [UNSUPPORTED_VERSION]: { kind: "cannot", reason: "the router speaks another version of PCP" },
  [NOT_AUTHORIZED]: { kind: "cannot", reason: "the router does not allow it (not authorised): look in its settings for port mapping or PCP" },
  3: { kind: "refused", reason: "the router did not understand the request" },
  [UNSUPPORTED_OPCODE]: { kind: "cannot", reason: "the router makes no mappings by PCP" },
  5: { kind: "refused", reason: "the router does not know an option" },
  6: { kind: "refused", reason: "the router did not understand an option" },
  7: { kind: "refused", reason: "the router has no working connection to the outside, or no public address there" },
  [NO_RESOURCES]: { kind: "refused", reason: "the router has no room for another mapping" },
  [UNSUPPORTED_PROTOCOL]: { kind: "cannot", reason: "the router does not map this protocol" },
  10: { kind: "refused", reason: "the router grants this host no more mappings" },
  11: { kind: "refused", reason: "the router cannot give this external port, nor another one" },
  12: { kind: "refused", reason: "between this host and the router stands another one that translates addresses" },
  13: { kind: "refused", reason: "the router has too many remote peers for this mapping" },
};

export function createPcpDriver(deps: PcpDeps, settings: Partial<PcpSettings> = {}): RouterDriver {
  const all = { ...DEFAULTS, ...settings };
  const epochs = new Epochs();
  return {
    via: "pcp",
    async find(route, signal) {
      const session = new PcpSession(deps, all, route, epochs);
      const answer = await session.announce(signal);
      // Whatever it says to that: it has an epoch, so it speaks PCP.
      if (!answer.ok && answer.trouble.kind !== "refused") return answer;
      return answered(session, answer.restarted);
    },
  };
}

/** The last epoch heard of a router. It outlives sessions: a router that was silent for a while is the one that has restarted. */
class Epochs {
  #gateway = "";
  #last: Epoch | undefined;

  /** Whether the router has lost its mappings since its last answer. */
  heard(gateway: string, now: Epoch): boolean {
    const before = gateway === this.#gateway ? this.#last : undefined;
    this.#gateway = gateway;
    this.#last = now;
    return before !== undefined && !epochGoesOn(before, now);
  }
}

class PcpSession implements RouterSession {
  readonly #deps: PcpDeps;
  readonly #settings: PcpSettings;
  readonly #route: RouterRoute;
  readonly #epochs: Epochs;

  constructor(deps: PcpDeps, settings: PcpSettings, route: RouterRoute, epochs: Epochs) {
    this.#epochs = epochs;
    this.#deps = deps;
    this.#settings = settings;
    this.#route = route;
  }

  async announce(signal: AbortSignal): Promise<RouterAnswer<PcpAnswer>> {
    return this.#ask(encodeAnnounce(this.#route.local), ({ kind }) => kind !== "map", signal);
  }

  async map(request: Parameters<RouterSession["map"]>[0], signal: AbortSignal): ReturnType<RouterSession["map"]> {
    const answer = await this.#askToMap(request, request.leaseSeconds, request.externalPort, signal);
    if (!answer.ok) return answer;
    const mapping = answer.value.kind === "map" ? answer.value.mapping : undefined;
    if (answer.value.kind !== "map" || mapping === undefined || !hasAddress(mapping) || mapping.externalPort === 0) {
      return troubled({ kind: "refused", reason: "the router agreed but named no external address and port" }, answer.restarted);
    }
    const { externalAddress, externalPort } = mapping;
    const because = externalPort === request.externalPort ? undefined : `another mapping has port ${request.externalPort} of the router`;
    // A lifetime of 0 would mean "removed".
    return answered({ externalAddress, externalPort, leaseSeconds: Math.max(1, answer.value.lifetimeSeconds), because }, answer.restarted);
  }

  async unmap(mapping: MappingAtRouter, signal: AbortSignal): Promise<RouterAnswer<undefined>> {
    const answer = await this.#askToMap(mapping, 0, 0, signal);
    // Of another nonce (it is somebody else's by now), or there is none; miniupnpd calls that "no resources".
    const gone = !answer.ok && (answer.result === NOT_AUTHORIZED || answer.result === NO_RESOURCES);
    return answer.ok || gone ? answered(undefined, answer.restarted) : answer;
  }

  async look(_mapping: MappingAtRouter, signal: AbortSignal): ReturnType<RouterSession["look"]> {
    const answer = await this.announce(signal);
    if (!answer.ok && answer.trouble.kind !== "refused") return answer;
    return answered({ kept: true, externalAddress: undefined }, answer.restarted);
  }

  #askToMap({ protocol, internalPort }: Omit<MappingAtRouter, "externalPort">, lifetimeSeconds: number, externalPort: number, signal: AbortSignal) {
    const nonce = this.#nonce(`${protocol} ${internalPort}`);
    const request: PcpMapRequest = { client: this.#route.local, lifetimeSeconds, nonce, protocol, internalPort, externalPort };
    return this.#ask(encodeMap(request), (answer) => isAnswerTo(request, answer), signal);
  }

  /**
   * Follows from the secret, so that a peer that was started again renews and removes what it asked for in an earlier life, and nothing needs
   * to be written down. Each mapping has its own: who sees one on the wire cannot change the others.
   */
  #nonce(mapping: string): Uint8Array {
    return createHmac("sha256", this.#deps.secret).update(`cc-pcp-nonce-1\n${mapping}`).digest().subarray(0, NONCE_BYTES);
  }

  async #ask(
    packet: Uint8Array,
    matches: (answer: PcpAnswer) => boolean,
    signal: AbortSignal,
  ): Promise<RouterAnswer<PcpAnswer> & { readonly result?: number }> {
    const gateway = formatIp(this.#route.gateway);
    const outcome = await exchange({ ...this.#deps, ...this.#settings }, this.#route, packet, matches, signal);
    if (outcome.kind === "silent") return troubled({ kind: "silent", reason: `${gateway} does not answer` });
    if (outcome.kind === "closed") return troubled({ kind: "silent", reason: `nothing at ${gateway} speaks it (${outcome.reason})` });
    const { answer } = outcome;
    if (answer.kind === "nat-pmp") return troubled({ kind: "cannot", reason: `${gateway} speaks only its predecessor NAT-PMP` });
    const restarted = this.#epochs.heard(gateway, { serverSeconds: answer.epochSeconds, heardMs: this.#deps.clock.monotonicMs() });
    if (answer.result === 0) return answered(answer, restarted);
    const known = RESULTS[answer.result] ?? { kind: "refused", reason: `the router refused with an unknown result, ${answer.result}` };
    const trouble: RouterTrouble = { ...known, waitSeconds: answer.lifetimeSeconds };
    return { ...troubled(trouble, restarted), result: answer.result };
  }
}

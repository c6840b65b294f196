import type { Clock, Ip, Random } from "../../../base/index.ts";
import { isWorthAsking, orderServers, questionKey, readUpstream, type UpstreamAnswer, upstreamQuery } from "../../names-forward.ts";
import { type Query, RCODE, type Transport } from "../../names-message.ts";
import { exchangeTcp, exchangeUdp } from "./exchange.ts";
import { LoopProbe } from "./loop-probe.ts";

export type ForwarderParts = {
  readonly clock: Clock;
  readonly random: Random;
  /** Where this server listens itself. */
  readonly own: Ip;
  readonly onLoop: (server: string) => void;
};

/** As many as a resolv.conf may name that libc reads. */
const SERVERS_MAX = 3;
/** Of one question, with one server too: packets are lost. 2 s each, so a client asks again (5 s) before this ends, and waits with it. */
const TRIES_MAX = 3;
/** Each holds a socket. */
const QUESTIONS_MAX = 1_024;
/** A server that was silent is asked after the others for so long. */
const SILENT_MS = 30_000;
const FAILED: UpstreamAnswer = { rcode: RCODE.SERVFAIL, truncated: false, packet: undefined };

/** Asks the host's resolvers. Questions that are the same and in flight are asked once, also those of different VPCs. */
export class Forwarder {
  readonly #parts: ForwarderParts;
  readonly #probe: LoopProbe;
  readonly #inFlight = new Map<string, Promise<UpstreamAnswer>>();
  readonly #silentUntilMs = new Map<string, number>();
  #servers: readonly string[] = [];

  constructor(parts: ForwarderParts) {
    this.#parts = parts;
    this.#probe = new LoopProbe(parts);
  }

  setServers(servers: readonly string[]): void {
    this.#servers = [...new Set(servers)].slice(0, SERVERS_MAX);
    this.#silentUntilMs.clear();
    this.#probe.watch(this.#servers);
  }

  /** True: the packet is a question of our own that came back, and is answered by nobody. */
  takeProbe(packet: Buffer): boolean {
    return this.#probe.take(packet);
  }

  ask(query: Query, via: Transport): Promise<UpstreamAnswer> {
    const key = questionKey(query, via);
    const known = this.#inFlight.get(key);
    if (known !== undefined) return known;
    if (this.#inFlight.size >= QUESTIONS_MAX) return Promise.resolve(FAILED);
    const asked = this.#askServers(query, via).finally(() => this.#inFlight.delete(key));
    this.#inFlight.set(key, asked);
    return asked;
  }

  async #askServers(query: Query, via: Transport): Promise<UpstreamAnswer> {
    const { clock } = this.#parts;
    this.#probe.look(this.#servers);
    const usable = this.#servers.filter((server) => !this.#probe.isLooping(server));
    const order = orderServers(usable, this.#silentUntilMs, clock.monotonicMs());
    const failed = new Map<string, UpstreamAnswer>();
    for (let tried = 0; tried < TRIES_MAX && order.length > 0; tried += 1) {
      const server = order[tried % order.length] ?? "";
      if (failed.has(server) || this.#probe.isLooping(server)) continue;
      const answer = await this.#askServer(server, query, via);
      if (answer === undefined) this.#silentUntilMs.set(server, clock.monotonicMs() + SILENT_MS);
      else this.#silentUntilMs.delete(server);
      if (answer !== undefined && !isWorthAsking(answer)) return answer;
      if (answer !== undefined) failed.set(server, answer);
    }
    const [first] = failed.values();
    return first ?? FAILED;
  }

  async #askServer(server: string, query: Query, via: Transport): Promise<UpstreamAnswer | undefined> {
    const { clock, random } = this.#parts;
    const id = random.below(65_536);
    const packet = upstreamQuery(query, id);
    const answer = await exchangeUdp(clock, server, packet, (reply) => readUpstream(query, id, reply));
    // Who asked by UDP has no room for more either, and comes again by TCP.
    if (via === "udp" || answer?.truncated !== true) return answer;
    return (await exchangeTcp(clock, server, packet, (reply) => readUpstream(query, id, reply))) ?? answer;
  }
}

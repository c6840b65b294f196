import { type Clock, formatIp, type Ip, type Random } from "../../../base/index.ts";
import { CLASS_IN, HEADER_BYTES, nameBytes, readQuestion, TYPE } from "../../names-message.ts";
import { exchangeUdp } from "./exchange.ts";

/** What comes back after so long was asked by someone who tried again. */
const OPEN_MS = 5_000;
/** A server that is asked at all is looked at so often: it may be set up otherwise meanwhile. */
const AGAIN_MS = 60_000;
const NONCE_BYTES = 12;
/** Stands in nameservers' logs. There is no such domain. */
const DOMAIN = "cc-loop";

export type LoopProbeParts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly own: Ip;
  readonly onLoop: (server: string) => void;
};

/**
 * Finds nameservers that ask us for what we ask them: a resolver on the host that has this server, or a container that asks its
 * gateway, as its own upstream. Each is asked for a name that nobody else can know; when a query for it arrives here, that
 * server is left out. Without this, a loop would be one turn for each question (identical ones in flight are asked once), and 2 s lost.
 */
export class LoopProbe {
  readonly #parts: LoopProbeParts;
  /** By nonce. */
  readonly #open = new Map<string, string>();
  readonly #askedAtMs = new Map<string, number>();
  readonly #looping = new Set<string>();

  constructor(parts: LoopProbeParts) {
    this.#parts = parts;
  }

  /** Other servers count from now on, and are looked at. */
  watch(servers: readonly string[]): void {
    this.#askedAtMs.clear();
    this.#looping.clear();
    this.look(servers);
  }

  look(servers: readonly string[]): void {
    const nowMs = this.#parts.clock.monotonicMs();
    for (const server of servers) {
      if (nowMs - (this.#askedAtMs.get(server) ?? Number.NEGATIVE_INFINITY) < AGAIN_MS) continue;
      this.#askedAtMs.set(server, nowMs);
      if (server === formatIp(this.#parts.own)) this.#found(server);
      else this.#ask(server);
    }
  }

  isLooping(server: string): boolean {
    return this.#looping.has(server);
  }

  /** Whether the packet is one of our own probes, come back. */
  take(packet: Buffer): boolean {
    if (this.#open.size === 0 || packet.length < HEADER_BYTES) return false;
    const [nonce = ""] = readQuestion(packet)?.labels ?? [];
    const server = this.#open.get(nonce);
    if (server === undefined) return false;
    this.#open.delete(nonce);
    this.#found(server);
    return true;
  }

  #found(server: string): void {
    if (this.#looping.has(server)) return;
    this.#looping.add(server);
    this.#parts.onLoop(server);
  }

  #ask(server: string): void {
    const { clock, random } = this.#parts;
    const nonce = Buffer.from(random.bytes(NONCE_BYTES)).toString("hex");
    this.#open.set(nonce, server);
    clock.after(OPEN_MS, () => {
      // Still open: it did not come back this time.
      if (this.#open.delete(nonce)) this.#looping.delete(server);
    });
    const header = Buffer.from([...random.bytes(2), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    const query = Buffer.concat([header, nameBytes([nonce, DOMAIN]), Buffer.from([0, TYPE.A, 0, CLASS_IN])]);
    // What it answers says nothing: only what comes back here does.
    void exchangeUdp(clock, server, query, () => true);
  }
}

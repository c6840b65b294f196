import { type Clock, formatIp, type Random, type VpcId } from "../../../base/index.ts";
import { indexNames, type NameIndex, type NameTable } from "../../names.ts";
import { answer, encodeFailure } from "../../names-answer.ts";
import { passOn } from "../../names-forward.ts";
import { type Query, RCODE, type Transport } from "../../names-message.ts";
import { TokenBucket } from "../../query-rate.ts";
import type { Forwarder } from "./forwarder.ts";

/** Of one VPC, over all its containers of this host: what one core can answer is some times that, so no VPC has all of it. */
const QUERY_RATE = { perSecond: 10_000, burst: 5_000 };
/** Of one VPC's queries so many wait for the host's resolvers at once; more are told that it failed. */
const PENDING_MAX = 256;

type ServedVpc = { index: NameIndex; source: string; pending: number; overRate: number; readonly bucket: TokenBucket };

export type AnsweringParts = { readonly clock: Clock; readonly random: Random; readonly forwarder: Forwarder };

/** What each query gets, by the VPC that it comes from. */
export class Answering {
  readonly #parts: AnsweringParts;
  readonly #vpcs = new Map<VpcId, ServedVpc>();
  readonly #bySource = new Map<string, ServedVpc>();

  constructor(parts: AnsweringParts) {
    this.#parts = parts;
  }

  set(table: NameTable): void {
    const index = indexNames(table);
    const source = formatIp(table.source);
    const known = this.#vpcs.get(table.vpc);
    const served = known ?? { index, source, pending: 0, overRate: 0, bucket: new TokenBucket(QUERY_RATE, this.#parts.clock.monotonicMs()) };
    if (known !== undefined) this.#forget(known);
    served.index = index;
    served.source = source;
    this.#vpcs.set(table.vpc, served);
    this.#bySource.set(source, served);
  }

  remove(vpc: VpcId): void {
    const served = this.#vpcs.get(vpc);
    if (served === undefined) return;
    this.#vpcs.delete(vpc);
    this.#forget(served);
  }

  knows(source: string): boolean {
    return this.#bySource.has(source);
  }

  /** How many queries of each VPC had no answer since the last call, where any. */
  takeOverRate(): readonly { readonly vpc: VpcId; readonly queries: number }[] {
    return [...this.#vpcs].flatMap(([vpc, served]) => {
      const queries = served.overRate;
      served.overRate = 0;
      return queries > 0 ? [{ vpc, queries }] : [];
    });
  }

  /** `done` is called once, at once or later; without an answer the query gets none. */
  handle(packet: Buffer, source: string, via: Transport, done: (reply: Buffer | undefined) => void): void {
    const { clock, random, forwarder } = this.#parts;
    // From whomever: a resolver of the host asks from an address that no VPC has.
    if (forwarder.takeProbe(packet)) return done(undefined);
    const served = this.#bySource.get(source);
    if (served === undefined) return done(undefined);
    if (!served.bucket.take(clock.monotonicMs())) {
      served.overRate += 1;
      return done(undefined);
    }
    const outcome = answer(served.index, packet, via, random);
    if (outcome.kind === "none") return done(undefined);
    if (outcome.kind === "reply") return done(outcome.bytes);
    if (served.pending >= PENDING_MAX) return done(encodeFailure(outcome.query, RCODE.SERVFAIL));
    served.pending += 1;
    void this.#forward(outcome.query, via).then((reply) => {
      served.pending -= 1;
      done(reply);
    });
  }

  async #forward(query: Query, via: Transport): Promise<Buffer> {
    const upstream = await this.#parts.forwarder.ask(query, via);
    return upstream.packet === undefined ? encodeFailure(query, upstream.rcode) : passOn(query, upstream.packet, via);
  }

  /** Another VPC may have its address by now. */
  #forget(served: ServedVpc): void {
    if (this.#bySource.get(served.source) === served) this.#bySource.delete(served.source);
  }
}

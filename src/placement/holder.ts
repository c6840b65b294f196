import { fromBinary } from "@bufbuild/protobuf";
import { type AwardRequest, type BidRequest, BidRequestSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import { asCcError, CcError, type ContainerId, isContainerId, isPeerId, ok, type PeerId, type Result, refuse, sleep } from "../base/index.ts";
import { bidTopic, type GossipVerdict } from "../mesh/index.ts";
import { hostKey, parseRecordKey, type StoredRecord } from "../state/index.ts";
import { type Answer, toBidMessage } from "./answers.ts";
import type { Attempts } from "./attempts.ts";
import { BoundedMemory } from "./bounded-memory.ts";
import { CapacityLedger } from "./capacity.ts";
import { claimedHere, countedNeeds, ownContainerOf, readPhase } from "./counted-claims.ts";
import { type AwardOutcome, HolderAwards } from "./holder-awards.ts";
import { HolderBids } from "./holder-bids.ts";
import type { PlacementParts, RunAsked } from "./ports.ts";

/** Gossip in flight at one host: what comes on top is dropped, and its sender asks directly. */
const ANSWERS_AT_ONCE_MAX = 512;
const BID_REQUEST_BYTES_MAX = 300 * 1024;
const REQUEST_ID_CHARACTERS_MAX = 64;
const BID_CALL_MS = 1_000;
/** Changes are told as they come; the loop is for what a missed one left. */
const RECONCILE_EVERY_MS = 5_000;

/** The half of placement that takes containers: bids, claims, the last look before a start, and giving way. */
export class Holder {
  readonly #parts: PlacementParts;
  readonly #attempts: Attempts;
  readonly #ledger: CapacityLedger;
  readonly #bids: HolderBids;
  readonly #awards: HolderAwards;
  readonly #givingWay = new Set<ContainerId>();
  /** Bid requests answered over gossip: the same one in another wrapping is no second answer. */
  readonly #answered = new BoundedMemory<string, true>({ entriesMax: 8_192, keepMs: 10_000 });
  #answering = 0;
  #running: AbortController | undefined;
  #undo: (() => void)[] = [];
  #handles = false;

  constructor(parts: PlacementParts, attempts: Attempts) {
    this.#parts = parts;
    this.#attempts = attempts;
    this.#ledger = new CapacityLedger(parts.host.capacity);
    this.#bids = new HolderBids(parts, attempts, this.#ledger);
    this.#awards = new HolderAwards(parts, this.#ledger, this.#bids);
  }

  /** What is promised to containers, for `cc host list`. */
  get used(): CapacityLedger["used"] {
    return this.#ledger.used;
  }

  /** To be called when the replica is ready: a host acts on nothing before it has synced. */
  start(): void {
    if (this.#running !== undefined) return;
    const running = new AbortController();
    this.#running = running;
    const { mesh, replica } = this.#parts;
    for (const id of claimedHere(replica)) this.#recount(id);
    this.#ledger.countVolumes(this.#parts.volumes.countedBytes());
    this.#undo = [replica.onChange((changed) => this.#onChange(changed)), mesh.subscribe(bidTopic(replica.zone), (data) => this.#onGossip(data))];
    this.#serve();
    void this.#reconcile(running.signal);
  }

  stop(): void {
    this.#running?.abort(new CcError("CANCELLED", "placement has stopped"));
    this.#running = undefined;
    for (const undo of this.#undo.splice(0)) undo();
  }

  /** This host's own answer to a request that it places itself. */
  answerOwn(request: BidRequest, asked: RunAsked): Promise<Answer | undefined> {
    return this.#bids.answer(request, asked);
  }

  awardOwn(message: AwardRequest, signal?: AbortSignal): Promise<AwardOutcome> {
    return this.#awards.receive(message, this.#parts.mesh.self, signal);
  }

  /** The last look before a process is started: only the holder of the best claim that is known may. */
  mayStart(id: ContainerId): Result<true> {
    const known = this.#parts.view.container(id);
    if (known?.removed === true) return refuse("CONFLICT", "the container was removed");
    if (known?.best === undefined) return refuse("CONFLICT", "this host has no claim on the container that counts");
    if (known.best.holder !== this.#parts.mesh.self) return refuse("CONFLICT", `${known.best.holder} has the better claim, at epoch ${known.best.epoch}`);
    return ok(true);
  }

  #serve(): void {
    if (this.#handles) return;
    this.#handles = true;
    const { mesh } = this.#parts;
    mesh.handle("askBid", async (message, from) => {
      this.#refuseWhenStopped();
      // Who asks directly is the requester itself; over gossip the request's own address says so.
      if (message.requester !== from) throw new CcError("WRONG_PEER", "a bid is asked for by its requester alone");
      const answer = await this.#answerRival(message, from);
      if (answer === undefined) throw new CcError("BAD_REQUEST", "this is not a bid request that this host answers");
      return toBidMessage(message.requestId, answer);
    });
    mesh.handle("awardContainer", async (message, from, signal) => {
      this.#refuseWhenStopped();
      return (await this.#awards.receive(message, from, signal)).reply;
    });
  }

  #refuseWhenStopped(): void {
    if (this.#running === undefined) throw new CcError("STARTING", "this host takes no containers at the moment");
  }

  #onGossip(data: Uint8Array): GossipVerdict {
    // Nobody signs a bid request but the user inside it: whoever passes rubbish on may not have made it.
    const message = data.length > BID_REQUEST_BYTES_MAX ? undefined : readBidRequest(data);
    if (message === undefined || !isPeerId(message.requester) || !isContainerId(message.container)) return "ignore";
    const nowMs = this.#parts.clock.monotonicMs();
    const key = `${message.requester} ${message.requestId.slice(0, REQUEST_ID_CHARACTERS_MAX)}`;
    if (this.#answered.get(key, nowMs) !== undefined) return "ignore";
    this.#answered.set(key, true, nowMs);
    if (this.#answering < ANSWERS_AT_ONCE_MAX) void this.#answerGossip(message, message.requester);
    return "accept";
  }

  async #answerGossip(message: BidRequest, requester: PeerId): Promise<void> {
    const { mesh, logger } = this.#parts;
    this.#answering += 1;
    try {
      const answer = await this.#answerRival(message, requester);
      if (answer !== undefined) await mesh.call(requester, "bid", toBidMessage(message.requestId, answer), { timeoutMs: BID_CALL_MS });
    } catch (thrown) {
      // The requester asks again directly where it matters.
      logger.debug({ requester, container: message.container, code: asCcError(thrown).code }, "bid not delivered");
    } finally {
      this.#answering -= 1;
    }
  }

  /** 'At work on it' is believed only with the user's own request to us: it is shown to the rival along with the answer. */
  async #answerRival(message: BidRequest, requester: PeerId): Promise<Answer | undefined> {
    const { mesh, logger } = this.#parts;
    const answer = await this.#bids.answer(message);
    const active = isContainerId(message.container) ? this.#attempts.active(message.container) : undefined;
    if (answer?.kind === "at-work" && active !== undefined && active.showTo(requester)) {
      mesh
        .call(requester, "askBid", active.bidRequest, { timeoutMs: BID_CALL_MS })
        .catch((thrown: unknown) => logger.debug({ requester, code: asCcError(thrown).code }, "own request not shown"));
    }
    return answer;
  }

  #onChange(changed: readonly StoredRecord[]): void {
    const touched = new Set<ContainerId>();
    for (const record of changed) {
      const own = ownContainerOf(record, this.#parts.mesh.self);
      if (own !== undefined) this.#recount(own);
      const id = parseRecordKey(record.key)?.id;
      if (id !== undefined && isContainerId(id)) touched.add(id);
    }
    this.#ledger.countVolumes(this.#parts.volumes.countedBytes());
    for (const id of touched) {
      this.#attempts.active(id)?.onRecords();
      if (this.#ledger.has(id)) this.#giveWayIfBeaten(id);
    }
  }

  #recount(id: ContainerId): void {
    const needs = countedNeeds(id, this.#parts);
    if (needs !== undefined) this.#ledger.count(id, needs);
    else if (!this.#awards.isTaking(id)) this.#ledger.drop(id);
  }

  /** Level-triggered: as long as a better claim stands and ours has not given way, it is told to. */
  #giveWayIfBeaten(id: ContainerId): void {
    const { view, mesh, replica, yielding, logger } = this.#parts;
    const best = view.container(id)?.best;
    if (best === undefined || best.holder === mesh.self || this.#givingWay.has(id)) return;
    const phase = replica.get(hostKey(replica.self, replica.zone, "phase", id));
    const text = phase === undefined ? undefined : readPhase(phase.content)?.phase;
    if (phase?.final === true || text === "yielded" || text === "gone") return;
    this.#givingWay.add(id);
    logger.warn({ container: id, to: best.holder, epoch: best.epoch }, "giving way to a better claim");
    yielding
      .giveWay(id, best)
      .catch((thrown: unknown) => logger.error({ container: id, code: asCcError(thrown).code }, "could not give way; trying again"))
      .finally(() => this.#givingWay.delete(id));
  }

  async #reconcile(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#ledger.declare(this.#parts.host.capacity);
      for (const id of this.#ledger.ids()) {
        // What gave way while its award was still being taken kept its place then.
        this.#recount(id);
        this.#giveWayIfBeaten(id);
      }
      this.#ledger.countVolumes(this.#parts.volumes.countedBytes());
      await sleep(this.#parts.clock, RECONCILE_EVERY_MS, signal).catch(() => undefined); // Aborted: the loop ends.
    }
  }
}

function readBidRequest(data: Uint8Array): BidRequest | undefined {
  try {
    return fromBinary(BidRequestSchema, data);
  } catch {
    return undefined; // Not this message: ignored.
  }
}

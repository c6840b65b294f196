import { create, toBinary } from "@bufbuild/protobuf";
import type { BidAnswer } from "../api/gen/cc/v1/cloud_pb.ts";
import { type BidMessage, type BidRequest, BidRequestSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import { type SignedRequest, StampedRequestSchema } from "../api/gen/cc/v1/records_pb.ts";
import { type ContainerId, type ErrorCode, type PeerId, type Refusal, type Zone, CcError, asCcError, assertNever, base32, isZone, refuse } from "../base/index.ts";
import { bidTopic } from "../mesh/index.ts";
import type { StoredRecord } from "../state/index.ts";
import { userKey } from "../state/record-key.ts";
import { AWARD_EPOCH_MAX, UNKNOWN_AFTER_MS, afterSilence } from "./after-award.ts";
import { type Answer, BID_VALID_MS, type Holding, fromBidMessage } from "./answers.ts";
import type { ActiveAttempt, Attempts, Unsettled } from "./attempts.ts";
import { type AskedHost, type LiveBid, type Round, type RoundStep, SILENCE_MS, nextStep, startRound, withAnswer, withAsked, withRival, withoutAnswer } from "./awaited.ts";
import { makeAward } from "./award.ts";
import { carryAward, type TripEnd } from "./award-trip.ts";
import { Bell } from "./bell.ts";
import type { BoundedMemory } from "./bounded-memory.ts";
import { chooseAward } from "./choose-award.ts";
import { explainRefusal, explainRows } from "./explain.ts";
import type { Holder } from "./holder.ts";
import type { PlacementParts, RunAsked } from "./ports.ts";
import { type KnownHost, isAskedFor } from "./requirements.ts";
import { sameSpec } from "./token-memory.ts";

export type Placed = {
  readonly ok: true;
  readonly id: ContainerId;
  readonly holding: Holding;
  /** Disks that have request and claim fsynced, as far as this peer knows. */
  readonly copies: number;
  /** What this call wrote, for the caller's list of its last writes; empty where the container was there already. */
  readonly records: readonly StoredRecord[];
  readonly answers: readonly BidAnswer[];
};
export type NotPlaced = Refusal & { readonly answers: readonly BidAnswer[] };
export type PlacementOutcome = Placed | NotPlaced;

/** Hosts whose last award was met with silence, for a while: a host that bids low and never answers would stop everybody. */
export type SilentHosts = BoundedMemory<PeerId, true>;

const ASKED_BEFORE_MAX = 8;
const POLL_RIVAL_MS = 200;
/** The whole of it, whatever the hosts do: many declines, one after another. */
const PLACEMENT_MS_MAX = 20_000;

/** One placement at its requester, from the first question to the claim. */
export class Attempt implements ActiveAttempt {
  readonly id: ContainerId;
  readonly bidRequest: BidRequest;
  readonly #asked: RunAsked;
  readonly #request: SignedRequest;
  readonly #parts: PlacementParts;
  readonly #attempts: Attempts;
  readonly #holder: Holder;
  readonly #silentHosts: SilentHosts;
  readonly #bell: Bell;
  readonly #shownTo = new Set<PeerId>();
  readonly #never = new AbortController().signal;
  #awarded = false;
  #round: Round;
  #unreachable: readonly KnownHost[] = [];
  #stamp: StoredRecord | undefined;

  constructor(id: ContainerId, asked: RunAsked, request: SignedRequest, shared: { readonly parts: PlacementParts; readonly attempts: Attempts; readonly holder: Holder; readonly silentHosts: SilentHosts }) {
    this.id = id;
    this.#asked = asked;
    this.#request = request;
    this.#parts = shared.parts;
    this.#attempts = shared.attempts;
    this.#holder = shared.holder;
    this.#silentHosts = shared.silentHosts;
    this.#bell = new Bell(shared.parts.clock);
    const { mesh, random, clock } = shared.parts;
    this.bidRequest = create(BidRequestSchema, { requestId: `${id}.${base32(random.bytes(5))}`, container: id, requester: mesh.self, request, sentAtMs: clock.nowMs() });
    this.#round = this.#newRound();
  }

  get name(): string {
    return this.#asked.requirements.name;
  }

  get awarded(): boolean {
    return this.#awarded;
  }

  showTo(peer: PeerId): boolean {
    if (this.#shownTo.has(peer)) return false;
    this.#shownTo.add(peer);
    return true;
  }

  onRival(peer: PeerId): void {
    this.#round = withRival(this.#round, peer);
    this.#bell.ring();
  }

  onRecords(): void {
    this.#bell.ring();
  }

  /** An answer that came by itself, to the request that went over gossip. */
  onAnswer(from: PeerId, message: BidMessage): void {
    const answer = message.requestId === this.bidRequest.requestId ? fromBidMessage(message) : undefined;
    if (answer !== undefined) void this.#keep(from, answer);
  }

  async run(signal: AbortSignal): Promise<PlacementOutcome> {
    const earlier = this.#found() ?? (await this.#settleEarlier());
    if (earlier !== undefined) return earlier;
    const refused = this.#refuseUnmeetable();
    if (refused !== undefined) return refused;
    const before = await this.#askBefore();
    if (before !== undefined) return before;
    this.#publish();
    const endMs = this.#now() + PLACEMENT_MS_MAX;
    while (!signal.aborted) {
      if (this.#now() >= endMs) return this.#refuse("TIMEOUT", `no host took the container within ${PLACEMENT_MS_MAX / 1_000} s; try again with the same token`);
      const step = nextStep(this.#round, this.#now(), this.#awarded);
      const outcome = this.#found() ?? (step.do === "wait" ? await this.#bell.wait(step.untilMs, signal) : await this.#act(step));
      if (outcome !== undefined) return outcome;
    }
    throw asCcError(signal.reason);
  }

  async #act(step: Exclude<RoundStep, { do: "wait" }>): Promise<PlacementOutcome | undefined> {
    switch (step.do) {
      case "ask":
        this.#round = withAsked(this.#round, step.peers, this.#now());
        for (const peer of step.peers) void this.#askOne(peer);
        return undefined;
      case "found":
        return this.#placed(step.holding, 2, []);
      case "wait-for":
        return this.#waitFor(step.peer);
      case "award":
        return this.#award(step.bids);
      case "refuse":
        return this.#refuseRound(step.code, step.otherId);
      default:
        return assertNever(step);
    }
  }

  /** The container is in this host's records. */
  #found(): PlacementOutcome | undefined {
    const known = this.#parts.view.container(this.id);
    if (known === undefined) return undefined;
    if (known.request !== undefined) {
      const recorded = this.#parts.requests.read(known.request);
      const same = recorded.ok ? sameSpec(recorded.value.spec, this.#asked.spec) : recorded;
      if (!same.ok) return this.#refuse(same.code, same.message);
    }
    if (known.best === undefined) return known.removed ? this.#refuse("CONFLICT", "the container of this token was removed already; use a new token for a new one") : undefined;
    // Here and at the holder: two disks, unless they are the same.
    return this.#placed(known.best, known.best.holder === this.#parts.mesh.self ? 1 : 2, []);
  }

  #newRound(): Round {
    const { mesh, view, liveness } = this.#parts;
    const { requirements } = this.#asked;
    const reachable = new Set([mesh.self, ...liveness.reachable()]);
    const hosts: AskedHost[] = [];
    const unreachable: KnownHost[] = [];
    for (const host of view.hosts()) {
      const eligible = isAskedFor(requirements, host).ok;
      if (reachable.has(host.peer)) {
        // Names are one for the whole mesh: for a name everybody is asked.
        if (eligible || requirements.name !== "") hosts.push({ ...host, eligible });
      } else if (eligible) unreachable.push(host);
    }
    this.#unreachable = unreachable;
    return startRound({ self: mesh.self, named: requirements.name !== "", hosts, rivals: this.#attempts.rivals(this.id, this.#now()) }, this.#now());
  }

  /** What no answer could change. */
  #refuseUnmeetable(): NotPlaced | undefined {
    const { host, zone, name } = this.#asked.requirements;
    const { view } = this.#parts;
    const taken = name === "" ? undefined : view.liveByName(name).find((other) => other !== this.id);
    if (taken !== undefined) return this.#refuseRound("NAME_TAKEN", taken);
    const placing = name === "" ? undefined : this.#attempts.placingName(name, this.id);
    if (placing !== undefined) return this.#refuseRound("NAME_HELD", placing);
    if (this.#round.hosts.some((asked) => asked.eligible)) return undefined;
    if (host !== "" && !view.hosts().some((known) => known.peer === host || known.name === host)) return this.#refuse("NOT_FOUND", `there is no host ${host}; cc host list shows them`);
    if (this.#unreachable.length > 0) return this.#refuse("HOST_UNREACHABLE", `no host that may run the container can be reached: ${explainRefusal(this.#rows())}`);
    return this.#refuse("NO_ROOM", zone === "" ? `host ${host} is not in the zone that was asked for` : `there is no such host in zone ${zone}; cc host list shows zones and hosts`);
  }

  /** To oneself directly, to the others over gossip: all zones whose hosts are asked. */
  #publish(): void {
    const { mesh } = this.#parts;
    this.#round = { ...this.#round, startedAtMs: this.#now() };
    void this.#askOne(mesh.self);
    const data = toBinary(BidRequestSchema, this.bidRequest);
    const zones = new Set(this.#round.hosts.filter((host) => host.peer !== mesh.self).map((host) => host.zone));
    for (const zone of [...zones].sort()) mesh.publish(bidTopic(zone), data);
  }

  /** A retry: the peers that were asked before may be at work on it, have it done, or not know how it ended. */
  async #askBefore(): Promise<PlacementOutcome | undefined> {
    const { liveness, mesh } = this.#parts;
    const reachable = new Set(liveness.reachable());
    const peers = this.#asked.askedBefore.filter((peer) => peer !== mesh.self && reachable.has(peer)).slice(0, ASKED_BEFORE_MAX);
    const answers = await Promise.all(peers.map(async (peer) => ({ peer, answer: await this.#askOne(peer) })));
    const found = this.#found();
    if (found !== undefined) return found;
    for (const { peer, answer } of answers) {
      if (answer?.kind === "at-work") {
        const ended = await this.#waitFor(peer);
        if (ended !== undefined) return ended;
      }
      const unsettled = answer?.kind === "bid" || answer?.kind === "refused" ? answer.unsettled : undefined;
      const settled = unsettled === undefined ? undefined : await this.#settleForeign(unsettled);
      if (settled !== undefined) return settled;
    }
    return undefined;
  }

  /** Asks one host directly, at most a second. What it says of records is checked before it counts. */
  async #askOne(peer: PeerId): Promise<Answer | undefined> {
    const { mesh, logger } = this.#parts;
    try {
      const answer = peer === mesh.self ? await this.#holder.answerOwn(this.bidRequest, this.#asked) : fromBidMessage(await mesh.call(peer, "askBid", this.bidRequest, { timeoutMs: SILENCE_MS }));
      if (answer === undefined) return undefined;
      return await this.#keep(peer, answer);
    } catch (thrown) {
      // Silence: it stands among the answers as such.
      logger.debug({ peer, container: this.id, code: asCcError(thrown).code }, "no bid");
      return undefined;
    }
  }

  async #keep(peer: PeerId, answer: Answer): Promise<Answer> {
    const confirmed = await this.#confirmed(peer, answer);
    this.#round = withAnswer(this.#round, peer, confirmed, this.#now());
    this.#bell.ring();
    return confirmed;
  }

  /** 'Have it' and 'name taken' end a placement, so a host's word is not enough: it has to show the records. */
  async #confirmed(peer: PeerId, answer: Answer): Promise<Answer> {
    const { view } = this.#parts;
    if (answer.kind === "have-it") {
      if (view.container(this.id)?.best === undefined) await this.#bring(peer, [this.id]);
      const best = view.container(this.id)?.best;
      return best === undefined ? unproven("says that it has the container, but shows no valid claim") : { kind: "have-it", holding: best };
    }
    if (answer.kind === "name-taken") {
      const taken = (): ContainerId | undefined => view.liveByName(this.name).find((other) => other !== this.id);
      if (taken() === undefined) await this.#bring(peer, [answer.otherId]);
      const otherId = taken();
      return otherId === undefined ? unproven("says that the name is taken, but shows no live container of that name") : { kind: "name-taken", otherId };
    }
    return answer;
  }

  /** Fetches what a peer has about containers into the own replica. */
  async #bring(peer: PeerId, ids: readonly ContainerId[]): Promise<void> {
    const { mesh, replica, logger } = this.#parts;
    if (peer === mesh.self) return;
    try {
      const { frames } = await mesh.call(peer, "askAround", { kind: "container", ids: [...ids] }, { timeoutMs: SILENCE_MS });
      await replica.take(frames, peer);
    } catch (thrown) {
      logger.debug({ peer, code: asCcError(thrown).code }, "records not shown");
    }
  }

  /** Another peer places the same container: its outcome is ours. Undefined: it gave up, or is gone, so we go on. */
  async #waitFor(peer: PeerId): Promise<PlacementOutcome | undefined> {
    const endMs = this.#now() + UNKNOWN_AFTER_MS;
    while (this.#now() < endMs) {
      const answer = await this.#askOne(peer);
      const found = this.#found();
      if (found !== undefined) return found;
      const gone = answer === undefined && this.#parts.liveness.of(peer).standing === "unreachable";
      if (gone || (answer !== undefined && answer.kind !== "at-work")) {
        const unsettled = answer?.kind === "bid" || answer?.kind === "refused" ? answer.unsettled : undefined;
        this.#attempts.dropRival(this.id, peer, this.#now());
        this.#restart();
        return unsettled === undefined ? undefined : this.#settleForeign(unsettled);
      }
      await this.#bell.wait(this.#now() + POLL_RIVAL_MS, this.#never);
    }
    return this.#unknown(`${peer} is placing it and was not done within ${UNKNOWN_AFTER_MS / 1_000} s`);
  }

  /** Answers of a round that had to wait are old: everybody is asked anew. */
  #restart(): void {
    this.#round = this.#newRound();
    this.#publish();
  }

  /** An earlier attempt at this peer ended without knowing: the same award goes out again, and is answered as it was. */
  async #settleEarlier(): Promise<PlacementOutcome | undefined> {
    const unsettled = this.#attempts.unsettled(this.id, this.#now());
    if (unsettled === undefined) return undefined;
    this.#awarded = true;
    const end = await carryAward(this.id, unsettled, this.#parts, this.#holder, this.#bell);
    return this.#afterTrip(unsettled, end);
  }

  /** The same for an award of another peer, of which only the host is known: that host is asked whether it has the container. */
  async #settleForeign(holding: Holding): Promise<PlacementOutcome | undefined> {
    const { liveness } = this.#parts;
    const sinceMs = this.#now();
    this.#attempts.raiseEpoch(this.id, holding.epoch, sinceMs);
    for (;;) {
      const answer = await this.#askOne(holding.holder);
      const found = this.#found();
      if (found !== undefined) return found;
      const triedAtMs = this.#now();
      const lapsed = triedAtMs >= sinceMs + BID_VALID_MS;
      if (answer !== undefined && lapsed) return undefined;
      const { standing } = liveness.of(holding.holder);
      const step = afterSilence({ sinceMs, bidAtMs: sinceMs, bidValidMs: BID_VALID_MS, standing, through: [], triedAtMs, triedDirectly: true }, triedAtMs);
      if (step.do === "next") return undefined;
      if (step.do === "unknown") return this.#unknown(`${holding.holder} was awarded it and does not answer`);
      await this.#bell.wait(step.do === "wait" ? step.untilMs : triedAtMs + POLL_RIVAL_MS, this.#never);
    }
  }

  async #award(bids: readonly LiveBid[]): Promise<PlacementOutcome | undefined> {
    const taken = this.name === "" ? undefined : this.#parts.view.liveByName(this.name).find((other) => other !== this.id);
    if (taken !== undefined) return this.#refuseRound("NAME_TAKEN", taken);
    const { signer, random, clock } = this.#parts;
    const answering = bids.filter((bid) => this.#silentHosts.get(bid.host, this.#now()) === undefined);
    const bid = chooseAward(answering.length > 0 ? answering : bids, random);
    if (bid === undefined) return this.#refuseRound("NO_ROOM");
    const epoch = Math.max(this.#attempts.epoch(this.id, this.#now()), this.#parts.view.container(this.id)?.highestEpoch ?? 0) + 1;
    if (epoch > AWARD_EPOCH_MAX) return this.#refuse("CONFLICT", `the container was awarded ${AWARD_EPOCH_MAX} times and no host took it; use a new token`);
    // From here on this peer goes on whatever its id: set before the first wait.
    this.#awarded = true;
    const stamp = await this.#stamped(bid.host);
    const holding = { holder: bid.host, epoch };
    const award = makeAward({ id: this.id, ...holding, awardedAtMs: clock.nowMs() }, stamp, signer);
    const unsettled: Unsettled = { holding, award, bidAtMs: bid.atMs, bidValidMs: bid.validForMs };
    this.#attempts.remember(this.id, unsettled, this.#now());
    return this.#afterTrip(unsettled, await carryAward(this.id, unsettled, this.#parts, this.#holder, this.#bell));
  }

  async #afterTrip(award: Unsettled, end: TripEnd): Promise<PlacementOutcome | undefined> {
    const { holder } = award.holding;
    switch (end.kind) {
      case "taken":
        this.#attempts.settle(this.id);
        return this.#placed(this.#parts.view.container(this.id)?.best ?? award.holding, end.copies, [...(this.#stamp === undefined ? [] : [this.#stamp]), ...end.records]);
      case "declined":
        this.#attempts.settle(this.id);
        if (end.code === "CONFLICT" || end.code === "NAME_TAKEN") await this.#bring(holder, [this.id]);
        // A lapsed bid can be given anew; every other reason stands until the next attempt.
        if (end.code === "TIMEOUT") this.#round = withoutAnswer(this.#round, holder);
        else this.#round = withAnswer(this.#round, holder, { kind: "refused", code: end.code, reason: end.reason }, this.#now());
        return undefined;
      case "passed-over":
        this.#attempts.settle(this.id);
        this.#silentHosts.set(holder, true, this.#now());
        this.#round = withAnswer(this.#round, holder, { kind: "refused", code: "HOST_UNREACHABLE", reason: "unreachable since it bid" }, this.#now());
        return undefined;
      case "unknown":
        this.#silentHosts.set(holder, true, this.#now());
        return this.#unknown(`${holder} was awarded it and does not answer`);
      default:
        return assertNever(end);
    }
  }

  /** Stamped once a request: of two stamps of one request only the lower would count, so the key keeps the first zone. */
  async #stamped(firstHost: PeerId): Promise<StoredRecord> {
    if (this.#stamp === undefined) {
      const zone = this.#round.hosts.find((host) => host.peer === firstHost)?.zone ?? "";
      if (!isZone(zone)) throw new CcError("INTERNAL", "a host without a zone was awarded");
      const content = toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: this.#request }));
      this.#stamp = await this.#parts.replica.stamp({ key: userKey(zone satisfies Zone, "container", this.id), content });
    }
    return this.#stamp;
  }

  #placed(holding: Holding, copies: number, records: readonly StoredRecord[]): Placed {
    return { ok: true, id: this.id, holding, copies, records, answers: explainRows(this.#round, this.#unreachable, holding.holder) };
  }

  #refuseRound(code: ErrorCode, otherId?: ContainerId): NotPlaced {
    if (code === "NAME_TAKEN") return this.#refuse(code, `the name ${this.name} is taken by ${otherId}; choose another, or remove that container first`);
    if (code === "NAME_HELD") return this.#refuse(code, `another create (${otherId}) is using the name ${this.name} at this moment; try again in ten seconds or choose another name`);
    return this.#refuse(code, `no host can take the container: ${explainRefusal(this.#rows().filter((row) => this.#counts(row)))}`);
  }

  /** Hosts that were asked for the name alone are no reason. */
  #counts(row: BidAnswer): boolean {
    return this.#round.hosts.find((host) => host.peer === row.host)?.eligible !== false;
  }

  #unknown(why: string): NotPlaced {
    return this.#refuse("OUTCOME_UNKNOWN", `whether the container was placed is not known: ${why}; retry with the same token`);
  }

  #refuse(code: ErrorCode, message: string): NotPlaced {
    return { ...refuse(code, message), answers: this.#rows() };
  }

  #rows(): BidAnswer[] {
    return explainRows(this.#round, this.#unreachable, undefined);
  }

  #now(): number {
    return this.#parts.clock.monotonicMs();
  }
}

function unproven(what: string): Answer {
  return { kind: "refused", code: "CONFLICT", reason: what };
}

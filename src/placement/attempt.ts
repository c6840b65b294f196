import { create, toBinary } from "@bufbuild/protobuf";
import type { BidMessage, BidRequest } from "../api/gen/cc/v1/mesh_pb.ts";
import { type SignedRequest, StampedRequestSchema } from "../api/gen/cc/v1/records_pb.ts";
import { asCcError, assertNever, CcError, type ContainerId, type ErrorCode, isZone, type PeerId } from "../base/index.ts";
import { AWARD_EPOCH_MAX, type Holding, type StoredRecord, userKey } from "../state/index.ts";
import { unsettledIn } from "./answers.ts";
import { Asking } from "./asking.ts";
import type { ActiveAttempt, Attempts, Unsettled } from "./attempts.ts";
import { type LiveBid, nextStep, type RoundStep, SILENCE_MS } from "./awaited.ts";
import { makeAward } from "./award.ts";
import { carryAward, type TripEnd } from "./award-trip.ts";
import { Bell } from "./bell.ts";
import type { BoundedMemory } from "./bounded-memory.ts";
import { chooseAward } from "./choose-award.ts";
import { explainRefusal } from "./explain.ts";
import type { Holder } from "./holder.ts";
import { settleForeign, waitForRival } from "./others-attempts.ts";
import { type NotPlaced, notPlaced, type Placed, type PlacementOutcome, refusalMessage } from "./outcome.ts";
import type { PlacementParts, RunAsked } from "./ports.ts";
import { sameSpec } from "./token-memory.ts";

/** Hosts whose last award was met with silence, for a while: a host that bids low and never answers would stop everybody. */
export type SilentHosts = BoundedMemory<PeerId, true>;

const ASKED_BEFORE_MAX = 8;
/** Asked twice: one lost message must not make a second container. */
const ASK_BEFORE_MS = SILENCE_MS / 2;
/** A rival that asks again has not got it. Two peers that both have an award out show theirs to each other, at this pace. */
const SHOW_AGAIN_MS = 200;
/** The whole of it, whatever the hosts do: many declines, one after another. */
const PLACEMENT_MS_MAX = 20_000;

/** One placement at its requester, from the first question to the claim. */
export class Attempt implements ActiveAttempt {
  readonly id: ContainerId;
  readonly #asked: RunAsked;
  readonly #request: SignedRequest;
  readonly #parts: PlacementParts;
  readonly #attempts: Attempts;
  readonly #holder: Holder;
  readonly #silentHosts: SilentHosts;
  readonly #bell: Bell;
  readonly #asking: Asking;
  readonly #shownAtMs = new Map<PeerId, number>();
  readonly #beganMs: number;
  #awarded = false;
  #awardedMs = 0;
  #stamp: StoredRecord | undefined;

  constructor(
    id: ContainerId,
    asked: RunAsked,
    request: SignedRequest,
    shared: { readonly parts: PlacementParts; readonly attempts: Attempts; readonly holder: Holder; readonly silentHosts: SilentHosts },
  ) {
    this.id = id;
    this.#asked = asked;
    this.#request = request;
    this.#parts = shared.parts;
    this.#attempts = shared.attempts;
    this.#holder = shared.holder;
    this.#silentHosts = shared.silentHosts;
    this.#beganMs = shared.parts.clock.monotonicMs();
    this.#bell = new Bell(shared.parts.clock);
    this.#asking = new Asking(id, asked, request, { ...shared, bell: this.#bell });
  }

  get name(): string {
    return this.#asked.requirements.name;
  }

  get bidRequest(): BidRequest {
    return this.#asking.bidRequest;
  }

  get awarded(): boolean {
    return this.#awarded;
  }

  showTo(peer: PeerId): boolean {
    const nowMs = this.#now();
    if (nowMs < (this.#shownAtMs.get(peer) ?? Number.NEGATIVE_INFINITY) + SHOW_AGAIN_MS) return false;
    this.#shownAtMs.set(peer, nowMs);
    return true;
  }

  onRival(peer: PeerId): void {
    this.#asking.addRival(peer);
    this.#bell.ring();
  }

  onRecords(): void {
    this.#bell.ring();
  }

  onAnswer(from: PeerId, message: BidMessage): void {
    this.#asking.onAnswer(from, message);
  }

  async run(signal: AbortSignal): Promise<PlacementOutcome> {
    const earlier = this.#found() ?? (await this.#settleEarlier());
    if (earlier !== undefined) return earlier;
    const refused = this.#refuseUnmeetable();
    if (refused !== undefined) return refused;
    const before = await this.#askBefore();
    if (before !== undefined) return before;
    this.#asking.publish();
    const endMs = this.#now() + PLACEMENT_MS_MAX;
    while (!signal.aborted) {
      if (this.#now() >= endMs)
        return this.#refuse("TIMEOUT", `no host took the container within ${PLACEMENT_MS_MAX / 1_000} s; try again with the same token`);
      const step = nextStep(this.#asking.round, this.#now(), this.#awarded);
      const outcome = this.#found() ?? (await this.#act(step, signal));
      if (outcome !== undefined) return outcome;
    }
    throw asCcError(signal.reason);
  }

  async #act(step: RoundStep, signal: AbortSignal): Promise<PlacementOutcome | undefined> {
    switch (step.do) {
      case "wait":
        await this.#bell.wait(step.untilMs, signal);
        return undefined;
      case "ask":
        this.#asking.askDirectly(step.peers);
        return undefined;
      case "found":
        return this.#placed(step.holding, 2, []);
      case "wait-for":
        return this.#followOther({ peer: step.peer });
      case "award":
        if (!this.#asking.isProving) return this.#award(step.bids);
        await this.#bell.wait(this.#now() + SILENCE_MS, signal);
        return undefined;
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
    if (known.best === undefined)
      return known.removed ? this.#refuse("CONFLICT", "the container of this token was removed already; use a new token for a new one") : undefined;
    // Here and at the holder: two disks, unless they are the same.
    const copies = known.best.holder === this.#parts.mesh.self ? 1 : 2;
    return this.#placed(known.best, Math.max(copies, this.#attempts.copies(this.id, this.#now())), []);
  }

  /** What no answer could change. */
  #refuseUnmeetable(): NotPlaced | undefined {
    const { host, zone } = this.#asked.requirements;
    const { view } = this.#parts;
    const taken = this.#asking.nameTaken();
    if (taken !== undefined) return this.#refuseRound("NAME_TAKEN", taken);
    if (this.#asking.round.hosts.some((asked) => asked.eligible)) return undefined;
    if (host !== "" && !view.hosts().some((known) => known.peer === host || known.name === host))
      return this.#refuse("NOT_FOUND", `there is no host ${host}; cc host list shows them`);
    if (this.#asking.unreachable.length > 0)
      return this.#refuse("HOST_UNREACHABLE", `no host that may run the container can be reached: ${explainRefusal(this.#asking.rows({ eligible: true }))}`);
    return this.#refuse(
      "NO_ROOM",
      zone === "" ? `host ${host} is not in the zone that was asked for` : `there is no such host in zone ${zone}; cc host list shows zones and hosts`,
    );
  }

  /** A retry: the peers that were asked before may be at work on it, have it done, or not know how it ended. */
  async #askBefore(): Promise<PlacementOutcome | undefined> {
    const { liveness, mesh } = this.#parts;
    const reachable = new Set(liveness.reachable());
    const peers = this.#asked.askedBefore.filter((peer) => peer !== mesh.self && reachable.has(peer)).slice(0, ASKED_BEFORE_MAX);
    const answers = await Promise.all(
      peers.map(async (peer) => ({ peer, answer: (await this.#asking.ask(peer, ASK_BEFORE_MS)) ?? (await this.#asking.ask(peer, ASK_BEFORE_MS)) })),
    );
    const found = this.#found();
    if (found !== undefined) return found;
    for (const { peer, answer } of answers) {
      if (answer?.kind === "at-work") {
        const ended = await this.#followOther({ peer });
        if (ended !== undefined) return ended;
      }
      const unsettled = unsettledIn(answer);
      const settled = unsettled === undefined ? undefined : await this.#followOther({ holding: unsettled });
      if (settled !== undefined) return settled;
    }
    return undefined;
  }

  /** Another peer's attempt at the same container: followed to its end. Undefined: the way is free. */
  async #followOther(other: { readonly peer: PeerId } | { readonly holding: Holding }): Promise<PlacementOutcome | undefined> {
    const parts = { ...this.#parts, asking: this.#asking, attempts: this.#attempts, bell: this.#bell };
    const isFound = (): boolean => this.#found() !== undefined;
    const end = "peer" in other ? await waitForRival(this.id, other.peer, parts, isFound) : await settleForeign(this.id, other.holding, parts, isFound);
    return end.kind === "unknown" ? this.#unknown(end.why) : this.#found();
  }

  /** An earlier attempt at this peer ended without knowing: the same award goes out again, and is answered as it was. */
  async #settleEarlier(): Promise<PlacementOutcome | undefined> {
    const unsettled = this.#attempts.unsettled(this.id, this.#now());
    if (unsettled === undefined) return undefined;
    this.#awarded = true;
    const end = await carryAward(this.id, unsettled, this.#parts, this.#holder, this.#bell);
    return this.#afterTrip(unsettled, end);
  }

  async #award(bids: readonly LiveBid[]): Promise<PlacementOutcome | undefined> {
    const taken = this.#asking.nameTaken();
    if (taken !== undefined) return this.#refuseRound("NAME_TAKEN", taken);
    const { signer, random, clock } = this.#parts;
    const answering = bids.filter((bid) => this.#silentHosts.get(bid.host, this.#now()) === undefined);
    const bid = chooseAward(answering.length > 0 ? answering : bids, random);
    if (bid === undefined) return this.#refuseRound("NO_ROOM");
    const epoch = Math.max(this.#attempts.epoch(this.id, this.#now()), this.#parts.view.container(this.id)?.highestEpoch ?? 0) + 1;
    if (epoch > AWARD_EPOCH_MAX) return this.#refuse("CONFLICT", `the container was awarded ${AWARD_EPOCH_MAX} times and no host took it; use a new token`);
    // From here on this peer goes on whatever its id: set before the first wait.
    this.#awarded = true;
    this.#awardedMs = this.#now() - this.#beganMs;
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
        this.#attempts.acknowledge(this.id, end.copies, this.#now());
        this.#parts.logger.info(
          { container: this.id, ...award.holding, awardedMs: tenths(this.#awardedMs), takenMs: tenths(this.#now() - this.#beganMs) },
          "container placed",
        );
        return this.#placed(this.#parts.view.container(this.id)?.best ?? award.holding, end.copies, [...this.#storedStamp(), ...end.records]);
      case "declined":
        this.#attempts.settle(this.id);
        if (end.code === "CONFLICT" || end.code === "NAME_TAKEN") await this.#asking.bring(holder, [this.id, ...this.#asked.requirements.volumes]);
        // A lapsed bid can be given anew; every other reason stands until the next attempt.
        if (end.code === "TIMEOUT") this.#asking.forget(holder);
        else await this.#asking.keep(holder, { kind: "refused", code: end.code, reason: end.reason });
        return undefined;
      case "passed-over":
        this.#attempts.settle(this.id);
        this.#silentHosts.set(holder, true, this.#now());
        await this.#asking.keep(holder, { kind: "refused", code: "HOST_UNREACHABLE", reason: "unreachable since it bid" });
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
      const zone = this.#asking.round.hosts.find((host) => host.peer === firstHost)?.zone ?? "";
      if (!isZone(zone)) throw new CcError("INTERNAL", "a host without a zone was awarded");
      const content = toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: this.#request }));
      this.#stamp = await this.#parts.replica.stamp({ key: userKey(zone, "container", this.id), content });
    }
    return this.#stamp;
  }

  /** Of two attempts at one token the holder took the first one's stamp: the other was never stored, and is nobody's last write. */
  #storedStamp(): StoredRecord[] {
    const stamp = this.#stamp;
    if (stamp === undefined) return [];
    return this.#parts.replica.list(stamp.key).some(({ key, writer }) => key === stamp.key && writer === stamp.writer) ? [stamp] : [];
  }

  #placed(holding: Holding, copies: number, records: readonly StoredRecord[]): Placed {
    return { ok: true, id: this.id, holding, copies, records, answers: this.#asking.rows({ chosen: holding.holder }) };
  }

  #refuseRound(code: ErrorCode, otherId?: ContainerId): NotPlaced {
    return this.#refuse(code, refusalMessage(code, { name: this.name, otherId, rows: this.#asking.rows({ eligible: true }) }));
  }

  #unknown(why: string): NotPlaced {
    return this.#refuse("OUTCOME_UNKNOWN", `whether the container was placed is not known: ${why}; retry with the same token`);
  }

  #refuse(code: ErrorCode, message: string): NotPlaced {
    return notPlaced(code, message, this.#asking.rows());
  }

  #now(): number {
    return this.#parts.clock.monotonicMs();
  }
}

/** Milliseconds for the log. */
const tenths = (ms: number): number => Math.round(ms * 10) / 10;

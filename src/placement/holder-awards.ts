import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type AwardReply, AwardReplySchema, type AwardRequest } from "../api/gen/cc/v1/mesh_pb.ts";
import { type ClaimedNetworkSchema, ClaimSchema, PhaseSchema, type RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import { asCcError, CcError, type ContainerId, type ErrorCode, ok, type PeerId, type Refusal, type Result, refuse } from "../base/index.ts";
import { isStampedInTime } from "../identity/index.ts";
import { containerIdOf, type Draft, hostKey } from "../state/index.ts";
import { AWARD_CALL_MS } from "./after-award.ts";
import { makeDecline, type OpenAward, openAward } from "./award.ts";
import { BoundedMemory } from "./bounded-memory.ts";
import type { CapacityLedger } from "./capacity.ts";
import { readClaim } from "./counted-claims.ts";
import type { HolderBids } from "./holder-bids.ts";
import type { PlacementParts, RunAsked } from "./ports.ts";
import { isAskedFor, needsOf } from "./requirements.ts";

/** What an award came to; `copies`: disks that have the claim fsynced as far as this host knows. */
export type AwardOutcome = { readonly reply: AwardReply; readonly copies: number };

type Network = MessageInitShape<typeof ClaimedNetworkSchema>;

const AWARDS_AT_ONCE_MAX = 256;
const RELAYS_AT_ONCE_MAX = 64;

/** This host's answers to awards: a claim that is fsynced, or a signed decline. The same award again gets the same answer. */
export class HolderAwards {
  readonly #parts: PlacementParts;
  readonly #ledger: CapacityLedger;
  readonly #bids: HolderBids;
  readonly #underway = new Map<string, Promise<AwardOutcome>>();
  // Longer than a nonce is remembered: 10 minutes after a signed time that may be 5 minutes ahead. Declines only; what
  // was taken stands in the claim.
  readonly #declined = new BoundedMemory<string, AwardReply>({ entriesMax: 8_192, keepMs: 900_000 });
  readonly #taking = new Set<ContainerId>();
  #relays = 0;

  constructor(parts: PlacementParts, ledger: CapacityLedger, bids: HolderBids) {
    this.#parts = parts;
    this.#ledger = ledger;
    this.#bids = bids;
  }

  /** Throws CcError for what is no award of anybody: there is nothing to decline then. */
  async receive(message: AwardRequest, from: PeerId, signal?: AbortSignal): Promise<AwardOutcome> {
    const opened = openAward(message.award, this.#parts.verifier);
    if (!opened.ok) throw new CcError(opened.code, opened.message);
    const award = opened.value;
    if (award.holder !== this.#parts.mesh.self) return this.#relay(message, award, from, signal);
    const read = this.#parts.requests.read(award.request);
    if (!read.ok) throw new CcError(read.code, read.message);
    const key = `${award.id} ${award.epoch} ${read.value.nonce}`;
    const declined = this.#declined.get(key, this.#parts.clock.monotonicMs());
    if (declined !== undefined) return { reply: declined, copies: 0 };
    const underway = this.#underway.get(key);
    if (underway !== undefined) return underway;
    if (this.#underway.size >= AWARDS_AT_ONCE_MAX) throw new CcError("RATE_LIMITED", "this host is busy with other awards; ask again");
    const deciding = this.#decide(award, message, key).finally(() => this.#underway.delete(key));
    this.#underway.set(key, deciding);
    return deciding;
  }

  /** Its room is taken and its claim not written yet. */
  isTaking(id: ContainerId): boolean {
    return this.#taking.has(id);
  }

  async #decide(award: OpenAward, message: AwardRequest, key: string): Promise<AwardOutcome> {
    const there = await this.#claimed(award.id);
    if (there !== undefined) return there;
    const judged = await this.#judge(award);
    // Judging waited for others: the room is checked and taken in this one step.
    const taken = judged.ok ? this.#take(award, judged.value) : judged;
    if (!taken.ok) return this.#decline(award, key, taken);
    return judged.ok ? this.#bind(award, message, key, judged.value) : this.#decline(award, key, judged);
  }

  /** Room and volumes are reserved: those that lie fresh elsewhere are fetched, then all is claimed at once. */
  async #bind(award: OpenAward, message: AwardRequest, key: string, asked: RunAsked): Promise<AwardOutcome> {
    const { volumes, network } = this.#parts;
    this.#taking.add(award.id);
    try {
      const [bound, joined] = await Promise.all([volumes.bind(award.id, message), network.bind(award.id, asked.requirements, undefined)]);
      if (bound.ok && joined.ok) return await this.#claim(award, key, asked, bound.value, joined.value);
      this.#ledger.drop(award.id);
      return this.#decline(award, key, firstRefusal(bound, joined));
    } finally {
      this.#taking.delete(award.id);
      volumes.settle(award.id);
      network.settle(award.id);
      this.#ledger.countVolumes(volumes.countedBytes());
    }
  }

  /** Everything but the room: whether the user asked for this, and whether it is still wanted here. */
  async #judge(award: OpenAward): Promise<Result<RunAsked>> {
    const { requests, view, mesh, liveness, host } = this.#parts;
    const checked = await requests.check(award.request);
    if (!checked.ok) return checked;
    const asked = checked.value;
    if (asked.addressedTo !== award.requester || containerIdOf(asked.key, asked.token) !== award.id)
      return refuse("WRONG_PEER", "the award is not by the peer that the user addressed");
    if (!isStampedInTime(award.record.version.major, asked.signedAtMs / 1_000))
      return refuse("CLOCK_SKEW", "the request was stamped more than 5 minutes from its signed time");
    const known = view.container(award.id);
    if (known?.removed === true) return refuse("CONFLICT", "the container was removed already");
    const best = known?.best;
    const beaten = best !== undefined && (best.epoch > award.epoch || (best.epoch === award.epoch && best.holder < mesh.self));
    // A claim of a lower epoch is passed over only where its holder is gone for this host too.
    if (best !== undefined && (beaten || liveness.of(best.holder).standing !== "unreachable"))
      return refuse("CONFLICT", `${best.holder} has the container already, at epoch ${best.epoch}`);
    const { name } = asked.requirements;
    const named = name === "" ? undefined : view.liveByName(name).find((other) => other !== award.id);
    if (named !== undefined) return refuse("NAME_TAKEN", `the name ${name} is taken by ${named}`);
    if (!this.#bids.isOffered(award.id, award.requester)) return refuse("TIMEOUT", "the bid has lapsed");
    if (host.draining) return refuse("NO_ROOM", "the host is being drained");
    const self = view.hosts().find((other) => other.peer === mesh.self);
    const fits = self === undefined ? ok(true) : isAskedFor(asked.requirements, self);
    return fits.ok ? checked : fits;
  }

  #take(award: OpenAward, asked: RunAsked): Result<true> {
    // Another epoch's award of the same container, being written at this moment or given up and not yet cleared.
    if (this.#ledger.has(award.id)) return refuse("CONFLICT", "this host is taking another award of this container, or still has to clear an earlier one");
    const { volumes, network } = this.#parts;
    const room = volumes.room(asked.requirements.volumes);
    if (!room.ok) return room;
    const address = network.room(asked.requirements);
    if (!address.ok) return address;
    const taken = this.#ledger.take(award.id, needsOf(asked.requirements), room.value.bytes);
    if (taken.ok) volumes.reserve(award.id, asked.requirements.volumes);
    return taken;
  }

  async #claim(award: OpenAward, key: string, asked: RunAsked, volumes: readonly Draft[], network: Network): Promise<AwardOutcome> {
    const { replica, clock, mesh, logger } = this.#parts;
    const { id, epoch } = award;
    const nowMs = clock.nowMs();
    const claim = create(ClaimSchema, { container: id, epoch, claimedAtMs: nowMs, warrant: { kind: { case: "award", value: award.award } }, network });
    const phase = create(PhaseSchema, { container: id, epoch, phase: "claimed", changedAtMs: nowMs, address: network.address ?? "" });
    try {
      const written = await replica.write(
        [
          { key: hostKey(replica.self, replica.zone, "claim", id), content: toBinary(ClaimSchema, claim) },
          { key: hostKey(replica.self, replica.zone, "phase", id), content: toBinary(PhaseSchema, phase) },
          ...volumes,
        ],
        // A requester elsewhere is the second disk: it takes the frames of the reply before anything is acknowledged.
        { copies: award.requester === mesh.self ? 2 : 1, beside: [award.record.frame], isClaim: true },
      );
      this.#bids.settled(id, award.requester, asked.requirements.name);
      logger.info({ container: id, epoch, requester: award.requester }, "award taken");
      return { reply: taken([award.record.frame, ...written.records.map((record) => record.frame)]), copies: written.copies };
    } catch (fault) {
      // Nobody else has it. Should this disk show it after a crash all the same, the next epoch beats it.
      this.#ledger.drop(id);
      const { code, message } = asCcError(fault);
      // Stopped while the container's address was on its way: nothing is wrong here.
      if (code === "STARTING") return this.#decline(award, key, refuse(code, message));
      logger.error({ container: id, code }, "claim not written");
      return this.#decline(award, key, refuse("INTERNAL", "the host could not write its claim"));
    }
  }

  #decline(award: OpenAward, key: string, why: Refusal): AwardOutcome {
    const { clock, signer, logger } = this.#parts;
    const terms = { id: award.id, epoch: award.epoch, holder: award.holder, declinedAtMs: clock.nowMs() };
    const reply = create(AwardReplySchema, { taken: false, code: why.code satisfies ErrorCode, reason: why.message, ...makeDecline(terms, signer) });
    this.#declined.set(key, reply, clock.monotonicMs());
    // Not of its user: the peer that made it, or the way to here, changed it.
    const level = why.code === "UNAUTHENTICATED" || why.code === "WRONG_PEER" ? "warn" : "info";
    logger[level]({ container: award.id, epoch: award.epoch, from: award.requester, code: why.code, reason: why.message }, "award declined");
    return { reply, copies: 0 };
  }

  /** A claim of this host that counts: the award was taken before, or an earlier one was. After a restart too. */
  async #claimed(id: ContainerId): Promise<AwardOutcome | undefined> {
    const { replica, view, mesh } = this.#parts;
    if (view.container(id)?.best?.holder !== mesh.self) return undefined;
    const claim = replica.get(hostKey(replica.self, replica.zone, "claim", id));
    const warrant = claim === undefined ? undefined : readClaim(claim.content)?.warrant?.kind;
    if (claim === undefined || warrant?.case !== "award" || warrant.value.request === undefined) return undefined;
    const phase = replica.get(hostKey(replica.self, replica.zone, "phase", id));
    const frames = [warrant.value.request, claim.frame, ...(phase === undefined ? [] : [phase.frame])];
    // The phase may be newer than the disk: the requester counts on two disks for all that it is told.
    await replica.take(frames, mesh.self);
    return { reply: taken(frames), copies: 1 };
  }

  /** An award for another host whose requester cannot reach it: one hop, and only for the awarding peer itself. */
  async #relay(message: AwardRequest, award: OpenAward, from: PeerId, signal: AbortSignal | undefined): Promise<AwardOutcome> {
    if (from !== award.requester) throw new CcError("WRONG_PEER", "an award is passed on for the peer that made it alone");
    if (this.#relays >= RELAYS_AT_ONCE_MAX) throw new CcError("RATE_LIMITED", "this host passes on as many awards as it can; ask again");
    this.#relays += 1;
    try {
      const reply = await this.#parts.mesh.call(award.holder, "awardContainer", message, { timeoutMs: AWARD_CALL_MS, ...(signal && { signal }) });
      return { reply, copies: 0 };
    } finally {
      this.#relays -= 1;
    }
  }
}

function firstRefusal(...results: readonly Result<unknown>[]): Refusal {
  for (const result of results) if (!result.ok) return result;
  throw new TypeError("none of them is refused");
}

function taken(frames: readonly RecordFrame[]): AwardReply {
  return create(AwardReplySchema, { taken: true, frames: [...frames] });
}

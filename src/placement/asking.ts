import { create, toBinary } from "@bufbuild/protobuf";
import type { BidAnswer } from "../api/gen/cc/v1/cloud_pb.ts";
import { type BidMessage, type BidRequest, BidRequestSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import type { SignedRequest } from "../api/gen/cc/v1/records_pb.ts";
import { asCcError, base32, type ContainerId, type PeerId, type VolumeId } from "../base/index.ts";
import { bidTopic } from "../mesh/index.ts";
import { type Answer, fromBidMessage } from "./answers.ts";
import type { Attempts } from "./attempts.ts";
import { type AskedHost, type Round, SILENCE_MS, startRound, withAnswer, withAsked, withoutAnswer, withRival } from "./awaited.ts";
import type { Bell } from "./bell.ts";
import { explainRows } from "./explain.ts";
import type { Holder } from "./holder.ts";
import type { PlacementParts, RunAsked } from "./ports.ts";
import { isAskedFor, type KnownHost } from "./requirements.ts";

/** One try at fetching a proof: several fit into the time after which a host counts as silent. */
const PROOF_CALL_MS = 300;

/** The questions of one placement and what came of them: rounds, direct questions, and proofs of what was said. */
export class Asking {
  readonly #id: ContainerId;
  readonly #asked: RunAsked;
  readonly #request: SignedRequest;
  readonly #parts: PlacementParts;
  readonly #attempts: Attempts;
  readonly #holder: Holder;
  readonly #bell: Bell;
  #round: Round;
  #bidRequest: BidRequest;
  #published: BidRequest | undefined;
  #unreachable: readonly KnownHost[] = [];
  #proving = 0;

  constructor(
    id: ContainerId,
    asked: RunAsked,
    request: SignedRequest,
    shared: { readonly parts: PlacementParts; readonly attempts: Attempts; readonly holder: Holder; readonly bell: Bell },
  ) {
    this.#id = id;
    this.#asked = asked;
    this.#request = request;
    this.#parts = shared.parts;
    this.#attempts = shared.attempts;
    this.#holder = shared.holder;
    this.#bell = shared.bell;
    this.#bidRequest = this.#newBidRequest();
    this.#round = this.#newRound();
  }

  get round(): Round {
    return this.#round;
  }

  get bidRequest(): BidRequest {
    return this.#bidRequest;
  }

  /** Hosts that might take the container, were they reachable. */
  get unreachable(): readonly KnownHost[] {
    return this.#unreachable;
  }

  /** Somebody said something that ends this placement, and its proof is on the way: until then nothing is awarded. */
  get isProving(): boolean {
    return this.#proving > 0;
  }

  /** To oneself directly, to the others over gossip: all zones whose hosts are asked. Once a round. */
  publish(): void {
    const { mesh } = this.#parts;
    if (this.#published === this.#bidRequest) return;
    this.#published = this.#bidRequest;
    this.#round = { ...this.#round, startedAtMs: this.#now() };
    void this.ask(mesh.self);
    const data = toBinary(BidRequestSchema, this.#bidRequest);
    const zones = new Set(this.#round.hosts.filter((host) => host.peer !== mesh.self).map((host) => host.zone));
    for (const zone of [...zones].sort()) mesh.publish(bidTopic(zone), data);
  }

  /** Answers of a round that had to wait are old: everybody is asked anew. A new id, or gossip would drop it as known. */
  restart(): void {
    this.#bidRequest = this.#newBidRequest();
    this.#round = this.#newRound();
    this.publish();
  }

  askDirectly(peers: readonly PeerId[]): void {
    this.#round = withAsked(this.#round, peers, this.#now());
    for (const peer of peers) void this.ask(peer);
  }

  /** Asks one host directly and keeps its answer. What it says of records is checked before it counts. */
  async ask(peer: PeerId, timeoutMs: number = SILENCE_MS): Promise<Answer | undefined> {
    const { mesh, logger } = this.#parts;
    try {
      const answer =
        peer === mesh.self
          ? await this.#holder.answerOwn(this.#bidRequest, this.#asked)
          : fromBidMessage(await mesh.call(peer, "askBid", this.#bidRequest, { timeoutMs }));
      return answer === undefined ? undefined : await this.keep(peer, answer);
    } catch (thrown) {
      // Silence: it stands among the answers as such.
      logger.debug({ peer, container: this.#id, code: asCcError(thrown).code }, "no bid");
      return undefined;
    }
  }

  /** An answer that came by itself, to the request that went over gossip. */
  onAnswer(from: PeerId, message: BidMessage): void {
    if (message.requestId !== this.#bidRequest.requestId || !this.#round.hosts.some((host) => host.peer === from)) return;
    const answer = fromBidMessage(message);
    if (answer !== undefined)
      this.keep(from, answer).catch((thrown: unknown) => this.#parts.logger.warn({ from, code: asCcError(thrown).code }, "an answer was lost"));
  }

  async keep(peer: PeerId, answer: Answer): Promise<Answer> {
    const confirmed = await this.#confirmed(peer, answer);
    this.#round = withAnswer(this.#round, peer, confirmed, this.#now());
    this.#bell.ring();
    return confirmed;
  }

  /** Its bid lapsed before its award came: it may give another. */
  forget(peer: PeerId): void {
    this.#round = withoutAnswer(this.#round, peer);
  }

  addRival(peer: PeerId): void {
    this.#round = withRival(this.#round, peer);
  }

  /** Every host's answer, for `--explain`; `eligible`: without those that were asked for the name alone. */
  rows(options: { readonly chosen?: PeerId; readonly eligible?: boolean } = {}): BidAnswer[] {
    const rows = explainRows(this.#round, this.#unreachable, options.chosen);
    if (options.eligible !== true) return rows;
    return rows.filter((row) => this.#round.hosts.find((host) => host.peer === row.host)?.eligible !== false);
  }

  /** Another live container of the name that is asked for, as far as this host's records say. */
  nameTaken(): ContainerId | undefined {
    const { name } = this.#asked.requirements;
    return name === "" ? undefined : this.#parts.view.liveByName(name).find((other) => other !== this.#id);
  }

  /** Fetches what a peer has about containers and volumes into the own replica. */
  async bring(peer: PeerId, ids: readonly (ContainerId | VolumeId)[]): Promise<void> {
    const { mesh, replica, logger } = this.#parts;
    if (peer === mesh.self) return;
    this.#proving += 1;
    try {
      for (const endMs = this.#now() + SILENCE_MS; this.#now() < endMs; ) {
        try {
          const { frames } = await mesh.call(peer, "askAround", { kind: "container", ids: [...ids] }, { timeoutMs: PROOF_CALL_MS });
          await replica.take(frames, peer);
          return;
        } catch (thrown) {
          const { code } = asCcError(thrown);
          logger.debug({ peer, code }, "records not shown");
          // Only a lost message is worth another try.
          if (code !== "TIMEOUT") return;
        }
      }
    } finally {
      this.#proving -= 1;
      this.#bell.ring();
    }
  }

  /** 'Have it' and 'name taken' end a placement, so a host's word is not enough: it has to show the records. */
  async #confirmed(peer: PeerId, answer: Answer): Promise<Answer> {
    const { view } = this.#parts;
    if (answer.kind === "have-it") {
      if (view.container(this.#id)?.best === undefined) await this.bring(peer, [this.#id]);
      const best = view.container(this.#id)?.best;
      return best === undefined ? unproven("it says that it has the container, but shows no valid claim") : { kind: "have-it", holding: best };
    }
    if (answer.kind === "name-taken") {
      if (this.nameTaken() === undefined) await this.bring(peer, [answer.otherId]);
      const otherId = this.nameTaken();
      return otherId === undefined ? unproven("it says that the name is taken, but shows no live container of that name") : { kind: "name-taken", otherId };
    }
    return answer;
  }

  #newBidRequest(): BidRequest {
    const { mesh, random, clock, view } = this.#parts;
    return create(BidRequestSchema, {
      requestId: `${this.#id}.${base32(random.bytes(5))}`,
      container: this.#id,
      requester: mesh.self,
      request: this.#request,
      sentAtMs: clock.nowMs(),
      records: [...view.recordsOf(this.#asked.requirements)],
    });
  }

  #newRound(): Round {
    const { mesh, view, liveness } = this.#parts;
    const { requirements, askedBefore } = this.#asked;
    const reachable = new Set([mesh.self, ...liveness.reachable()]);
    const hosts: AskedHost[] = [];
    const unreachable: KnownHost[] = [];
    for (const host of view.hosts()) {
      const eligible = isAskedFor(requirements, host).ok;
      // Names are one for the whole mesh: for a name everybody is asked. So are those that may be at work on it already.
      const isAsked = eligible || requirements.name !== "" || askedBefore.includes(host.peer);
      if (reachable.has(host.peer)) {
        if (isAsked) hosts.push({ ...host, eligible });
      } else if (eligible) unreachable.push(host);
    }
    this.#unreachable = unreachable;
    const rivals = this.#attempts.rivals(this.#id, this.#now());
    return startRound({ self: mesh.self, named: requirements.name !== "", hosts, rivals, askedBefore }, this.#now());
  }

  #now(): number {
    return this.#parts.clock.monotonicMs();
  }
}

function unproven(what: string): Answer {
  return { kind: "refused", code: "CONFLICT", reason: what };
}

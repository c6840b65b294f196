import type { BidRequest } from "../api/gen/cc/v1/mesh_pb.ts";
import { type ContainerId, isContainerId, isPeerId, type PeerId } from "../base/index.ts";
import { containerIdOf, type Holding } from "../state/index.ts";
import { type Answer, BID_VALID_MS } from "./answers.ts";
import type { Attempts } from "./attempts.ts";
import { priceBid } from "./bid.ts";
import { BoundedMemory } from "./bounded-memory.ts";
import type { CapacityLedger } from "./capacity.ts";
import { NameHolds } from "./name-holds.ts";
import type { PlacementParts, RunAsked } from "./ports.ts";

/** A spec names at most 32 volumes, each of which a few hosts have held, and one VPC, of which every host may have had blocks. */
const FRAMES_MAX = 512;

type Offer = { readonly atWallMs: number };

/**
 * This host's answers to bid requests. A bid reserves nothing; what is remembered is only when it was given, so that an
 * award that comes too late is declined, and for whom a name is held.
 */
export class HolderBids {
  readonly #parts: PlacementParts;
  readonly #attempts: Attempts;
  readonly #ledger: CapacityLedger;
  readonly #names = new NameHolds<ContainerId>();
  readonly #offers = new BoundedMemory<string, Offer>({ entriesMax: 8_192, keepMs: BID_VALID_MS });

  constructor(parts: PlacementParts, attempts: Attempts, ledger: CapacityLedger) {
    this.#parts = parts;
    this.#attempts = attempts;
    this.#ledger = ledger;
  }

  /** Undefined: nothing is answered. `known` is the checked request where this peer itself is the requester. */
  async answer(message: BidRequest, known?: RunAsked): Promise<Answer | undefined> {
    const { self } = this.#parts.mesh;
    const { container: id, requester, request } = message;
    if (!isContainerId(id) || !isPeerId(requester) || request === undefined || message.exclude.includes(self)) return undefined;
    // Our own request, played back to us by somebody.
    if (requester === self && known === undefined) return undefined;
    const checked = known === undefined ? await this.#parts.requests.check(request) : { ok: true as const, value: known };
    if (!checked.ok) return { kind: "refused", code: checked.code, reason: checked.message };
    const asked = checked.value;
    if (known === undefined && message.records.length > 0) await this.#parts.replica.take(message.records.slice(0, FRAMES_MAX), requester);
    // Only the addressed peer places: a bid request that another host made of somebody's request moves nothing here.
    if (asked.addressedTo !== requester || containerIdOf(asked.key, asked.token) !== id) {
      return { kind: "refused", code: "WRONG_PEER", reason: "the request is not addressed to the peer that asks for bids" };
    }
    return this.#whatIsKnown(id, requester, asked) ?? (await this.#price(id, requester, asked));
  }

  /** Whether an award of `requester` answers a bid that is still valid: by this host's clocks, the faster of the two. */
  isOffered(id: ContainerId, requester: PeerId): boolean {
    const { clock } = this.#parts;
    const offer = this.#offers.get(offerKey(id, requester), clock.monotonicMs());
    // A suspended machine's monotonic clock stood still, and the award waited in a socket meanwhile.
    return offer !== undefined && clock.nowMs() - offer.atWallMs < BID_VALID_MS;
  }

  /** The container is claimed here, or never will be. */
  settled(id: ContainerId, requester: PeerId, name: string): void {
    this.#offers.delete(offerKey(id, requester));
    this.#names.release(name, id, this.#parts.clock.monotonicMs());
  }

  #whatIsKnown(id: ContainerId, requester: PeerId, asked: RunAsked): Answer | undefined {
    const { mesh, view, clock } = this.#parts;
    const known = view.container(id);
    if (known?.best !== undefined) return { kind: "have-it", holding: known.best };
    if (known?.removed === true) return { kind: "refused", code: "CONFLICT", reason: "the container of this token was removed already" };
    if (requester !== mesh.self) {
      this.#attempts.addRival(id, requester, clock.monotonicMs());
      const active = this.#attempts.active(id);
      // Of two requesters the lower goes on; one whose award is out goes on whatever its id.
      if (active !== undefined && (active.awarded || mesh.self < requester)) return { kind: "at-work" };
    }
    const { name } = asked.requirements;
    if (name === "") return undefined;
    const taken = view.liveByName(name).find((other) => other !== id);
    if (taken !== undefined) return { kind: "name-taken", otherId: taken };
    const held = this.#names.hold(name, id, requester, clock.monotonicMs());
    return held === undefined ? undefined : { kind: "name-held", otherId: held };
  }

  async #price(id: ContainerId, requester: PeerId, asked: RunAsked): Promise<Answer> {
    const { mesh, replica, view, host, clock } = this.#parts;
    const hasImage = await host.hasImage(asked.requirements.image);
    const hosts = view.hosts();
    const facts = hosts.find((known) => known.peer === mesh.self) ?? { peer: mesh.self, name: "", zone: replica.zone };
    const requesterZone = hosts.find((known) => known.peer === requester)?.zone ?? facts.zone;
    const { labels, draining, loadPerCore } = host;
    const { declared, used } = this.#ledger;
    const unsettled = this.#unsettledHolding(id);
    const room = this.#parts.volumes.room(asked.requirements.volumes);
    const address = this.#parts.network.room(asked.requirements);
    const load = { labels, draining, declared, used, hasImage, loadPerCore };
    const priced = !room.ok
      ? room
      : !address.ok
        ? address
        : priceBid(asked.requirements, { ...facts, ...load, volumes: room.value, isAddressForeign: address.value.isForeign, requesterZone });
    if (!priced.ok) return { kind: "refused", code: priced.code, reason: priced.message, ...(unsettled && { unsettled }) };
    this.#offers.set(offerKey(id, requester), { atWallMs: clock.nowMs() }, clock.monotonicMs());
    return { kind: "bid", price: priced.value.price, terms: priced.value.terms, validForMs: BID_VALID_MS, ...(unsettled && { unsettled }) };
  }

  /** An award that this peer gave earlier and never heard of again: whoever retries elsewhere has to know. */
  #unsettledHolding(id: ContainerId): Holding | undefined {
    return this.#attempts.unsettled(id, this.#parts.clock.monotonicMs())?.holding;
  }
}

function offerKey(id: ContainerId, requester: PeerId): string {
  return `${id} ${requester}`;
}

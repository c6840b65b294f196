import { asCcError, CcError, type Cidr, containsCidr, formatCidr, isPeerId, isVpcId, ok, type PeerId, type Result, refuse, type VpcId } from "../base/index.ts";
import { heirOf, TRANSFERS_MAX, type VpcView } from "../state/index.ts";
import { blocksRecord, signTransfer, transfersOf } from "./block-records.ts";
import { blockToGive, freeIn, type Piece, piecesOf, type TakenAddresses } from "./blocks.ts";
import { nameOfHost, type VpcParts } from "./parts.ts";

const CALL_MS = 1_000;
/** Owners asked for one container's address before it is refused. */
const OWNERS_ASKED_MAX = 8;
const FRAMES_MAX = 512;

export type ExchangeParts = VpcParts & {
  /** What must not be given away with a block, in order. */
  readonly taken: (vpc: VpcView) => TakenAddresses;
  /** Undefined: this host acts on what it knows. */
  readonly whyNot: () => CcError | undefined;
  /** Hosts that may know of blocks which this one gave away and forgot with its store. */
  readonly unheard: (vpc: VpcView) => readonly PeerId[];
};

/** How blocks of addresses go from host to host: only the owner gives, signed and fsynced before it leaves, and the receiver records it before it uses it. */
export class BlockExchange {
  readonly #parts: ExchangeParts;
  /** Blocks that are on their way out: nothing in them is given to anybody else. */
  readonly #giving = new Map<VpcId, Promise<unknown>>();
  readonly #asking = new Map<VpcId, Promise<Result<true>>>();
  readonly #leaving = new Map<VpcId, Cidr>();

  constructor(parts: ExchangeParts) {
    this.#parts = parts;
    parts.mesh.handle("giveBlock", async ({ vpc, frames }, from) => {
      if (!isVpcId(vpc)) throw new CcError("BAD_REQUEST", "a block is asked for of a VPC");
      this.#mustBeReady();
      await parts.replica.take(frames.slice(0, FRAMES_MAX), from);
      const given = await this.#inTurn(vpc, () => this.#giveNow(vpc, from));
      return { ...(given.ok ? {} : { code: given.code, reason: given.message }), frames: this.#framesOf(vpc) };
    });
    parts.mesh.handle("confirmRemoval", async ({ removed, frames }, from) => {
      this.#mustBeReady();
      await parts.replica.take(frames.slice(0, FRAMES_MAX), from);
      const stored = isPeerId(removed) && parts.view.authority().removals.has(removed);
      const own = parts.view.vpcs().flatMap((vpc) => vpc.blocks.get(parts.mesh.self)?.record.frame ?? []);
      // Fsynced: what is read here was stored before.
      return { stored, frames: stored ? own.slice(0, FRAMES_MAX) : [] };
    });
  }

  /** Blocks that this host may give out of: its own, recorded by itself. None while it may have forgotten to whom it gave them. */
  usable(vpc: VpcView): readonly Cidr[] {
    const { self } = this.#parts.mesh;
    if (this.#parts.unheard(vpc).length > 0) return [];
    const received = vpc.blocks.get(self)?.received ?? [];
    const isRecorded = (piece: Piece): boolean =>
      piece.epoch === 0 || received.some(({ epoch, block }) => epoch === piece.epoch && containsCidr(block, piece.block));
    return piecesOf(vpc).flatMap((piece) => (piece.owner === self && isRecorded(piece) ? [piece.block] : []));
  }

  /** The block that is being given away at this moment. */
  leaving(vpc: VpcId): Cidr | undefined {
    return this.#leaving.get(vpc);
  }

  /** Gets addresses from whoever has some; of several that ask for one VPC at once one asks for all. */
  obtain(vpc: VpcId, signal: AbortSignal | undefined): Promise<Result<true>> {
    const underway = this.#asking.get(vpc) ?? this.#obtain(vpc, signal).finally(() => this.#asking.delete(vpc));
    this.#asking.set(vpc, underway);
    return underway;
  }

  /** Owners that may have addresses to give, by what is known here, the one with the most first. */
  owners(vpc: VpcView): readonly { readonly peer: PeerId; readonly free: bigint }[] {
    const { mesh, taken } = this.#parts;
    const known = taken(vpc);
    const free = new Map<PeerId, bigint>();
    for (const { owner, block } of piecesOf(vpc)) if (owner !== mesh.self) free.set(owner, (free.get(owner) ?? 0n) + freeIn(block, known));
    return [...free]
      .flatMap(([peer, count]) => (count > 0n ? [{ peer, free: count }] : []))
      .sort((a, b) => (a.free === b.free ? (a.peer < b.peer ? -1 : 1) : a.free > b.free ? -1 : 1));
  }

  /** Writes to its own name what was given to this host: only then it is used. */
  async accept(vpc: VpcView): Promise<void> {
    const { mesh, replica, view } = this.#parts;
    const recorded = new Set(vpc.blocks.get(mesh.self)?.received.map(({ signed }) => keyOf(signed.signed)));
    const removals = view.authority().removals;
    const missing = vpc.transfers.filter(({ to, from, inherited, signed }) => {
      // Of a removed host only what was recorded before counts: its heir has been told so.
      return to === mesh.self && !recorded.has(keyOf(signed.signed)) && (inherited || !removals.has(from));
    });
    const room = TRANSFERS_MAX - transfersOf(vpc, mesh.self);
    const draft = blocksRecord(replica, vpc, { received: missing.slice(0, room).map(({ signed }) => signed) });
    if (draft !== undefined) await replica.write([draft], { isClaim: true });
  }

  /** What removed hosts left to this one, once every other host of the zone has stored the removal and shown its own blocks. */
  async inherit(vpc: VpcView): Promise<void> {
    const { mesh, view, replica, signer, clock, log } = this.#parts;
    const removals = view.authority().removals;
    for (const removed of new Set(piecesOf(vpc).map(({ owner }) => owner))) {
      if (!removals.has(removed) || heirOf(removed, removals) !== mesh.self) continue;
      if (!(await this.#isKnownToAll(vpc, removed))) continue;
      const known = view.vpc(vpc.id);
      if (known === undefined) continue;
      const left = piecesOf(withoutUnrecorded(known, removed, view)).filter(({ owner }) => owner === removed);
      const room = TRANSFERS_MAX - transfersOf(known, mesh.self);
      const received = left.slice(0, room).map((piece) => signTransfer(vpc.id, piece, mesh.self, true, signer, clock.nowMs()));
      const draft = blocksRecord(replica, known, { received });
      if (draft === undefined) continue;
      await replica.write([draft], { isClaim: true });
      log.info({ vpc: vpc.id, from: removed, blocks: received.length }, "inherited the blocks of a removed host");
    }
  }

  async #isKnownToAll(vpc: VpcView, removed: PeerId): Promise<boolean> {
    const { mesh, view, replica, log } = this.#parts;
    const removal = replica.list(`admin/-/removal/${removed}`).map(({ frame }) => frame);
    const others = view.members().filter(({ peer, zone }) => peer !== mesh.self && (zone === vpc.zone || vpc.blocks.has(peer)));
    const confirmed = await Promise.all(
      others.map(async ({ peer }) => {
        try {
          const reply = await mesh.call(peer, "confirmRemoval", { removed, frames: removal }, { timeoutMs: CALL_MS });
          if (!reply.stored) return false;
          await replica.take(reply.frames.slice(0, FRAMES_MAX), peer);
          return true;
        } catch (thrown) {
          log.debug({ peer, removed, code: asCcError(thrown).code }, "a host has not confirmed a removal; its blocks wait");
          return false;
        }
      }),
    );
    // Who has joined meanwhile learned of the removal with its certificate.
    return confirmed.every(Boolean);
  }

  async #obtain(id: VpcId, signal: AbortSignal | undefined): Promise<Result<true>> {
    const { mesh, view, replica, liveness, log } = this.#parts;
    const vpc = view.vpc(id);
    if (vpc === undefined) return refuse("NOT_FOUND", `there is no VPC ${id}`);
    if (transfersOf(vpc, mesh.self) >= TRANSFERS_MAX)
      return refuse("LIMIT", `this host has taken and given ${TRANSFERS_MAX} blocks of VPC ${vpc.name}, the most there may be; make a larger VPC`);
    const reachable = new Set(liveness.reachable());
    const asked = this.owners(vpc).filter(({ peer }) => reachable.has(peer));
    for (const { peer } of asked.slice(0, OWNERS_ASKED_MAX)) {
      signal?.throwIfAborted();
      try {
        const reply = await mesh.call(peer, "giveBlock", { vpc: id, frames: this.#framesOf(id) }, { timeoutMs: CALL_MS, ...(signal && { signal }) });
        await replica.take(reply.frames.slice(0, FRAMES_MAX), peer);
        const known = view.vpc(id);
        if (known !== undefined) await this.accept(known);
        if (reply.code === "") return ok(true);
        log.debug({ vpc: id, owner: peer, code: reply.code, reason: reply.reason }, "an owner gave no addresses");
      } catch (thrown) {
        log.debug({ vpc: id, owner: peer, code: asCcError(thrown).code }, "an owner of addresses did not answer");
      }
    }
    return refuse("NO_ROOM", this.whyFull(vpc));
  }

  /** Why this host has no address to give, and whose there would be. */
  whyFull(vpc: VpcView): string {
    const { view, liveness, unheard } = this.#parts;
    const silent = unheard(vpc).map((peer) => nameOfHost(view, peer));
    if (silent.length > 0)
      return `this host lost its records and gives no address of VPC ${vpc.name} until it has heard all hosts that may know of them; missing: ${silent.slice(0, 3).join(", ")}`;
    const owners = this.owners(vpc);
    if (owners.length === 0) return `all addresses of VPC ${vpc.name} are taken; remove containers, or make a larger VPC`;
    const reachable = new Set(liveness.reachable());
    const cut = owners.filter(({ peer }) => !reachable.has(peer));
    const words = (cut.length > 0 ? cut : owners).slice(0, 3).map(({ peer, free }) => `${free} with ${nameOfHost(view, peer)}`);
    const why = cut.length > 0 ? "which cannot be reached" : "which did not give any";
    return `this host has no free address of VPC ${vpc.name} left; there are ${words.join(", ")}, ${why}`;
  }

  /** Everything that this host owns of a VPC: for the first host of a zone that it is not in itself. */
  async giveAll(id: VpcId, to: PeerId): Promise<void> {
    await this.#inTurn(id, async () => {
      const { mesh, view, replica, signer, clock, log } = this.#parts;
      const vpc = view.vpc(id);
      const pieces = vpc === undefined ? [] : piecesOf(vpc).filter(({ owner }) => owner === mesh.self);
      if (vpc === undefined || pieces.length === 0) return;
      const given = pieces.slice(0, TRANSFERS_MAX - transfersOf(vpc, mesh.self)).map((piece) => signTransfer(id, piece, to, false, signer, clock.nowMs()));
      const draft = blocksRecord(replica, vpc, { given });
      if (draft !== undefined) await replica.write([draft], { isClaim: true });
      log.info({ vpc: id, to, blocks: given.length }, "addresses of a zone's default VPC given to its first host");
    });
  }

  /** One after another, however many wait: each is behind the last that came, not behind the one that is at work. */
  #inTurn<T>(id: VpcId, give: () => Promise<T>): Promise<T> {
    const before = this.#giving.get(id) ?? Promise.resolve();
    const giving = before
      .catch(() => undefined) // Told to whoever asked for it.
      .then(give)
      .finally(() => {
        this.#leaving.delete(id);
        if (this.#giving.get(id) === giving) this.#giving.delete(id);
      });
    this.#giving.set(id, giving);
    return giving;
  }

  async #giveNow(id: VpcId, to: PeerId): Promise<Result<true>> {
    const { mesh, view, replica, signer, clock, log } = this.#parts;
    const vpc = view.vpc(id);
    const receiver = view.member(to);
    if (vpc === undefined) return refuse("NOT_FOUND", `there is no VPC ${id}`);
    if (vpc.gone) return refuse("NOT_FOUND", `VPC ${vpc.name} was deleted`);
    if (receiver === undefined || receiver.zone !== vpc.zone) return refuse("WRONG_PEER", `addresses of a VPC are for hosts of its zone, ${vpc.zone}`);
    if (transfersOf(vpc, mesh.self) >= TRANSFERS_MAX) return refuse("LIMIT", "this host has given and taken as many blocks of this VPC as there may be");
    const own = new Set(this.usable(vpc));
    const piece = blockToGive(
      piecesOf(vpc).filter(({ block }) => own.has(block)),
      mesh.self,
      this.#parts.taken(vpc),
    );
    if (piece === undefined) return refuse("NO_ROOM", `all that ${nameOfHost(view, mesh.self)} owns of VPC ${vpc.name} is taken`);
    this.#leaving.set(id, piece.block);
    const draft = blocksRecord(replica, vpc, { given: [signTransfer(id, piece, to, false, signer, clock.nowMs())] });
    // On this disk before anybody hears of it: a giver that forgot it would give it to another, too.
    if (draft !== undefined) await replica.write([draft], { copies: 1, isClaim: true });
    log.info({ vpc: id, to, block: formatCidr(piece.block), epoch: piece.epoch + 1 }, "block of addresses given on");
    return ok(true);
  }

  #framesOf(vpc: VpcId) {
    return this.#parts.view
      .recordsOf([vpc])
      .slice(0, FRAMES_MAX)
      .map(({ frame }) => frame);
  }

  #mustBeReady(): void {
    const why = this.#parts.whyNot();
    if (why !== undefined) throw why;
  }
}

const keyOf = (signed: Uint8Array): string => Buffer.from(signed).toString("base64");

/** The VPC without what a removed host gave to members that have not recorded it, and never will. */
function withoutUnrecorded(vpc: VpcView, removed: PeerId, view: Pick<VpcParts["view"], "member">): VpcView {
  const isRecordedByReceiver = (to: PeerId, signed: Uint8Array): boolean =>
    vpc.blocks.get(to)?.received.some((transfer) => keyOf(transfer.signed.signed) === keyOf(signed)) === true;
  const transfers = vpc.transfers.filter(
    ({ from, to, inherited, signed }) => from !== removed || inherited || view.member(to) === undefined || isRecordedByReceiver(to, signed.signed),
  );
  return { ...vpc, transfers };
}

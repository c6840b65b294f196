import {
  asCcError,
  CcError,
  type Cidr,
  type ContainerId,
  containsIp,
  formatIp,
  type Ip,
  ok,
  type PeerId,
  type Result,
  refuse,
  sleep,
  type VpcId,
} from "../base/index.ts";
import { DEFAULT_VPC_NAME, type VpcView } from "../state/index.ts";
import { BlockExchange } from "./block-exchange.ts";
import { lowestFree, piecesOf, type TakenAddresses } from "./blocks.ts";
import { isInUse, placeOf } from "./membership.ts";
import type { VpcParts } from "./parts.ts";
import { TakenBook } from "./taken-addresses.ts";

/** Between the two steps of a delete: who said that nobody here uses the VPC attaches nothing to it. */
const HOLD_MS = 10_000;
/** Changes are told as they come; the loop is for what a missed one left, and for removals that wait for others. */
const RECONCILE_EVERY_MS = 5_000;

/** A newcomer asks for its share where an owner has so many free addresses: of a small VPC it asks only when it needs one. */
const SHARED_FREE_MIN = 16n;

type Hold = { readonly by: string; readonly untilMs: number };

/**
 * This host's part in the addresses of VPCs: it gives them to containers out of blocks that it owns, gives parts of these to
 * hosts that ask, asks where it has none, inherits, and says whether a VPC is in use. Attach, giving and delete meet here: each
 * decides and marks in one synchronous step.
 */
export class VpcAddresses {
  readonly #parts: VpcParts;
  readonly #exchange: BlockExchange;
  readonly #book: TakenBook;
  readonly #reserved = new Map<ContainerId, { readonly vpc: VpcId; readonly address: Ip }>();
  readonly #holds = new Map<VpcId, Hold>();
  #ring = (): void => undefined;
  #running: AbortController | undefined;

  constructor(parts: VpcParts) {
    this.#parts = parts;
    this.#book = new TakenBook(parts);
    this.#exchange = new BlockExchange({
      ...parts,
      taken: (vpc) => this.#taken(vpc),
      unheard: ({ zone }) => this.#unheard(zone),
      whyNot: () => (this.#running === undefined ? new CcError("STARTING", "this host is not ready yet; try again in a moment") : undefined),
    });
    parts.replica.onChange((changed) => {
      if (changed.some(({ key }) => key.startsWith("admin/") || key.includes("/vpc/") || key.includes("/blocks/"))) this.#ring();
    });
  }

  /** To be called when the replica is ready: a host acts on nothing before it has synced. */
  start(): void {
    if (this.#running !== undefined) return;
    this.#running = new AbortController();
    void this.#reconcile(this.#running.signal);
  }

  stop(): void {
    this.#running?.abort(new CcError("CANCELLED", "this host's addresses are no longer looked after"));
    this.#running = undefined;
    this.#book.close();
  }

  room(asked: VpcId | undefined): Result<{ readonly isForeign: boolean }> {
    const found = this.#attachable(asked);
    if (!found.ok) return found;
    const vpc = found.value;
    if (this.#next(vpc) !== undefined) return ok({ isForeign: false });
    const reachable = new Set(this.#parts.liveness.reachable());
    if (this.#exchange.owners(vpc).some(({ peer }) => reachable.has(peer))) return ok({ isForeign: true });
    return refuse("NO_ROOM", this.#exchange.whyFull(vpc));
  }

  async bind(id: ContainerId, asked: VpcId | undefined, signal: AbortSignal | undefined): Promise<Result<{ vpc: string; address: string }>> {
    for (let isLast = false; ; isLast = true) {
      const found = this.#attachable(asked);
      if (!found.ok) return found;
      const vpc = found.value;
      const address = this.#next(vpc);
      if (address !== undefined) {
        this.#reserved.set(id, { vpc: vpc.id, address });
        return ok({ vpc: vpc.id, address: formatIp(address) });
      }
      if (isLast) return refuse("NO_ROOM", this.#exchange.whyFull(vpc));
      const obtained = await this.#exchange.obtain(vpc.id, signal);
      if (!obtained.ok) return obtained;
    }
  }

  settle(id: ContainerId): void {
    this.#reserved.delete(id);
  }

  /** Whether an ended container may be started again: its VPC must be there still. */
  mayAttach(id: ContainerId): Result<true> {
    const container = this.#parts.view.container(id);
    const place = container === undefined ? undefined : placeOf(container);
    if (container === undefined || place === undefined || isInUse(container)) return ok(true);
    const vpc = this.#attachable(place.vpc);
    return vpc.ok ? ok(true) : vpc;
  }

  /** Containers that use it, by what is known here: with a process, on their way to one, or being claimed here. */
  usersOf(id: VpcId): readonly string[] {
    const { view } = this.#parts;
    const running = this.#book
      .members(id)
      .filter(({ isOver }) => !isOver)
      .flatMap(({ container }) => {
        const known = view.container(container);
        return known !== undefined && isInUse(known) ? [known.name || known.id] : [];
      });
    const claimed = [...this.#reserved].flatMap(([container, { vpc }]) => (vpc === id ? [container] : []));
    return [...new Set([...running, ...claimed])];
  }

  /** First step of a delete: with no user here, nobody is attached here for 10 s. */
  hold(id: VpcId, by: string): Result<true> {
    if (this.#running === undefined) return refuse("STARTING", "this host is not ready yet; try again in a moment");
    const held = this.#holdOf(id);
    if (held !== undefined && held.by !== by) return refuse("CONFLICT", `VPC ${id} is being deleted by another request`);
    const users = this.usersOf(id);
    const name = this.#parts.view.vpc(id)?.name ?? id;
    if (users.length > 0) return refuse("IN_USE", `VPC ${name} is in use by ${shown(users)}; stop or remove them first`);
    this.#holds.set(id, { by, untilMs: this.#parts.clock.monotonicMs() + HOLD_MS });
    return ok(true);
  }

  release(id: VpcId, by: string): void {
    if (this.#holds.get(id)?.by === by) this.#holds.delete(id);
  }

  /** What this host may give addresses out of. */
  blocks(vpc: VpcView): readonly Cidr[] {
    return this.#exchange.usable(vpc);
  }

  /** Addresses that containers have, and those that each block still has, as far as known here. */
  taken(vpc: VpcView): TakenAddresses {
    return this.#taken(vpc);
  }

  /** All that this host, of another zone, owns in VPCs of a zone without hosts is its first host's. Nothing where there is none. */
  async handAll(to: PeerId, zone: string): Promise<void> {
    const { view, replica } = this.#parts;
    if (zone === replica.zone) return;
    for (const vpc of view.vpcs()) if (vpc.zone === zone && !vpc.gone) await this.#exchange.giveAll(vpc.id, to);
  }

  /** The zone's default VPC: the oldest of that name. */
  defaultOf(zone: string): VpcView | undefined {
    const { view } = this.#parts;
    return view
      .vpcsByName(DEFAULT_VPC_NAME)
      .flatMap((id) => view.vpc(id) ?? [])
      .find((vpc) => vpc.zone === zone);
  }

  #attachable(asked: VpcId | undefined): Result<VpcView> {
    const { view, replica } = this.#parts;
    const vpc = asked === undefined ? this.defaultOf(replica.zone) : view.vpc(asked);
    if (vpc === undefined) {
      if (asked !== undefined) return refuse("NOT_FOUND", `there is no VPC ${asked}; cc vpc list shows them`);
      return refuse("NOT_FOUND", `zone ${replica.zone} has no default VPC: name one with --vpc, or make one with cc vpc create --name ${DEFAULT_VPC_NAME}`);
    }
    if (vpc.gone) return refuse("NOT_FOUND", `VPC ${vpc.name} was deleted`);
    if (vpc.zone !== replica.zone) return refuse("NO_ROOM", `VPC ${vpc.name} is in zone ${vpc.zone}, this host is in ${replica.zone}`);
    return this.#holdOf(vpc.id) === undefined ? ok(vpc) : refuse("CONFLICT", `VPC ${vpc.name} is being deleted`);
  }

  #next(vpc: VpcView): Ip | undefined {
    const leaving = this.#exchange.leaving(vpc.id);
    const blocks = this.#exchange.usable(vpc);
    const taken = this.#taken(vpc);
    const found = lowestFree(blocks, taken);
    if (found === undefined || leaving === undefined || !containsIp(leaving, found)) return found;
    // The rest of the block is looked at once the part that leaves is another's.
    return lowestFree(
      blocks.filter((block) => !containsIp(block, leaving.base)),
      taken,
    );
  }

  #taken(vpc: VpcView): TakenAddresses {
    const reserved = [...this.#reserved.values()].flatMap((one) => (one.vpc === vpc.id ? [one.address] : []));
    return this.#book.taken(vpc, reserved);
  }

  #holdOf(id: VpcId): Hold | undefined {
    const held = this.#holds.get(id);
    if (held === undefined || held.untilMs > this.#parts.clock.monotonicMs()) return held;
    this.#holds.delete(id);
    return undefined;
  }

  async #reconcile(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    while (!signal.aborted) {
      const rung = new Promise<void>((resolve) => {
        this.#ring = resolve;
      });
      try {
        await this.#converge(signal);
      } catch (thrown) {
        if (!signal.aborted) log.error({ err: asCcError(thrown) }, "addresses of VPCs could not be looked after; trying again");
      }
      const waited = new AbortController();
      const paused = sleep(clock, RECONCILE_EVERY_MS, AbortSignal.any([signal, waited.signal]));
      await Promise.race([rung, paused.catch(() => undefined)]); // Aborted: the loop ends.
      waited.abort(); // Rung: no timer is left behind.
    }
  }

  /** Level-triggered: what was given here is recorded, what removed hosts left is taken over, and a share is asked for where there is none. */
  async #converge(signal: AbortSignal): Promise<void> {
    const { view, replica, log } = this.#parts;
    if (replica.loss.isOpen && this.#unheard(undefined).length === 0) await replica.loss.end();
    for (const { id } of view.vpcs()) {
      signal.throwIfAborted();
      const vpc = view.vpc(id);
      if (vpc === undefined || vpc.gone) continue;
      await this.#exchange.accept(vpc);
      await this.#exchange.inherit(vpc);
      if (vpc.zone !== replica.zone || this.#hasPart(vpc) || (this.#exchange.owners(vpc)[0]?.free ?? 0n) < SHARED_FREE_MIN) continue;
      const obtained = await this.#exchange.obtain(id, signal);
      if (!obtained.ok) log.debug({ vpc: id, code: obtained.code, reason: obtained.message }, "no share of a VPC's addresses yet");
    }
  }

  /** Of a zone, or of all: those that have shown nothing since this host lost its records. Nobody, when it never lost any. */
  #unheard(zone: string | undefined): readonly PeerId[] {
    const { view, replica, mesh } = this.#parts;
    if (!replica.loss.isOpen) return [];
    return view.members().flatMap((host) => {
      const isOther = host.peer !== mesh.self && (zone === undefined || host.zone === zone);
      return isOther && replica.syncedAtMs(host.peer) === undefined ? [host.peer] : [];
    });
  }

  /** Whether this host owns some of it, or did once: then it asks again only when it needs addresses. */
  #hasPart(vpc: VpcView): boolean {
    const { self } = this.#parts.mesh;
    return vpc.blocks.has(self) || piecesOf(vpc).some(({ owner }) => owner === self);
  }
}

function shown(users: readonly string[]): string {
  const SHOWN_MAX = 3;
  return users.slice(0, SHOWN_MAX).join(", ") + (users.length > SHOWN_MAX ? ` and ${users.length - SHOWN_MAX} more` : "");
}

import { type Cidr, type Ip, isVpcId, type VpcId } from "../../../base/index.ts";
import { EMPTY_SIDE, type SideModel, type VpcModel } from "../../overlay-model.ts";
import { transitName } from "../../overlay-names.ts";
import { absentVpc, type OverlaySeen, seenTransit, takenTransits } from "../../overlay-seen.ts";

/** What the kernel held when it was looked at or changed last. A VPC that is here and unknown is looked at before anything is done to it. */
export class OverlayMemory {
  readonly #range: Cidr;
  readonly #known = new Map<VpcId, VpcModel>();
  /** Of all that are here, also while one is unknown. */
  readonly #transits = new Map<VpcId, Ip>();
  /** The longest ago first. */
  readonly #looked = new Set<VpcId>();
  #host: SideModel = EMPTY_SIDE;

  constructor(range: Cidr) {
    this.#range = range;
  }

  get host(): SideModel {
    return this.#host;
  }

  get transits(): ReadonlyMap<VpcId, Ip> {
    return this.#transits;
  }

  get all(): ReadonlyMap<VpcId, VpcModel> {
    return this.#known;
  }

  has(vpc: VpcId): boolean {
    return this.#known.has(vpc);
  }

  /** Undefined: unknown. */
  of(vpc: VpcId): VpcModel | undefined {
    return this.#known.get(vpc);
  }

  /** The transits that have an address. */
  takenTransits(): Map<string, string> {
    return takenTransits([this.#host, ...[...this.#known.values()].map(({ outside }) => outside)]);
  }

  /** The host's own namespace; of VPCs, whose ends are there, that they are here. */
  sawHost(host: SideModel): void {
    this.#host = host;
    for (const [name, { alias }] of host.links) {
      if (!isVpcId(alias) || transitName(alias) !== name || this.#transits.has(alias)) continue;
      const transit = seenTransit(this.#range, absentVpc(alias, host));
      if (transit !== undefined) this.#transits.set(alias, transit);
    }
  }

  saw(vpcs: readonly VpcId[], seen: OverlaySeen): void {
    this.sawHost(seen.host);
    for (const vpc of vpcs) {
      this.#looked.delete(vpc);
      this.#looked.add(vpc);
      const model = seen.vpcs.get(vpc);
      if (model === undefined) this.forget(vpc);
      else this.remember(vpc, model);
    }
  }

  remember(vpc: VpcId, model: VpcModel): void {
    this.#known.set(vpc, model);
    const transit = seenTransit(this.#range, model);
    if (transit !== undefined) this.#transits.set(vpc, transit);
  }

  /** It is here, and nobody knows how. */
  forget(vpc: VpcId): void {
    this.#known.delete(vpc);
  }

  /** It is not here any more. */
  gone(vpc: VpcId): void {
    this.#known.delete(vpc);
    this.#transits.delete(vpc);
    this.#looked.delete(vpc);
    const name = transitName(vpc);
    const without = <T>(map: ReadonlyMap<string, T>) => new Map([...map].filter(([device]) => device !== name));
    this.#host = { ...this.#host, links: without(this.#host.links), addresses: without(this.#host.addresses) };
  }

  longestUnseen(vpcs: readonly VpcId[]): readonly VpcId[] {
    const order = new Map([...this.#looked].map((vpc, at) => [vpc, at]));
    return vpcs.toSorted((a, b) => (order.get(a) ?? -1) - (order.get(b) ?? -1));
  }
}

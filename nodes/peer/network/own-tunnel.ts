import { asCcError, type Logger, type PeerId } from "../../../src/base/index.ts";
import {
  type Encryption,
  isWideEnough,
  mtuBesideTunnel,
  type OwnUnderlay,
  type TunnelDriver,
  type TunnelSide,
  tunnelAddress,
  tunnelMtu,
} from "../../../src/vpc/index.ts";
import { MTU_DEFAULT, type Planned } from "./plan.ts";

export type OwnTunnelParts = {
  /** Undefined: this host cannot have one. */
  readonly driver: TunnelDriver | undefined;
  readonly encryption: Encryption;
  readonly port: number;
  readonly log: Logger;
};

/** This host's end of the encrypted tunnel to the others, as its configuration, its kernel and its underlay let it be. */
export class OwnTunnel {
  readonly #parts: OwnTunnelParts;
  #cutOff = "";

  constructor(parts: OwnTunnelParts) {
    this.#parts = parts;
  }

  /** What others are told of it. */
  side(underlay: OwnUnderlay | undefined): TunnelSide {
    const { driver, encryption, port } = this.#parts;
    const isOn = driver !== undefined && encryption !== "off" && isWideEnough(underlay?.mtu ?? MTU_DEFAULT);
    return { end: isOn ? { publicKey: driver.publicKey, port } : undefined, isRequired: encryption === "required" };
  }

  /** What others are told of the underlay beside it. */
  beside(underlay: OwnUnderlay | undefined): OwnUnderlay | undefined {
    return underlay === undefined || this.side(underlay).end === undefined ? underlay : { ...underlay, mtu: mtuBesideTunnel(underlay.mtu) };
  }

  /**
   * Before the VPCs' devices, which send through it. It is there while a VPC is; `isLook`: by what the kernel holds. What fails is tried again by the next
   * call; until then nothing that belongs into it leaves in the clear.
   */
  async hold(self: PeerId, underlay: OwnUnderlay | undefined, planned: Planned, isLook: boolean): Promise<void> {
    const { driver, log } = this.#parts;
    this.#tellCutOff(planned.cutOff);
    if (driver === undefined) return;
    const { end } = this.side(underlay);
    const mtu = tunnelMtu(underlay?.mtu ?? MTU_DEFAULT);
    const isNeeded = end !== undefined && planned.network.vpcs.length > 0;
    const wanted = isNeeded ? { address: tunnelAddress(self), mtu, port: end.port, peers: planned.tunnelPeers } : undefined;
    try {
      const isChanged = isLook ? await driver.converge(wanted) : await driver.follow(wanted);
      if (isChanged) log.debug({ peers: wanted?.peers.length ?? 0 }, "the encrypted tunnel to other hosts is set");
    } catch (thrown) {
      log.error({ err: asCcError(thrown) }, "the encrypted tunnel to other hosts could not be put right; trying again");
    }
  }

  #tellCutOff(hosts: readonly string[]): void {
    const names = hosts.join(", ");
    if (names !== this.#cutOff && names !== "")
      this.#parts.log.warn(
        { hosts: names },
        "encryption is required, and not to be had with these hosts: their containers and this host's do not reach each other",
      );
    this.#cutOff = names;
  }
}

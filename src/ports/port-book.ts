import { type ContainerId, containsIp, formatIp, ok, type PeerId, parseIp, type Random, type Result } from "../base/index.ts";
import type { ContainerView, CountedClaim, View } from "../state/index.ts";
import { TRANSIT_CIDR } from "../vpc/index.ts";
import { type BoundPort, bindHostPorts, type HostPort, type TakenPort } from "./host-ports.ts";
import { type PortProtocol, parsePublishedPorts } from "./published-port.ts";

/** A published port as it stands: whose, where, and to where. */
export type StandingPort = BoundPort & { readonly container: ContainerView; readonly holder: PeerId; readonly everywhere: boolean };

export type PortBookParts = {
  readonly self: PeerId;
  readonly zone: string;
  readonly view: Pick<View, "containers" | "member">;
  readonly random: Random;
  /** Ports of the host that programs of its own listen on, the peer's among them. */
  readonly listening: () => readonly HostPort[];
};

/** What a claim says of the ports that its container has on its host, or on every host of the zone. */
function claimedPorts(claim: CountedClaim): readonly BoundPort[] {
  return (claim.claim.network?.ports ?? []).flatMap(({ hostAddress, hostPort, port, protocol }) => {
    const address = hostAddress === "" ? undefined : parseIp(hostAddress);
    if ((hostAddress !== "" && address === undefined) || !isProtocol(protocol) || hostPort < 1 || hostPort > 65_535 || port < 1 || port > 65_535) return [];
    return [{ hostAddress: address, hostPort, containerPort: port, protocol }];
  });
}

const isProtocol = (text: string): text is PortProtocol => text === "tcp" || text === "udp";

/** Published ports of living containers, ended ones too: they keep their ports as they keep their addresses. */
export function standingPorts(containers: readonly ContainerView[]): readonly StandingPort[] {
  return containers.flatMap((container) => {
    const { best } = container;
    const claim = container.gone ? undefined : container.claims.find(({ holder, epoch }) => holder === best?.holder && epoch === best.epoch);
    if (claim === undefined || claim.past) return [];
    return claimedPorts(claim).map((port) => ({ ...port, container, holder: claim.holder, everywhere: container.spec.publishEverywhere }));
  });
}

/** Which ports of this host are whose, and those of containers that are being claimed at this moment. */
export class PortBook {
  readonly #parts: PortBookParts;
  readonly #reserved = new Map<ContainerId, readonly BoundPort[]>();

  constructor(parts: PortBookParts) {
    this.#parts = parts;
  }

  /** The ports that a container would have here; refused with whoever has one of them. */
  bind(texts: readonly string[], everywhere: boolean): Result<readonly BoundPort[]> {
    if (texts.length === 0) return ok([]);
    const parsed = parsePublishedPorts(texts);
    return parsed.ok ? bindHostPorts(parsed.value, this.#taken(everywhere), this.#parts.random) : parsed;
  }

  reserve(id: ContainerId, ports: readonly BoundPort[]): void {
    if (ports.length > 0) this.#reserved.set(id, ports);
  }

  settle(id: ContainerId): void {
    this.#reserved.delete(id);
  }

  #whose({ container, holder, everywhere }: StandingPort): string {
    const { self, view } = this.#parts;
    const place = everywhere ? ", which is published on every host of the zone" : holder === self ? "" : ` on host ${view.member(holder)?.name || holder}`;
    return `container ${container.name || container.id}${place}`;
  }

  /** `everywhere`: what any host of the zone has is in the way. This host's name server is not: it answers VPCs alone, at its own address. */
  #taken(everywhere: boolean): readonly TakenPort[] {
    const { self, zone, view, listening } = this.#parts;
    const standing = standingPorts(view.containers()).filter(
      (port) => port.holder === self || ((port.everywhere || everywhere) && view.member(port.holder)?.zone === zone),
    );
    return [
      ...standing.map((port) => ({ ...port, by: this.#whose(port) })),
      ...[...this.#reserved].flatMap(([id, ports]) => ports.map((port) => ({ ...port, by: `container ${id}` }))),
      ...listening()
        .filter(({ hostAddress }) => hostAddress === undefined || !containsIp(TRANSIT_CIDR, hostAddress))
        .map((port) => ({ ...port, by: `a program of the host${port.hostAddress === undefined ? "" : ` (at ${formatIp(port.hostAddress)})`}` })),
    ];
  }
}

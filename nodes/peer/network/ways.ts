import type { HostFacts } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { type Ip, type PeerId, parseIp } from "../../../src/base/index.ts";
import type { Member } from "../../../src/state/index.ts";
import { encryptionOf, isTunnelKey, type TunnelSide, type TunnelWay, tunnelAddress, wayBetween } from "../../../src/vpc/index.ts";

/** How another host of the zone is reached. */
export type WayTo = {
  readonly peer: PeerId;
  readonly underlay: Ip;
  readonly way: TunnelWay;
  /** What VPCs' packets to it are addressed to; undefined: none go to it. */
  readonly host: Ip | undefined;
  readonly side: TunnelSide;
};

/** What a host says of its end of the tunnel. */
export function sideOf({
  wireguardKey,
  wireguardPort,
  encryptionRequired,
}: Pick<HostFacts, "wireguardKey" | "wireguardPort" | "encryptionRequired">): TunnelSide {
  const isUsable = isTunnelKey(wireguardKey) && wireguardPort > 0 && wireguardPort < 65_536;
  return { end: isUsable ? { publicKey: wireguardKey, port: wireguardPort } : undefined, isRequired: encryptionRequired };
}

/** Undefined: it has not said yet where it is. */
export function underlayOf(member: Pick<Member, "facts"> | undefined): Ip | undefined {
  const text = member?.facts?.underlay ?? "";
  return text === "" ? undefined : parseIp(text);
}

/** From this host, which has the end `own`. */
export function wayTo(own: TunnelSide, { peer, facts }: Pick<Member, "peer" | "facts">): WayTo | undefined {
  const underlay = underlayOf({ facts });
  if (facts === undefined || underlay === undefined) return undefined;
  const side = sideOf(facts);
  const way = wayBetween(own, side);
  return { peer, underlay, way, host: way === "none" ? undefined : way === "tunnel" ? tunnelAddress(peer) : underlay, side };
}

/** Of every host, whether what its containers and those of its zone's other hosts say to each other is encrypted. */
export function encryptionByHost(members: readonly Pick<Member, "peer" | "zone" | "facts">[]): ReadonlyMap<PeerId, ReturnType<typeof encryptionOf>> {
  const known = members.flatMap(({ peer, zone, facts }) => (facts === undefined ? [] : [{ peer, zone, side: sideOf(facts) }]));
  const result = new Map<PeerId, ReturnType<typeof encryptionOf>>();
  for (const hosts of Map.groupBy(known, ({ zone }) => zone).values()) {
    // Hosts are alike but for two bits, so a zone of a thousand is not a million pairs.
    const kinds = Map.groupBy(hosts, ({ side }) => `${side.end !== undefined} ${side.isRequired}`);
    for (const [kind, alike] of kinds) {
      const ways = [...kinds].flatMap(([other, [one]]) => {
        const [self] = alike;
        return self === undefined || one === undefined || (other === kind && alike.length === 1) ? [] : [wayBetween(self.side, one.side)];
      });
      for (const { peer } of alike) result.set(peer, encryptionOf(new Set(ways)));
    }
  }
  return result;
}

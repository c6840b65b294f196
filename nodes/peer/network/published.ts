import { type Ip, isSameIp, type PeerId, type VpcId } from "../../../src/base/index.ts";
import type { ElsewherePort } from "../../../src/firewall/index.ts";
import { findCollision, type HostPort, type StandingPort, standingPorts } from "../../../src/ports/index.ts";
import type { ActiveMember, Membership } from "../../../src/vpc/index.ts";

export type PlacedPort = StandingPort & { readonly place: Membership };

/** Published ports of the mesh's containers, as this host sees them. */
export type PublishedPorts = {
  /** On this host: by its own containers, and by others on every host of the zone. */
  readonly here: readonly PlacedPort[];
  /** Would be here for containers of other hosts, but a program of this host has the port: that was here first, and keeps it. */
  readonly left: readonly PlacedPort[];
  readonly elsewhere: readonly ElsewherePort[];
};

export type PublishedParts = {
  readonly self: PeerId;
  /** Ports that programs of this host listen on, looked up at this moment. */
  readonly listening: () => readonly HostPort[];
  readonly underlayOf: (peer: PeerId) => Ip | undefined;
  /** The other hosts of this one's zone. */
  readonly neighbours: readonly PeerId[];
};

/** Of containers with a process, or on their way to one. */
export function publishedPorts(members: ReadonlyMap<VpcId, readonly ActiveMember[]>, parts: PublishedParts): PublishedPorts {
  const { self, neighbours } = parts;
  const active = [...members.values()].flat();
  const places = new Map(active.map(({ container, place }) => [container.id, place]));
  const placed = standingPorts(active.map(({ container }) => container)).flatMap((port): PlacedPort[] => {
    const place = places.get(port.container.id);
    return place === undefined ? [] : [{ ...port, place }];
  });
  const near = new Set([self, ...neighbours]);
  const own = placed.filter(({ holder }) => holder === self);
  const passed = placed.filter(({ holder, everywhere }) => holder !== self && everywhere && near.has(holder));
  const taken = passed.length === 0 ? [] : parts.listening();
  const left = new Set(passed.filter((port) => findCollision(port, taken) !== undefined));
  return { here: [...own, ...passed.filter((port) => !left.has(port))], left: [...left], elsewhere: portsElsewhere(placed, near, parts) };
}

function portsElsewhere(placed: readonly PlacedPort[], near: ReadonlySet<PeerId>, { self, neighbours, underlayOf }: PublishedParts): ElsewherePort[] {
  return placed.flatMap(({ holder, everywhere, hostAddress, protocol, hostPort }) => {
    const peers = everywhere && near.has(holder) ? neighbours : [holder];
    return peers.flatMap((peer): ElsewherePort[] => {
      const host = peer === self ? undefined : underlayOf(peer);
      return host === undefined || (hostAddress !== undefined && !isSameIp(hostAddress, host)) ? [] : [{ host, protocol, hostPort }];
    });
  });
}

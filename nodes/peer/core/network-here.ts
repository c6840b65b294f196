import { formatIp, ok } from "../../../src/base/index.ts";
import type { NetworkHere } from "../../../src/placement/index.ts";
import type { PortBook } from "../../../src/ports/index.ts";
import type { VpcAddresses } from "../../../src/vpc/index.ts";

/** Addresses and published ports as placement asks for them: both, or neither. */
export function networkHere(addresses: VpcAddresses, ports: PortBook): NetworkHere {
  return {
    room: ({ vpc, publish, publishEverywhere }) => {
      const bound = ports.bind(publish, publishEverywhere);
      return bound.ok ? addresses.room(vpc) : bound;
    },
    bind: async (id, { vpc, publish, publishEverywhere }, signal) => {
      const bound = ports.bind(publish, publishEverywhere);
      if (!bound.ok) return bound;
      // From now on another award finds them taken, however long an address takes.
      ports.reserve(id, bound.value);
      const address = await addresses.bind(id, vpc, signal);
      if (!address.ok) return address;
      const claimed = bound.value.map(({ hostAddress, hostPort, containerPort, protocol }) => ({
        hostAddress: hostAddress === undefined ? "" : formatIp(hostAddress),
        hostPort,
        port: containerPort,
        protocol,
      }));
      return ok({ ...address.value, ports: claimed });
    },
    settle: (id) => {
      addresses.settle(id);
      ports.settle(id);
    },
  };
}

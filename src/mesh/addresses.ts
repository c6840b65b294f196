import type { PeerId } from "../base/index.ts";

/**
 * Where peers were last seen. The state side answers from the hosts' own records; a file answers before the first
 * record is there.
 */
export interface AddressBook {
  /** Multiaddrs without the trailing /p2p/..., best first. */
  addressesOf(peer: PeerId): readonly string[];
  /** What a connected peer itself says of where it listens. Called often with the same: must be cheap. */
  remember(peer: PeerId, addresses: readonly string[]): void;
}

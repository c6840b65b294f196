import { readFile } from "node:fs/promises";
import { type Clock, isPeerId, type Logger, type PeerId } from "../../base/index.ts";
import { writeFileDurably } from "../../host/index.ts";
import type { AddressBook } from "../addresses.ts";
import { ADDRESSES_PER_PEER_MAX } from "../limits.ts";

const PEERS_MAX = 1_024;
const ADDRESS_CHARS_MAX = 256;
/** A change is written this much later, with all that changed meanwhile. */
const WRITE_DELAY_MS = 2_000;

export interface AddressFile extends AddressBook {
  /** Writes what is not written yet. */
  flush(): Promise<void>;
}

/**
 * Addresses of peers in one JSON file ({ peer id: [multiaddr] }), so that a mesh that lost everything at once finds
 * itself again before any record is read. A damaged file is an empty one: the addresses come back with the peers.
 */
export async function openAddressFile(path: string, clock: Clock, log: Logger): Promise<AddressFile> {
  const known = await load(path, log);
  let cancelWrite: (() => void) | undefined;
  let writing: Promise<void> = Promise.resolve();

  const write = (): Promise<void> => {
    cancelWrite?.();
    cancelWrite = undefined;
    const text = `${JSON.stringify(Object.fromEntries(known), null, 1)}\n`;
    writing = writing
      .then(() => writeFileDurably(path, text))
      .catch((error: unknown) => log.warn({ path, err: error }, "addresses of peers could not be written"));
    return writing;
  };

  return {
    addressesOf: (peer) => known.get(peer) ?? [],
    remember(peer, addresses) {
      const next = addresses.filter((address) => address.length <= ADDRESS_CHARS_MAX).slice(0, ADDRESSES_PER_PEER_MAX);
      const before = known.get(peer);
      if (next.length === 0 || (before !== undefined && before.join() === next.join())) return;
      known.delete(peer); // to the end: the longest unseen goes first
      known.set(peer, next);
      const [oldest] = known.keys();
      if (known.size > PEERS_MAX && oldest !== undefined) known.delete(oldest);
      cancelWrite ??= clock.after(WRITE_DELAY_MS, () => void write());
    },
    flush: () => (cancelWrite === undefined ? writing : write()),
  };
}

async function load(path: string, log: Logger): Promise<Map<PeerId, readonly string[]>> {
  const known = new Map<PeerId, readonly string[]>();
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (typeof value !== "object" || value === null) return known;
    for (const [peer, addresses] of Object.entries(value).slice(0, PEERS_MAX)) {
      if (!isPeerId(peer) || !Array.isArray(addresses)) continue;
      known.set(
        peer,
        addresses.filter((address): address is string => typeof address === "string" && address.length <= ADDRESS_CHARS_MAX).slice(0, ADDRESSES_PER_PEER_MAX),
      );
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT"))
      log.warn({ path, err: error }, "the file of peers' addresses is damaged and begun anew");
  }
  return known;
}

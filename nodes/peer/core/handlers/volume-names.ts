import { CcError, isVolumeId, type PeerId, type VolumeId } from "../../../../src/base/index.ts";
import { NameHolds } from "../../../../src/placement/index.ts";
import type { HandlerParts } from "./parts.ts";

const ASK_MS = 1_000;
const HOSTS_MAX = 32;
const NAME_BYTES_MAX = 64;

export type VolumeNames = {
  /**
   * Keeps the name for a volume that is about to be made. Throws CcError: NAME_TAKEN, NAME_HELD (somebody else is making one of
   * that name). `release` once its record is there, or never will be.
   */
  take(name: string, id: VolumeId, signal: AbortSignal): Promise<{ release(): void }>;
};

/**
 * The reachable hosts are asked to hold a name before it is used, the lowest peer id first: of two creates at once that one's
 * word decides. What others hold does not count; a live volume of that name does, from whoever shows its records.
 */
export function createVolumeNames(parts: Pick<HandlerParts, "self" | "mesh" | "view" | "liveness" | "replica" | "clock" | "log">): VolumeNames {
  const { mesh, view, liveness, replica, clock, log } = parts;
  const holds = new NameHolds<VolumeId>();
  const making = new Map<string, VolumeId>();

  const answer = (name: string, id: VolumeId, from: PeerId): { takenBy: string; heldFor: string } => {
    const [taken] = view.volumesByName(name);
    if (taken !== undefined && taken !== id) return { takenBy: taken, heldFor: "" };
    return { takenBy: "", heldFor: holds.hold(name, id, from, clock.monotonicMs()) ?? "" };
  };

  mesh.handle("holdName", async ({ kind, name, id }, from) => {
    if (kind !== "volume" || !isVolumeId(id) || name.length > NAME_BYTES_MAX) throw new CcError("BAD_REQUEST", "this name is none that a host holds");
    const said = answer(name, id, from);
    const frames = isVolumeId(said.takenBy) ? view.recordsOf([said.takenBy]).map(({ frame }) => frame) : [];
    return { ...said, frames };
  });

  /** What one host says of the name; undefined: nothing, or nothing that it can show. */
  const ask = async (peer: PeerId, name: string, id: VolumeId, signal: AbortSignal): Promise<"free" | { heldFor: string } | undefined> => {
    if (peer === parts.self) {
      const { heldFor } = answer(name, id, parts.self);
      return heldFor === "" ? "free" : { heldFor };
    }
    try {
      const said = await mesh.call(peer, "holdName", { kind: "volume", name, id }, { timeoutMs: ASK_MS, signal });
      // Its records say whether it is taken: a bare word stops nobody.
      if (said.frames.length > 0) await replica.take(said.frames, peer);
      if (said.heldFor !== "") return { heldFor: said.heldFor };
      return said.takenBy === "" ? "free" : undefined;
    } catch (thrown) {
      signal.throwIfAborted();
      log.debug({ peer, err: thrown }, "a host could not be asked to hold a name");
      return undefined;
    }
  };

  const mustBeFree = (name: string, id: VolumeId): void => {
    const taken = view.volumesByName(name).find((other) => other !== id);
    if (taken !== undefined) throw new CcError("NAME_TAKEN", `the name ${name} is taken by volume ${taken}`);
  };

  return {
    async take(name, id, signal) {
      mustBeFree(name, id);
      const other = making.get(name);
      if (other !== undefined && other !== id) throw new CcError("NAME_HELD", `volume ${other} is being made with the name ${name}; try again in a moment`);
      making.set(name, id);
      const release = (): void => {
        if (making.get(name) === id) making.delete(name);
        holds.release(name, id, clock.monotonicMs());
      };
      try {
        const hosts = [parts.self, ...liveness.reachable()].sort().slice(0, HOSTS_MAX);
        let decided = false;
        for (const [index, peer] of hosts.entries()) {
          const said = await ask(peer, name, id, signal);
          mustBeFree(name, id);
          if (said === undefined) continue;
          if (said !== "free") throw new CcError("NAME_HELD", `volume ${said.heldFor} is being made with the name ${name}; try again in a moment`);
          decided = true;
          await Promise.all(hosts.slice(index + 1).map((next) => ask(next, name, id, signal)));
          break;
        }
        if (!decided) throw new CcError("INTERNAL", "no host, not even this one, could be asked about the name");
        mustBeFree(name, id);
        return { release };
      } catch (error) {
        release();
        throw error;
      }
    },
  };
}

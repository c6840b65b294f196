import { CcError, isVolumeId, isVpcId, isZone, type PeerId, type VolumeId, type VpcId } from "../../../../src/base/index.ts";
import { NameHolds } from "../../../../src/placement/index.ts";
import type { HandlerParts } from "./parts.ts";

const ASK_MS = 1_000;
const HOSTS_MAX = 32;
const NAME_BYTES_MAX = 128;

/** What has a name that is held before it is made. A VPC's is its zone's: `zone/name`. */
type Kind = "volume" | "vpc";
type ThingId = VolumeId | VpcId;

export type HeldNames = {
  /**
   * Keeps the name for what is about to be made. Throws CcError: NAME_TAKEN, NAME_HELD (somebody else is making one of that
   * name). `release` once its record is there, or never will be.
   */
  take(kind: Kind, name: string, id: ThingId, signal: AbortSignal): Promise<{ release(): void }>;
};

const WORDS: Readonly<Record<Kind, string>> = { volume: "volume", vpc: "VPC" };
const isKind = (text: string): text is Kind => Object.hasOwn(WORDS, text);
const isIdOf = (kind: Kind, id: string): id is ThingId => (kind === "volume" ? isVolumeId(id) : isVpcId(id));

/**
 * The reachable hosts are asked to hold a name before it is used, the lowest peer id first: of two creates at once that one's
 * word decides. What others hold does not count; a living thing of that name does, from whoever shows its records.
 */
export function createHeldNames(parts: Pick<HandlerParts, "self" | "mesh" | "view" | "liveness" | "replica" | "clock" | "log">): HeldNames {
  const { mesh, view, liveness, replica, clock, log } = parts;
  const holds = new NameHolds<ThingId>();
  const making = new Map<string, ThingId>();

  const live = (kind: Kind, name: string): readonly ThingId[] => {
    if (kind === "volume") return view.volumesByName(name);
    const [zone = "", bare = ""] = name.split("/");
    return view.vpcsByName(bare).filter((id) => view.vpc(id)?.zone === zone);
  };

  const answer = (kind: Kind, name: string, id: ThingId, from: PeerId): { takenBy: string; heldFor: string } => {
    const [taken] = live(kind, name);
    if (taken !== undefined && taken !== id) return { takenBy: taken, heldFor: "" };
    return { takenBy: "", heldFor: holds.hold(`${kind} ${name}`, id, from, clock.monotonicMs()) ?? "" };
  };

  mesh.handle("holdName", async ({ kind, name, id }, from) => {
    const isNamed = isKind(kind) && isIdOf(kind, id) && name.length <= NAME_BYTES_MAX && (kind === "volume" || isZone(name.split("/")[0] ?? ""));
    if (!isNamed) throw new CcError("BAD_REQUEST", "this name is none that a host holds");
    const said = answer(kind, name, id, from);
    const frames = said.takenBy !== "" ? view.recordsOf([said.takenBy]).map(({ frame }) => frame) : [];
    return { ...said, frames };
  });

  /** What one host says of the name; undefined: nothing, or nothing that it can show. */
  const ask = async (kind: Kind, peer: PeerId, name: string, id: ThingId, signal: AbortSignal): Promise<"free" | { heldFor: string } | undefined> => {
    if (peer === parts.self) {
      const { heldFor } = answer(kind, name, id, parts.self);
      return heldFor === "" ? "free" : { heldFor };
    }
    try {
      const said = await mesh.call(peer, "holdName", { kind, name, id }, { timeoutMs: ASK_MS, signal });
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

  const mustBeFree = (kind: Kind, name: string, id: ThingId): void => {
    const taken = live(kind, name).find((other) => other !== id);
    if (taken !== undefined) throw new CcError("NAME_TAKEN", `the name ${name} is taken by ${WORDS[kind]} ${taken}`);
  };
  const beingMade = (kind: Kind, name: string, other: string): CcError =>
    new CcError("NAME_HELD", `${WORDS[kind]} ${other} is being made with the name ${name}; try again in a moment`);

  return {
    async take(kind, name, id, signal) {
      const key = `${kind} ${name}`;
      mustBeFree(kind, name, id);
      const other = making.get(key);
      if (other !== undefined && other !== id) throw beingMade(kind, name, other);
      making.set(key, id);
      const release = (): void => {
        if (making.get(key) === id) making.delete(key);
        holds.release(key, id, clock.monotonicMs());
      };
      try {
        const hosts = [parts.self, ...liveness.reachable()].sort().slice(0, HOSTS_MAX);
        let decided = false;
        for (const [index, peer] of hosts.entries()) {
          const said = await ask(kind, peer, name, id, signal);
          mustBeFree(kind, name, id);
          if (said === undefined) continue;
          if (said !== "free") throw beingMade(kind, name, said.heldFor);
          decided = true;
          await Promise.all(hosts.slice(index + 1).map((next) => ask(kind, next, name, id, signal)));
          break;
        }
        if (!decided) throw new CcError("INTERNAL", "no host, not even this one, could be asked about the name");
        mustBeFree(kind, name, id);
        return { release };
      } catch (error) {
        release();
        throw error;
      }
    },
  };
}

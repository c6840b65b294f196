import { type Clock, isContainerId, isFirewallRuleId, isVolumeId, isVpcId, type Logger, type PeerId } from "../../../src/base/index.ts";
import type { Liveness, Mesh } from "../../../src/mesh/index.ts";
import type { ReplicaService, View } from "../../../src/state/index.ts";

const HOSTS_MAX = 32;
const ROUND_MS = 1_000;
/** A script that polls a wrong id causes one round in this time, not one a call. */
const REMEMBERED_MS = 2_000;
const REMEMBERED_MAX = 1_024;
const ITEMS_MAX = 256;

export type AskAroundParts = {
  readonly mesh: Mesh;
  readonly liveness: Liveness;
  readonly replica: ReplicaService;
  readonly view: View;
  readonly clock: Clock;
  readonly log: Logger;
};

/**
 * Asks the reachable hosts once for records of ids and names that are not known here, and takes what they have. Gives the
 * names of the hosts that could not be asked. Throws CcError STARTING, STORE_LOST while this host itself may not act on what it knows.
 */
export type AskAround = (items: readonly string[], kind?: Kind) => Promise<readonly string[]>;
type Kind = "container" | "volume" | "vpc" | "firewall";
const isId = (item: string): boolean => isContainerId(item) || isVolumeId(item) || isVpcId(item) || isFirewallRuleId(item);

/** An unknown id may be another peer's news: it is asked around before anybody is told that it does not exist. */
export function createAskAround(parts: AskAroundParts): AskAround {
  const { mesh, liveness, replica, view, clock, log } = parts;
  const rounds = new Map<string, { readonly atMs: number; readonly silent: Promise<readonly string[]> }>();

  mesh.handle("askAround", async (request) => {
    const ids = new Set<string>(request.ids.slice(0, ITEMS_MAX).filter(isId));
    const named = (name: string): readonly string[] => {
      if (request.kind === "vpc") return view.vpcsByName(name);
      return request.kind === "volume" ? view.volumesByName(name) : view.byName(name);
    };
    for (const name of request.names.slice(0, ITEMS_MAX)) for (const id of named(name)) ids.add(id);
    const frames = view.recordsOf(ids).map((record) => record.frame);
    // That it has nothing says nothing while its store may lack what its neighbours have: the asker counts it as silent.
    if (frames.length === 0) replica.mustBeReady();
    return { frames };
  });

  const askOne = async (peer: PeerId, items: readonly string[], kind: Kind): Promise<boolean> => {
    try {
      const ids = items.filter(isId);
      const names = items.filter((item) => !isId(item));
      const reply = await mesh.call(peer, "askAround", { kind, ids, names }, { timeoutMs: ROUND_MS });
      await replica.take(reply.frames, peer);
      return true;
    } catch (error) {
      log.debug({ peer, err: error }, "a host could not be asked about what is unknown here");
      return false;
    }
  };

  const round = async (items: readonly string[], kind: Kind): Promise<readonly string[]> => {
    const members = view.members().filter((member) => member.peer !== mesh.self);
    const reachable = new Set(liveness.reachable());
    const asked = members.filter((member) => reachable.has(member.peer)).slice(0, HOSTS_MAX);
    const answers = await Promise.all(asked.map(async (member) => ({ member, answered: await askOne(member.peer, items, kind) })));
    const silent = new Set(answers.filter((answer) => !answer.answered).map((answer) => answer.member));
    return members.filter((member) => silent.has(member) || !asked.includes(member)).map((member) => member.name || member.peer);
  };

  return async (items, kind = "container") => {
    replica.mustBeReady();
    // A name may be a container's and a volume's.
    const roundOf = (item: string): string => (isId(item) ? item : `${kind} ${item}`);
    const nowMs = clock.monotonicMs();
    for (const [item, { atMs }] of rounds) if (nowMs - atMs > REMEMBERED_MS) rounds.delete(item);
    const fresh = items.slice(0, ITEMS_MAX).filter((item) => !rounds.has(roundOf(item)));
    if (fresh.length > 0 && rounds.size + fresh.length <= REMEMBERED_MAX) {
      const silent = round(fresh, kind);
      for (const item of fresh) rounds.set(roundOf(item), { atMs: nowMs, silent });
    }
    const silent = await Promise.all(items.map((item) => rounds.get(roundOf(item))?.silent ?? []));
    return [...new Set(silent.flat())];
  };
}

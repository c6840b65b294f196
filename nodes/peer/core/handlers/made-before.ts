import type { Caller } from "../../../../src/api/index.ts";
import { asCcError, CcError, isPeerId, type KeyId, type PeerId } from "../../../../src/base/index.ts";
import type { AskAround } from "../ask-around.ts";
import type { HandlerParts } from "./parts.ts";

const ASK_MS = 1_000;
const ASKED_BEFORE_MAX = 8;

export type Made<Id extends string, Thing> = {
  readonly kind: "volume" | "vpc";
  readonly idOf: (key: KeyId, token: string, acceptedBy: PeerId) => Id;
  readonly get: (id: Id) => Thing | undefined;
  /** What this key made with this token, as far as known here. */
  readonly ofToken: (key: KeyId, token: string) => Thing | undefined;
};

/**
 * What an earlier attempt with this token has made, at this peer or at one that it went to: the accepting peer is in the id, and another
 * attempt must not make a second one. Throws CcError OUTCOME_UNKNOWN where that peer cannot be asked.
 */
export async function madeBefore<Id extends string, Thing>(
  parts: Pick<HandlerParts, "self" | "mesh" | "replica" | "view">,
  askAround: AskAround,
  made: Made<Id, Thing>,
  caller: Caller,
  request: { readonly token: string; readonly askedBefore: readonly string[] },
): Promise<Thing | undefined> {
  const { mesh, replica, view } = parts;
  const { token } = request;
  const here = made.ofToken(caller.keyId, token);
  if (here !== undefined) return here;
  const peers = request.askedBefore
    .filter(isPeerId)
    .filter((peer) => peer !== parts.self)
    .slice(0, ASKED_BEFORE_MAX);
  for (const peer of peers) {
    const id = made.idOf(caller.keyId, token, peer);
    try {
      const { frames } = await mesh.call(peer, "askAround", { kind: made.kind, ids: [id] }, { timeoutMs: ASK_MS });
      await replica.take(frames, peer);
    } catch (thrown) {
      await askAround([id], made.kind);
      if (made.get(id) === undefined)
        throw new CcError(
          "OUTCOME_UNKNOWN",
          `${view.member(peer)?.name || peer} was asked to make it before and does not answer now (${asCcError(thrown).code}): ask that peer again, or look with cc ${made.kind} list when it is back`,
        );
    }
    const found = made.get(id);
    if (found !== undefined) return found;
  }
  return undefined;
}

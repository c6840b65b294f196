import { DeleteVpcsRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import type { SignedRequest } from "../../../../src/api/gen/cc/v1/records_pb.ts";
import { decodeBody } from "../../../../src/api/index.ts";
import { asCcError, CcError, isVpcId, isZone, type PeerId, type VpcId } from "../../../../src/base/index.ts";
import { requestHash } from "../../../../src/identity/index.ts";
import { userKey, type VpcView } from "../../../../src/state/index.ts";
import type { VpcAddresses } from "../../../../src/vpc/index.ts";
import type { AskAround } from "../ask-around.ts";
import { findVpcs } from "./find-vpcs.ts";
import type { ItemErrorInit } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { mustHaveToken, requestDraft, toWritten } from "./writes.ts";

const VPCS_MAX = 256;
const ASK_MS = 2_000;

/**
 * Deletes all that are named, or none. Every reachable host of the zone is asked first: who says that nobody uses them there attaches
 * nothing for 10 s, and then the marks go out in one batch. Who has a mark attaches nothing any more; what was started unaware
 * in a cut keeps its network until it ends.
 */
export function deleteVpcs(parts: HandlerParts, addresses: VpcAddresses, askAround: AskAround): Some<"deleteVpcs">["deleteVpcs"] {
  const { mesh, view, replica, liveness } = parts;
  const byOf = (request: SignedRequest): string => Buffer.from(requestHash(request)).toString("hex");

  const holdAll = (request: SignedRequest, ids: readonly VpcId[]): ItemErrorInit[] =>
    ids.flatMap((id) => {
      const held = addresses.hold(id, byOf(request));
      return held.ok ? [] : [{ item: id, code: held.code, message: held.message }];
    });
  const releaseAll = (request: SignedRequest, ids: readonly VpcId[]): void => {
    for (const id of ids) addresses.release(id, byOf(request));
  };

  mesh.handle("askVpcUsers", async ({ request, release }, from) => {
    if (request === undefined) throw new CcError("BAD_REQUEST", "this is not a step of a delete");
    const ids = decodeBody(DeleteVpcsRequestSchema, request.body).vpcs.filter(isVpcId).slice(0, VPCS_MAX);
    for (const id of ids) await parts.authenticator.passedOn("DeleteVpcs", request, from, release ? "release" : "ask", id);
    if (release) releaseAll(request, ids);
    return { inUse: release ? [] : holdAll(request, ids) };
  });

  return async (request, { caller, signal }) => {
    mustHaveToken(request.token);
    const bad = request.vpcs.find((id) => !isVpcId(id));
    if (bad !== undefined) throw new CcError("BAD_REQUEST", `"${bad}" is not a VPC's id; Resolve gives the id of a name`);
    if (request.vpcs.length === 0 || request.vpcs.length > VPCS_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${VPCS_MAX} VPCs`);
    const ids = [...new Set(request.vpcs)];
    const { found, notAsked } = await findVpcs(parts, askAround, ids);
    const vpcs = found.flatMap((one) => ("vpc" in one ? [one.vpc] : []));
    const done = ids.filter((id) => !vpcs.some((vpc) => vpc.id === id));
    const outcome = { done, copies: 0, pending: [], wrote: [], errors: [] as ItemErrorInit[] };
    if (vpcs.length === 0) return { ...outcome, notAsked: [...notAsked] };
    const zones = new Set(vpcs.map(({ zone }) => zone));
    const hosts = view.members().filter(({ peer, zone }) => peer !== parts.self && zones.has(zone));
    const cut = hosts.filter(({ peer }) => liveness.of(peer).standing === "unreachable");
    const unasked = [...new Set([...notAsked, ...cut.map(({ name, peer }) => name || peer)])];
    const asked = hosts.flatMap((host) => (cut.includes(host) ? [] : [host.peer]));
    const live = vpcs.map(({ id }) => id);
    const own = holdAll(caller.signed, live);
    const errors = merge(own.length > 0 ? own : (await Promise.all(asked.map((peer) => askOne(peer, caller.signed, live)))).flat());
    if (errors.length > 0) {
      releaseAll(caller.signed, live);
      for (const peer of own.length > 0 ? [] : asked) letGo(peer, caller.signed);
      return { ...outcome, done: [], errors: [...errors, ...notDone(vpcs, errors)], notAsked: unasked };
    }
    const drafts = vpcs.map(({ id, zone }) => requestDraft(userKey(isZone(zone) ? zone : undefined, "wanted", id), caller, true));
    const written = await replica.write(drafts, { signal });
    return { ...outcome, done: ids, wrote: written.records.map(toWritten), copies: written.copies, notAsked: unasked };
  };

  async function askOne(peer: PeerId, request: SignedRequest, ids: readonly VpcId[]): Promise<readonly ItemErrorInit[]> {
    try {
      return (await mesh.call(peer, "askVpcUsers", { request, release: false }, { timeoutMs: ASK_MS })).inUse;
    } catch (thrown) {
      const { code } = asCcError(thrown);
      const host = view.member(peer)?.name || peer;
      // It may have attached a container at this moment: nothing is deleted before it says so, or is known to be cut off.
      return ids.map((item) => ({ item, code: "HOST_UNREACHABLE", message: `${host} did not say whether it uses ${item} (${code}); try again in a moment` }));
    }
  }

  /** A hold that this does not reach lapses by itself. */
  function letGo(peer: PeerId, request: SignedRequest): void {
    mesh
      .call(peer, "askVpcUsers", { request, release: true }, { timeoutMs: ASK_MS })
      .catch((thrown: unknown) => parts.log.debug({ peer, err: thrown }, "a hold was not let go"));
  }
}

/** One error an id: several hosts say the same of it. */
function merge(errors: readonly ItemErrorInit[]): ItemErrorInit[] {
  return [...new Map(errors.toReversed().map((error) => [error.item, error])).values()].toReversed();
}

/** Of several, none is deleted when one cannot be: the others are named too. */
function notDone(vpcs: readonly VpcView[], errors: readonly ItemErrorInit[]): ItemErrorInit[] {
  return vpcs
    .filter(({ id }) => !errors.some(({ item }) => item === id))
    .map(({ id }) => ({ item: id, code: "CONFLICT", message: `${id} was not deleted, since another of those named could not be` }));
}

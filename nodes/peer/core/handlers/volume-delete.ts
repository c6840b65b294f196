import { DeleteVolumesRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import type { RecordFrame, SignedRequest } from "../../../../src/api/gen/cc/v1/records_pb.ts";
import { type Caller, decodeBody } from "../../../../src/api/index.ts";
import { asCcError, CcError, isVolumeId, isZone, type PeerId, type VolumeId } from "../../../../src/base/index.ts";
import { requestHash } from "../../../../src/identity/index.ts";
import { userKey, type VolumeView } from "../../../../src/state/index.ts";
import type { VolumeHolder } from "../../../../src/volumes/index.ts";
import type { AskAround } from "../ask-around.ts";
import { awaitContainers } from "./await-phase.ts";
import { findVolumes } from "./find-volumes.ts";
import type { ItemErrorInit } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { mustHaveToken, requestDraft, toWritten, type WrittenInit } from "./writes.ts";

const VOLUMES_MAX = 256;
const STEP_MS = 3_000;
/** Longer than what an ended container with `--rm` is kept for its readers. */
const LEAVING_MS_MAX = 8_000;

type Step = { readonly request: SignedRequest; readonly volumes: readonly VolumeId[] };
type StepReply = { readonly refused: readonly ItemErrorInit[]; readonly frames: readonly RecordFrame[] };

/**
 * Deletes all that are named, or none: each volume's holder first holds it, so that nobody attaches it, and only when all do is it
 * deleted. A holder that cannot be reached keeps what it has; one that was removed has lost it, and its volumes go on the user's word.
 */
export function deleteVolumes(parts: HandlerParts, holder: VolumeHolder, askAround: AskAround): Some<"deleteVolumes">["deleteVolumes"] {
  const { mesh, view, replica, liveness } = parts;
  const byOf = (request: SignedRequest): string => Buffer.from(requestHash(request)).toString("hex");

  const hold = ({ request, volumes }: Step): StepReply => {
    const refused = volumes.flatMap((id) => {
      const held = holder.hold(id, byOf(request));
      return held.ok ? [] : [{ item: id, code: held.code, message: held.message }];
    });
    return { refused, frames: [] };
  };
  const release = ({ request, volumes }: Step): StepReply => {
    for (const id of volumes) holder.release(id, byOf(request));
    return { refused: [], frames: [] };
  };
  const finish = async ({ request, volumes }: Step, stamped: readonly RecordFrame[], signal?: AbortSignal): Promise<StepReply & { copies: number }> => {
    const deleted = await holder.deleteHeld(volumes, byOf(request), stamped, signal);
    if (!deleted.ok) return { refused: volumes.map((item) => ({ item, code: deleted.code, message: deleted.message })), frames: [], copies: 0 };
    return { refused: [], frames: deleted.value.records.map(({ frame }) => frame), copies: deleted.value.copies };
  };

  /** At a holder: the user's own signature, checked here, once for each volume and step. */
  const asked = async (
    message: { readonly request?: SignedRequest | undefined; readonly volumes: readonly string[] },
    from: PeerId,
    step: string,
  ): Promise<Step> => {
    const { request } = message;
    const volumes = message.volumes.filter(isVolumeId);
    if (request === undefined || volumes.length === 0 || volumes.length > VOLUMES_MAX || volumes.length !== message.volumes.length)
      throw new CcError("BAD_REQUEST", "this is not a step of a delete");
    const named = new Set(decodeBody(DeleteVolumesRequestSchema, request.body).volumes);
    if (volumes.some((id) => !named.has(id))) throw new CcError("UNAUTHENTICATED", "the user did not ask for this volume to be deleted");
    for (const id of volumes) await parts.authenticator.passedOn("DeleteVolumes", request, from, step, id);
    return { request, volumes };
  };
  mesh.handle("holdVolumes", async (message, from) => replyOf(hold(await asked(message, from, "hold"))));
  mesh.handle("releaseVolumes", async (message, from) => replyOf(release(await asked(message, from, "release"))));
  mesh.handle("deleteHeldVolumes", async (message, from, signal) => replyOf(await finish(await asked(message, from, "commit"), message.frames, signal)));

  return async (request, { caller, signal }) => {
    mustHaveToken(request.token);
    const bad = request.volumes.find((id) => !isVolumeId(id));
    if (bad !== undefined) throw new CcError("BAD_REQUEST", `"${bad}" is not a volume's id; Resolve gives the id of a name`);
    if (request.volumes.length === 0 || request.volumes.length > VOLUMES_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${VOLUMES_MAX} volumes`);
    const ids = [...new Set(request.volumes)];
    const { found, notAsked } = await findVolumes(parts, askAround, ids);
    const volumes = found.flatMap((one) => ("volume" in one ? [one.volume] : []));
    const outcome = { done: ids.filter((id) => !volumes.some((volume) => volume.id === id)), notAsked: [...notAsked], copies: 0, pending: [] };
    const refused = volumes.flatMap((volume) => unreachable(volume));
    if (refused.length > 0) return { ...outcome, done: [], errors: [...refused, ...notDone(volumes, refused)], wrote: [] };
    const lost = volumes.filter(({ state }) => state === "lost");
    const byHolder = Map.groupBy(
      volumes.filter(({ state }) => state !== "lost"),
      (volume) => volume.holder,
    );
    await untilLeft(volumes, signal);
    const errors = await holdAll(byHolder, caller);
    if (errors.length > 0) return { ...outcome, done: [], errors: [...errors, ...notDone(volumes, errors)], wrote: [] };
    const ended = await finishAll(byHolder, caller, signal);
    if (lost.length > 0) {
      const written = await replica.write(
        lost.map((volume) => wantedDraft(volume, caller)),
        { signal },
      );
      ended.done.push(...lost.map(({ id }) => id));
      ended.wrote.push(...written.records.map(toWritten));
      ended.copies.push(written.copies);
    }
    const copies = ended.copies.length === 0 ? 0 : Math.min(...ended.copies);
    const done = new Set([...outcome.done, ...ended.done]);
    return { ...outcome, done: ids.filter((id) => done.has(id)), errors: ended.errors, wrote: ended.wrote, copies };
  };

  function unreachable(volume: VolumeView): ItemErrorInit[] {
    if (volume.state === "lost" || volume.holder === parts.self || liveness.of(volume.holder).standing !== "unreachable") return [];
    const host = view.member(volume.holder)?.name || volume.holder;
    return [
      {
        item: volume.id,
        code: "HOST_UNREACHABLE",
        message: `volume ${volume.name || volume.id} is on ${host}, which cannot be reached; try again when it is back`,
      },
    ];
  }

  /** A container that removes itself and has ended is on its way out: whoever deletes its volume right after it need not try twice. */
  async function untilLeft(volumes: readonly VolumeView[], signal: AbortSignal): Promise<void> {
    const leaving = volumes.flatMap(({ id }) => view.usersOf(id)).filter(({ spec, phase }) => spec.removeWhenEnded && phase?.phase === "ended");
    const ids = leaving.map(({ id }) => id);
    await awaitContainers(parts, ids, (container) => container === undefined || container.gone || container.phase?.phase !== "ended", LEAVING_MS_MAX, signal);
  }

  /** First step, at all at once. When one refuses, the others are let go. */
  async function holdAll(byHolder: ReadonlyMap<PeerId, readonly VolumeView[]>, caller: Caller): Promise<readonly ItemErrorInit[]> {
    const answers = await Promise.all(
      [...byHolder].map(async ([peer, held]) => {
        const step = { request: caller.signed, volumes: held.map(({ id }) => id) };
        if (peer === parts.self) return hold(step).refused;
        try {
          return (await mesh.call(peer, "holdVolumes", { ...step, volumes: [...step.volumes] }, { timeoutMs: STEP_MS })).refused;
        } catch (thrown) {
          return step.volumes.map((item) => itemError(item, thrown, "its host did not answer"));
        }
      }),
    );
    const errors = answers.flat();
    if (errors.length > 0) {
      for (const [peer, held] of byHolder) {
        const step = { request: caller.signed, volumes: held.map(({ id }) => id) };
        if (peer === parts.self) release(step);
        // A hold that this does not reach lapses by itself.
        else
          mesh
            .call(peer, "releaseVolumes", { ...step, volumes: [...step.volumes] }, { timeoutMs: STEP_MS })
            .catch((thrown: unknown) => parts.log.debug({ peer, err: thrown }, "a hold was not let go"));
      }
    }
    return errors;
  }

  async function finishAll(byHolder: ReadonlyMap<PeerId, readonly VolumeView[]>, caller: Caller, signal: AbortSignal) {
    const ended = { done: [] as string[], errors: [] as ItemErrorInit[], wrote: [] as WrittenInit[], copies: [] as number[] };
    await Promise.all(
      [...byHolder].map(async ([peer, held]) => {
        const step = { request: caller.signed, volumes: held.map(({ id }) => id) };
        const stamped = await Promise.all(held.map((volume) => replica.stamp(wantedDraft(volume, caller))));
        const frames = stamped.map(({ frame }) => frame);
        try {
          const reply =
            peer === parts.self
              ? await finish(step, frames, signal)
              : { ...(await mesh.call(peer, "deleteHeldVolumes", { ...step, volumes: [...step.volumes], frames }, { timeoutMs: STEP_MS, signal })), copies: 2 };
          if (reply.refused.length > 0) {
            ended.errors.push(...reply.refused);
            return;
          }
          // The second disk for what another host has deleted.
          if (peer !== parts.self) await replica.take([...frames, ...reply.frames], peer);
          // Its word alone deletes nothing: what it shows has to count here as it will everywhere.
          const gone = step.volumes.filter((id) => view.volume(id)?.gone === true);
          ended.errors.push(...step.volumes.filter((id) => !gone.includes(id)).map((item) => unproven(item)));
          ended.done.push(...gone);
          ended.wrote.push(...stamped.map(toWritten));
          ended.copies.push(reply.copies);
        } catch (thrown) {
          ended.errors.push(...step.volumes.map((item) => itemError(item, thrown, "whether it was deleted is not known; look with cc volume list")));
        }
      }),
    );
    return ended;
  }

  function wantedDraft(volume: VolumeView, caller: Caller) {
    return requestDraft(userKey(isZone(volume.zone) ? volume.zone : undefined, "wanted", volume.id), caller, true);
  }

  /** Of several, none is deleted when one cannot be: the others are named too. */
  function notDone(volumes: readonly VolumeView[], errors: readonly ItemErrorInit[]): ItemErrorInit[] {
    return volumes
      .filter(({ id }) => !errors.some(({ item }) => item === id))
      .map(({ id }) => ({ item: id, code: "CONFLICT", message: `${id} was not deleted, since another of those named could not be` }));
  }
}

function replyOf({ refused, frames }: StepReply): { refused: ItemErrorInit[]; frames: RecordFrame[] } {
  return { refused: [...refused], frames: [...frames] };
}

const unproven = (item: VolumeId): ItemErrorInit => ({
  item,
  code: "OUTCOME_UNKNOWN",
  message: `${item}: its host says that it is deleted and does not show it; look with cc volume list`,
});

function itemError(item: VolumeId, thrown: unknown, what: string): ItemErrorInit {
  const { code, message } = asCcError(thrown);
  const isSilence = code === "TIMEOUT" || code === "PEER_UNREACHABLE" || code === "CANCELLED";
  return { item, code: isSilence ? "OUTCOME_UNKNOWN" : code, message: isSilence ? `${item}: ${what} (${code})` : message };
}

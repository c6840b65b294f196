import type { MessageInitShape } from "@bufbuild/protobuf";
import type { VolumeStateSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { CcError, isName, isVolumeId, type PeerId, type VolumeId } from "../../../../src/base/index.ts";
import { userKey, type VolumeView, volumeIdOf } from "../../../../src/state/index.ts";
import { type VolumeFiles, type VolumeHolder, volumeSize } from "../../../../src/volumes/index.ts";
import { must } from "../../must.ts";
import type { AskAround } from "../ask-around.ts";
import { catchUp } from "../seen.ts";
import { findVolumes } from "./find-volumes.ts";
import type { HeldNames } from "./held-names.ts";
import { withNotAsked } from "./item-error.ts";
import { type Made, madeBefore } from "./made-before.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { deleteVolumes } from "./volume-delete.ts";
import { mustHaveToken, requestDraft, toWritten } from "./writes.ts";

export type VolumeParts = { readonly holder: VolumeHolder; readonly files: Pick<VolumeFiles, "usage">; readonly names: HeldNames };
type VolumeStateInit = MessageInitShape<typeof VolumeStateSchema>;

const ASK_MS = 1_000;
const VOLUMES_MAX = 256;

/** Volumes as users make, see and delete them. Ephemeral ones: each on one host. */
export function volumeHandlers(
  parts: HandlerParts,
  { holder, files, names }: VolumeParts,
  askAround: AskAround,
): Some<"createVolume" | "listVolumes" | "inspectVolumes" | "deleteVolumes"> {
  const { view, liveness, clock, mesh, replica } = parts;

  mesh.handle("askVolumeUsage", async ({ volumes }) => ({ volumes: await usageHere(volumes.slice(0, VOLUMES_MAX)) }));

  async function usageHere(ids: readonly string[]): Promise<{ volume: string; usedBytes?: number; allocatedBytes: number }[]> {
    const usages = await Promise.all(ids.filter(isVolumeId).map(async (id) => ({ id, usage: await files.usage(id) })));
    return usages.flatMap(({ id, usage }) =>
      usage === undefined
        ? []
        : [{ volume: id, allocatedBytes: usage.allocatedBytes, ...(usage.usedBytes === undefined ? {} : { usedBytes: usage.usedBytes }) }],
    );
  }

  const stateOf = (volume: VolumeView): VolumeStateInit => {
    const member = view.member(volume.holder);
    const users = view
      .usersOf(volume.id)
      .flatMap((container) =>
        container.spec.volumes
          .filter((mount) => mount.volume === volume.id)
          .map(({ path, readOnly }) => ({ container: container.id, name: container.name, path, readOnly, phase: container.phase?.phase ?? "claimed" })),
      );
    return {
      id: volume.id,
      name: volume.name,
      sizeBytes: volume.sizeBytes,
      persistent: false,
      state: volume.state,
      host: volume.holder,
      hostName: member?.name ?? "",
      zone: member?.zone ?? volume.zone,
      hostReachable: isReachable(volume.holder),
      createdAtMs: volume.createdAtMs,
      users,
      epoch: volume.epoch,
      key: volume.keyId,
    };
  };
  const isReachable = (peer: PeerId): boolean => peer === parts.self || (view.member(peer) !== undefined && liveness.of(peer).standing !== "unreachable");

  const made: Made<VolumeId, VolumeView> = {
    kind: "volume",
    idOf: volumeIdOf,
    get: (id) => view.volume(id),
    ofToken: (key, token) => view.volumeOfToken(key, token),
  };

  return {
    createVolume: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      const { name, token } = request;
      if (request.persistent) throw new CcError("NOT_YET", "persistent volumes are not there yet: leave --persistent out for a volume on one host");
      if (!isName(name))
        throw new CcError("BAD_REQUEST", `"${name}" is not a name: 1 to 63 lower-case letters, digits and -, beginning and ending with a letter or digit`);
      const sizeBytes = must(volumeSize(request.sizeBytes));
      const before = await madeBefore(parts, askAround, made, caller, request);
      if (before !== undefined) {
        if (before.name !== name || must(volumeSize(before.sizeBytes)) !== sizeBytes)
          throw new CcError("TOKEN_REUSED", `this token made another volume, ${before.id}`);
        if (before.gone) throw new CcError("CONFLICT", `the volume of this token, ${before.id}, was deleted already`);
        return { id: before.id, copies: 0, wrote: [] };
      }
      const id = volumeIdOf(caller.keyId, token, parts.self);
      const named = await names.take("volume", name, id, signal);
      try {
        const stamped = await replica.stamp(requestDraft(userKey(parts.zone, "volume", id), caller));
        const written = await replica.write([holder.birth(id, stamped)], { beside: [stamped.frame], isClaim: true, signal });
        return { id, copies: written.copies, wrote: written.records.map(toWritten) };
      } finally {
        named.release();
      }
    },

    listVolumes: async (request) => {
      await catchUp(parts, request.to);
      const volumes = view.volumes().flatMap((volume) => (volume.gone ? [] : [stateOf(volume)]));
      volumes.sort((a, b) => ((a.name ?? "") === (b.name ?? "") ? ((a.id ?? "") < (b.id ?? "") ? -1 : 1) : (a.name ?? "") < (b.name ?? "") ? -1 : 1));
      const unreachable = view.members().filter(({ peer }) => !isReachable(peer));
      return { volumes, unreachable: unreachable.map((member) => member.name || member.peer), asOfMs: clock.nowMs() };
    },

    inspectVolumes: async (request) => {
      await catchUp(parts, request.to);
      if (request.volumes.length === 0 || request.volumes.length > VOLUMES_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${VOLUMES_MAX} volumes`);
      const { found, notAsked } = await findVolumes(parts, askAround, request.volumes);
      const errors = found.flatMap((one) => ("error" in one ? [withNotAsked(one.error, notAsked)] : []));
      const volumes = found.flatMap((one) => ("volume" in one ? [one.volume] : []));
      const usages = await usageOf(volumes);
      return { volumes: volumes.map((volume) => ({ ...stateOf(volume), ...usages.get(volume.id) })), errors };
    },

    deleteVolumes: deleteVolumes(parts, holder, askAround),
  };

  /** How full each is, asked of its host. Who does not answer within a second is left out: the rest is known anyway. */
  async function usageOf(volumes: readonly VolumeView[]): Promise<ReadonlyMap<string, { usedBytes?: number; allocatedBytes?: number }>> {
    const byHolder = Map.groupBy(volumes, ({ holder: peer }) => peer);
    const answers = await Promise.all(
      [...byHolder].map(async ([peer, held]) => {
        const ids = held.map(({ id }) => id);
        if (peer === parts.self) return usageHere(ids);
        if (!isReachable(peer)) return [];
        try {
          return (await mesh.call(peer, "askVolumeUsage", { volumes: ids }, { timeoutMs: ASK_MS })).volumes;
        } catch (thrown) {
          parts.log.debug({ peer, err: thrown }, "a host did not say how full its volumes are");
          return [];
        }
      }),
    );
    return new Map(
      answers.flat().map(({ volume, usedBytes, allocatedBytes }) => [volume, { allocatedBytes, ...(usedBytes === undefined ? {} : { usedBytes }) }]),
    );
  }
}

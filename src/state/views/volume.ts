import { DeleteVolumesRequestSchema } from "../../api/gen/cc/v1/cloud_pb.ts";
import type { KeyId, PeerId, VolumeId } from "../../base/index.ts";
import type { SignedRequest } from "../../identity/index.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeBody } from "./bodies.ts";
import type { ContainerView } from "./container.ts";
import type { CountedHolding } from "./holdings.ts";
import { type Judge, judgeUserRecord } from "./standing.ts";

/** One volume, as all records together say. */
export type VolumeView = {
  readonly id: VolumeId;
  readonly name: string;
  readonly sizeBytes: number;
  /** Of its create's record. */
  readonly zone: string;
  readonly keyId: KeyId;
  /** The client's token of the create. */
  readonly token: string;
  readonly request: SignedRequest;
  readonly createdAtMs: number;
  /** Who has it, or was handed it and has not said so yet. */
  readonly holder: PeerId;
  readonly epoch: number;
  /** Lost: its holder was removed from the mesh, and it with the holder. */
  readonly state: "fresh" | "mounted" | "lost";
  /** Deleted: by its holder's word, or by a user's once its holder was removed. Ids never come back. */
  readonly gone: boolean;
  /** Every holding that counts, the highest epoch first. */
  readonly holdings: readonly CountedHolding[];
};

type Claimed = { readonly holder: PeerId; readonly epoch: number; readonly holding: CountedHolding | undefined };

/** Undefined: no holding of it counts. `deletes` are users' deletes that count. */
export function deriveVolume(holdings: readonly CountedHolding[], deletes: readonly StoredRecord[], judge: Judge): VolumeView | undefined {
  const ranked = [...holdings].sort((a, b) => b.epoch - a.epoch || (a.holder < b.holder ? -1 : 1));
  const [first] = ranked;
  if (first === undefined) return undefined;
  const claimed: Claimed[] = ranked.map((holding) => ({ holder: holding.holder, epoch: holding.epoch, holding }));
  // Who was handed it has it, also before its own record is known here: the giver's signature is its warrant.
  for (const { handedTo, epoch } of ranked) {
    if (handedTo !== undefined && !claimed.some((one) => one.holder === handedTo && one.epoch === epoch + 1))
      claimed.push({ holder: handedTo, epoch: epoch + 1, holding: undefined });
  }
  const best = claimed.reduce((a, b) => (b.epoch > a.epoch || (b.epoch === a.epoch && b.holder < a.holder) ? b : a));
  const { create } = first;
  const lost = judge.hosts.get(best.holder)?.standing !== "member" && (best.holding?.past ?? judge.authority.removals.has(best.holder));
  return {
    id: create.id,
    name: create.message.name,
    sizeBytes: create.message.sizeBytes,
    zone: parseRecordKey(create.record.key)?.zone ?? "",
    keyId: create.keyId,
    token: create.message.token,
    request: create.request,
    createdAtMs: create.record.version.major,
    holder: best.holder,
    epoch: best.epoch,
    state: lost ? "lost" : best.holding?.state === "mounted" ? "mounted" : "fresh",
    gone: best.holding?.state === "gone" || (lost && deletes.length > 0),
    holdings: ranked,
  };
}

/** Reads `user/<zone>/wanted/<volume id>`: a user's delete that names it and counts. */
export function isVolumeDelete(id: VolumeId, record: StoredRecord, judge: Judge): boolean {
  const content = stampedContentOf(record);
  if (content === undefined || !record.final) return false;
  const user = judgeUserRecord(record, judge);
  if (user.standing !== "counts" || user.call !== "DeleteVolumes") return false;
  return decodeBody(DeleteVolumesRequestSchema, content.request.body)?.volumes.includes(id) ?? false;
}

/** Containers by the volumes that they name, ended ones too. */
export function usersOfVolumes(containers: readonly ContainerView[]): ReadonlyMap<string, readonly ContainerView[]> {
  const users = new Map<string, ContainerView[]>();
  for (const container of containers) {
    if (container.gone) continue;
    for (const volume of new Set(container.spec.volumes.map((mount) => mount.volume))) users.set(volume, [...(users.get(volume) ?? []), container]);
  }
  return users;
}

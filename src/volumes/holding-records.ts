import { create, toBinary } from "@bufbuild/protobuf";
import { HandOverTermsSchema, SignedHandOverSchema, type VolumeHolding, VolumeHoldingSchema } from "../api/gen/cc/v1/records_pb.ts";
import type { PeerId, VolumeId, Zone } from "../base/index.ts";
import type { Signer } from "../identity/index.ts";
import { type CountedHolding, type Draft, handOverBytes, hostKey, type StoredRecord, type VolumeView } from "../state/index.ts";
import { ownHolding } from "./decide.ts";

export type Writer = { readonly self: PeerId; readonly zone: Zone };

/** A new volume's first record: this host, which took its create, holds it. `stamped` is that create. */
export function birthRecord(writer: Writer, id: VolumeId, stamped: StoredRecord, nowMs: number): Draft {
  return draftOf(writer, create(VolumeHoldingSchema, { volume: id, epoch: 1, request: stamped.frame, state: "fresh", changedAtMs: nowMs }));
}

/** The same holding in another state. */
export function changedRecord(writer: Writer, { holding }: CountedHolding, state: "mounted" | "gone", nowMs: number): Draft {
  return draftOf(writer, { ...holding, state, changedAtMs: nowMs });
}

/** This host's holding given to another: its signature is that one's warrant. */
export function handedRecord(writer: Writer, { holding, id, epoch }: CountedHolding, to: PeerId, signer: Pick<Signer, "sign">, nowMs: number): Draft {
  const terms = { volume: id, epoch: epoch + 1, from: writer.self, to, handedAtMs: nowMs };
  const signed = toBinary(HandOverTermsSchema, create(HandOverTermsSchema, terms));
  const handed = create(SignedHandOverSchema, { signed, signature: signer.sign(handOverBytes(signed)) });
  return draftOf(writer, { ...holding, state: "handed", handed, changedAtMs: nowMs });
}

/** What was handed to this host, where no record of its own says so yet. */
export function acceptedRecord(writer: Writer, volume: VolumeView | undefined, nowMs: number): Draft | undefined {
  if (volume === undefined || volume.holder !== writer.self || volume.gone || ownHolding({ volume, self: writer.self }) !== undefined) return undefined;
  const giver = volume.holdings.find(({ handedTo, epoch }) => handedTo === writer.self && epoch === volume.epoch - 1);
  if (giver?.holding.request === undefined || giver.holding.handed === undefined) return undefined;
  const { request, warrant, handed } = giver.holding;
  const changed = { volume: volume.id, epoch: volume.epoch, request, warrant: [...warrant, handed], state: "fresh", changedAtMs: nowMs };
  return draftOf(writer, create(VolumeHoldingSchema, changed));
}

function draftOf(writer: Writer, holding: VolumeHolding): Draft {
  const content = toBinary(VolumeHoldingSchema, holding);
  return { key: hostKey(writer.self, writer.zone, "volume", holding.volume), content, final: holding.state === "gone" };
}

import { fromBinary } from "@bufbuild/protobuf";
import {
  type Claim,
  ClaimSchema,
  type Phase,
  PhaseSchema,
  RecordPayloadSchema,
  type SignedRequest,
  StampedRequestSchema,
} from "../api/gen/cc/v1/records_pb.ts";
import { type ContainerId, isContainerId, type PeerId, type VolumeId } from "../base/index.ts";
import { hostKey, parseRecordKey, type Replica, type StoredRecord } from "../state/index.ts";
import type { PlacementParts } from "./ports.ts";
import { type Needs, needsOf } from "./requirements.ts";

/** The container that a record of this host's claims or phases is about. */
export function ownContainerOf(record: StoredRecord, self: PeerId): ContainerId | undefined {
  const key = parseRecordKey(record.key);
  if (key?.family !== "host" || key.peer !== self || (key.kind !== "claim" && key.kind !== "phase")) return undefined;
  return isContainerId(key.id) ? key.id : undefined;
}

/** Containers that this host has claimed, gone ones among them. */
export function claimedHere(replica: Replica): readonly ContainerId[] {
  const prefix = `host/${replica.self}/${replica.zone}/claim/`;
  return replica
    .list(prefix)
    .map((record) => record.key.slice(prefix.length))
    .filter(isContainerId);
}

/**
 * What this host's claim on a container takes: read from the request in its warrant, else from the container's record.
 * Undefined: there is no claim, or the container is gone (the final phase) or has given way (`yielded`): both are written
 * when its process and its disk are no longer there. Until then a beaten claim counts too.
 */
export function countedNeeds(id: ContainerId, parts: Pick<PlacementParts, "replica" | "requests" | "view">): Needs | undefined {
  const { replica, requests, view } = parts;
  const claim = countedClaim(id, replica);
  if (claim === undefined) return undefined;
  const needs = needsOfClaims.get(claim) ?? needsIn(requestOf(claim.content), requests);
  if (needs === undefined) return needsIn(view.container(id)?.request, requests) ?? { memoryBytes: 0, diskBytes: 0, cpuShares: 0 };
  needsOfClaims.set(claim, needs);
  return needs;
}

function countedClaim(id: ContainerId, replica: Replica): StoredRecord | undefined {
  const claim = replica.get(hostKey(replica.self, replica.zone, "claim", id));
  const phase = replica.get(hostKey(replica.self, replica.zone, "phase", id));
  if (claim === undefined || claim.final || phase?.final === true) return undefined;
  return phase !== undefined && readPhase(phase.content)?.phase === "yielded" ? undefined : claim;
}

/** Containers that this host's counted claims have for each volume, whoever may see those containers: ended ones too. */
export function volumeUsesHere(parts: Pick<PlacementParts, "replica" | "requests">): ReadonlyMap<VolumeId, readonly ContainerId[]> {
  const uses = new Map<VolumeId, ContainerId[]>();
  for (const id of claimedHere(parts.replica)) {
    const claim = countedClaim(id, parts.replica);
    if (claim === undefined) continue;
    const volumes = volumesOfClaims.get(claim) ?? volumesIn(claim, parts.requests);
    volumesOfClaims.set(claim, volumes);
    for (const volume of volumes) uses.set(volume, [...(uses.get(volume) ?? []), id]);
  }
  return uses;
}

const volumesOfClaims = new WeakMap<StoredRecord, readonly VolumeId[]>();

function volumesIn(claim: StoredRecord, requests: PlacementParts["requests"]): readonly VolumeId[] {
  const request = requestOf(claim.content);
  const asked = request === undefined ? undefined : requests.read(request);
  return asked?.ok === true ? asked.value.requirements.volumes : [];
}

/** A claim's warrant never changes: counted again at each of its phases, it is read once. */
const needsOfClaims = new WeakMap<StoredRecord, Needs>();

function needsIn(request: SignedRequest | undefined, requests: PlacementParts["requests"]): Needs | undefined {
  const asked = request === undefined ? undefined : requests.read(request);
  return asked?.ok === true ? needsOf(asked.value.requirements) : undefined;
}

/** Reads a phase; undefined for what is none. */
export function readPhase(content: Uint8Array): Phase | undefined {
  try {
    return fromBinary(PhaseSchema, content);
  } catch {
    return undefined; // Not this message: nothing is known from it.
  }
}

/** Reads a claim; undefined for what is none. */
export function readClaim(content: Uint8Array): Claim | undefined {
  try {
    return fromBinary(ClaimSchema, content);
  } catch {
    return undefined; // Not this message: nothing is known from it.
  }
}

function requestOf(content: Uint8Array): SignedRequest | undefined {
  const warrant = readClaim(content)?.warrant?.kind;
  if (warrant?.case !== "award" || warrant.value.request === undefined) return undefined;
  try {
    return fromBinary(StampedRequestSchema, fromBinary(RecordPayloadSchema, warrant.value.request.payload).content).request;
  } catch {
    return undefined; // The same.
  }
}

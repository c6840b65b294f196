import { fromBinary } from "@bufbuild/protobuf";
import { type Claim, ClaimSchema, RecordPayloadSchema, type SignedRequest, StampedRequestSchema } from "../api/gen/cc/v1/records_pb.ts";
import { type ContainerId, isContainerId, type PeerId } from "../base/index.ts";
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
 * Undefined: there is no claim, or the container is gone (the final phase), with all that belonged to it. A claim
 * that gave way counts too, until then: its disk and its process may still be there.
 */
export function countedNeeds(id: ContainerId, parts: Pick<PlacementParts, "replica" | "requests" | "view">): Needs | undefined {
  const { replica, requests, view } = parts;
  const claim = replica.get(hostKey(replica.self, replica.zone, "claim", id));
  if (claim === undefined || claim.final || replica.get(hostKey(replica.self, replica.zone, "phase", id))?.final === true) return undefined;
  const request = requestOf(claim.content) ?? view.container(id)?.request;
  const asked = request === undefined ? undefined : requests.read(request);
  return asked?.ok === true ? needsOf(asked.value.requirements) : { memoryBytes: 0, diskBytes: 0, cpuShares: 0 };
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

import { create } from "@bufbuild/protobuf";
import { type AwardReply, type AwardRequest, AwardRequestSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import { asCcError, assertNever, type ContainerId, type ErrorCode, isErrorCode, isZone, type PeerId, type Zone } from "../base/index.ts";
import { hostKey, type StoredRecord } from "../state/index.ts";
import { AWARD_CALL_MS, afterSilence } from "./after-award.ts";
import type { Unsettled } from "./attempts.ts";
import { isDeclineOf } from "./award.ts";
import type { Bell } from "./bell.ts";
import type { Holder } from "./holder.ts";
import type { PlacementParts } from "./ports.ts";

/** How an award ended for its requester. */
export type TripEnd =
  | { readonly kind: "taken"; readonly records: readonly StoredRecord[]; readonly copies: number }
  | { readonly kind: "declined"; readonly code: ErrorCode; readonly reason: string }
  /** It lapsed and its host is unreachable: the next may be awarded. */
  | { readonly kind: "passed-over" }
  | { readonly kind: "unknown" };

const REASON_CHARACTERS_MAX = 500;

/**
 * Carries one award to its host until it is taken or declined, or may be passed over, or four seconds have gone. The same
 * bytes every time: whoever gets them twice gives the same answer.
 */
export async function carryAward(id: ContainerId, award: Unsettled, parts: PlacementParts, holder: Holder, bell: Bell): Promise<TripEnd> {
  const { clock, liveness, mesh } = parts;
  const message = create(AwardRequestSchema, { award: award.award });
  const to = award.holding.holder;
  const sinceMs = clock.monotonicMs();
  const asked = new Set<PeerId>();
  const never = new AbortController().signal;
  let through: PeerId | undefined;
  for (;;) {
    const end = await sendAward(id, award, message, through, parts, holder);
    if (end !== undefined) return end;
    const triedAtMs = clock.monotonicMs();
    const triedDirectly = through === undefined;
    for (;;) {
      // This host's own disk may fail to answer, but the host is there.
      const { standing, seenBy } = to === mesh.self ? { standing: "alive" as const, seenBy: [] } : liveness.of(to);
      const others = seenBy.filter((peer) => peer !== mesh.self && peer !== to && !asked.has(peer) && liveness.of(peer).standing !== "unreachable");
      const step = afterSilence(
        { sinceMs, bidAtMs: award.bidAtMs, bidValidMs: award.bidValidMs, standing, through: others, triedAtMs, triedDirectly },
        clock.monotonicMs(),
      );
      if (step.do === "wait") {
        await bell.wait(step.untilMs, never);
        // The claim may have come by gossip while its reply was lost.
        const seen = claimOf(id, award, parts);
        // Gossip is faster than the holder's disk: only this one is known to have it.
        if (seen !== undefined) return { kind: "taken", records: [seen], copies: 1 };
        continue;
      }
      if (step.do === "next") return { kind: "passed-over" };
      if (step.do === "unknown") return { kind: "unknown" };
      if (step.do !== "again") return assertNever(step);
      through = step.through;
      if (through !== undefined) asked.add(through);
      break;
    }
  }
}

/** One attempt; undefined: no answer that can be believed. */
async function sendAward(
  id: ContainerId,
  award: Unsettled,
  message: AwardRequest,
  through: PeerId | undefined,
  parts: PlacementParts,
  holder: Holder,
): Promise<TripEnd | undefined> {
  const { mesh, logger } = parts;
  const to = award.holding.holder;
  try {
    if (to === mesh.self) {
      const { reply, copies } = await holder.awardOwn(message);
      return reply.taken ? { kind: "taken", records: ownRecords(id, parts), copies } : declined(id, award, reply, parts);
    }
    const reply = await mesh.call(through ?? to, "awardContainer", message, { timeoutMs: AWARD_CALL_MS });
    return reply.taken ? await takeClaim(id, award, reply, parts) : declined(id, award, reply, parts);
  } catch (thrown) {
    logger.warn({ container: id, host: to, through, code: asCcError(thrown).code }, "no answer to an award");
    return undefined;
  }
}

/** Requester and holder both have request and claim on disk before anything is acknowledged. */
async function takeClaim(id: ContainerId, award: Unsettled, reply: AwardReply, parts: PlacementParts): Promise<TripEnd | undefined> {
  const { taken } = await parts.replica.take(reply.frames, award.holding.holder);
  const claim = claimOf(id, award, parts);
  if (claim === undefined) {
    parts.logger.warn({ container: id, host: award.holding.holder }, "an award was said to be taken, without a claim that counts");
    return undefined;
  }
  return { kind: "taken", records: taken.length > 0 ? taken : [claim], copies: 2 };
}

function declined(id: ContainerId, award: Unsettled, reply: AwardReply, parts: PlacementParts): TripEnd | undefined {
  if (!isDeclineOf({ id, ...award.holding }, reply, parts.verifier)) return undefined;
  return { kind: "declined", code: isErrorCode(reply.code) ? reply.code : "CONFLICT", reason: reply.reason.slice(0, REASON_CHARACTERS_MAX) };
}

/** The awarded host's claim, where the replica has it. */
function claimOf(id: ContainerId, award: Unsettled, parts: PlacementParts): StoredRecord | undefined {
  const zone = zoneOf(award.holding.holder, parts);
  const claim = zone === undefined ? undefined : parts.replica.get(hostKey(award.holding.holder, zone, "claim", id));
  // A host's word alone is no claim: the view counts it only with its warrant.
  return claim !== undefined && parts.view.container(id)?.best !== undefined ? claim : undefined;
}

function ownRecords(id: ContainerId, parts: PlacementParts): StoredRecord[] {
  const { self, zone } = parts.replica;
  return [parts.replica.get(hostKey(self, zone, "claim", id))].filter((record) => record !== undefined);
}

function zoneOf(peer: PeerId, parts: PlacementParts): Zone | undefined {
  const zone = parts.view.hosts().find((host) => host.peer === peer)?.zone;
  return zone !== undefined && isZone(zone) ? zone : undefined;
}

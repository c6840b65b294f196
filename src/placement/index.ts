/**
 * Which host runs a container, without anybody who decides for all.
 *
 * The peer that a user asked (the requester) publishes the signed request as a bid request; every host answers with a
 * price or a reason (bid.ts), out of what it knows itself. As soon as all have answered, at 50 ms at the latest, the
 * best is awarded (awaited.ts, choose-award.ts). A bid reserves nothing: the awarded host checks its room and takes it in one
 * step (capacity.ts), fsyncs the user's request and its own claim together, and answers with them (holder-awards.ts). The
 * requester stores both before it acknowledges anything. Silence is never taken for 'no' (after-award.ts).
 *
 * Two halves, which share what this peer is at work on (attempts.ts): requester.ts and attempt.ts ask and award, holder.ts
 * with holder-bids.ts and holder-awards.ts answers and claims. Decisions stand in files of their own, without effects.
 *
 * Rejected: a scheduler or a leader (a mesh of two must place while one is down); reservations in bids (they need
 * timers, and a timer ends in the middle of a slow pull); waiting for silent hosts before a first award (one dying host
 * would slow every start down); a second stamp when the first host declines (of two stamps of one request the lower
 * counts, so a declining host could void the other's); believing 'have it', 'name taken' and 'at work on it' without the records or the
 * signed request that prove it (one lying host could stop everybody).
 */
import { Attempts } from "./attempts.ts";
import { Holder } from "./holder.ts";
import type { PlacementParts } from "./ports.ts";
import { Requester } from "./requester.ts";

export type { Holding } from "../state/index.ts";
export { containerIdOf } from "../state/index.ts";
export { openAward } from "./award.ts";
export type { PriceTerms } from "./bid.ts";
export type { DeclaredCapacity, UsedCapacity } from "./capacity.ts";
export { volumeUsesHere } from "./counted-claims.ts";
export type { Holder } from "./holder.ts";
export { NameHolds } from "./name-holds.ts";
export type { NotPlaced, Placed, PlacementOutcome } from "./outcome.ts";
export type {
  GiveWay,
  KnownContainer,
  NetworkAsked,
  NetworkHere,
  OwnHost,
  PlacementParts,
  PlacementView,
  RunAsked,
  RunRequests,
  VolumesHere,
} from "./ports.ts";
export type { Requester } from "./requester.ts";
export type { KnownHost, Needs, Requirements } from "./requirements.ts";

/** Both halves of one peer. `start` once the replica is ready; `start` and `stop` may be repeated. */
export type Placement = { readonly requester: Requester; readonly holder: Holder; start(): void; stop(): void };

export function createPlacement(parts: PlacementParts): Placement {
  const attempts = new Attempts();
  const holder = new Holder(parts, attempts);
  const requester = new Requester(parts, attempts, holder);
  return {
    requester,
    holder,
    start: () => {
      holder.start();
      requester.start();
    },
    stop: () => {
      requester.stop();
      holder.stop();
    },
  };
}

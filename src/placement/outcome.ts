import type { BidAnswer } from "../api/gen/cc/v1/cloud_pb.ts";
import { type ContainerId, type ErrorCode, type Refusal, refuse } from "../base/index.ts";
import type { Holding, StoredRecord } from "../state/index.ts";
import { explainRefusal } from "./explain.ts";

export type Placed = {
  readonly ok: true;
  readonly id: ContainerId;
  readonly holding: Holding;
  /** Disks that have request and claim fsynced, as far as this peer knows. */
  readonly copies: number;
  /** What this call wrote, for the caller's list of its last writes; empty where the container was there already. */
  readonly records: readonly StoredRecord[];
  readonly answers: readonly BidAnswer[];
};
export type NotPlaced = Refusal & { readonly answers: readonly BidAnswer[] };
export type PlacementOutcome = Placed | NotPlaced;

export function notPlaced(code: ErrorCode, message: string, answers: readonly BidAnswer[] = []): NotPlaced {
  return { ...refuse(code, message), answers };
}

/** A round's refusal in one sentence. `rows`: the hosts that might have taken it. */
export function refusalMessage(
  code: ErrorCode,
  about: { readonly name: string; readonly otherId: ContainerId | undefined; readonly rows: readonly BidAnswer[] },
): string {
  if (code === "NAME_TAKEN") return `the name ${about.name} is taken by ${about.otherId}; choose another, or remove that container first`;
  if (code === "NAME_HELD")
    return `another create (${about.otherId}) is using the name ${about.name} at this moment; try again in ten seconds or choose another name`;
  return `no host can take the container: ${explainRefusal(about.rows)}`;
}

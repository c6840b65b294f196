import type { Observation } from "../api/gen/cc/v1/mesh_pb.ts";
import { CcError, isPeerId, type PeerId } from "../base/index.ts";
import type { Life } from "./verdict.ts";

/** Words about more hosts than a mesh has are not read. */
const OPINIONS_MAX = 1_024;

/** An Observation that passed the edge. */
export type Heard = {
  readonly timeMs: number;
  readonly life: Life;
  readonly withholds: boolean;
  readonly accused: ReadonlyMap<PeerId, Life>;
  readonly highestOfYoursKey: string;
  readonly highestStartOfYours: number;
  readonly digest: Uint8Array;
};

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/** Throws BAD_REQUEST for numbers that are none; words that make no sense are left out. */
export function readObservation(observation: Observation): Heard {
  const { timeMs, startNumber, incarnation, highestStartOfYours } = observation;
  if (!Number.isFinite(timeMs) || !isCount(startNumber) || !isCount(incarnation) || !isCount(highestStartOfYours)) {
    throw new CcError("BAD_REQUEST", "an observation's numbers are out of range");
  }
  const accused = new Map<PeerId, Life>();
  for (const opinion of observation.opinions.slice(0, OPINIONS_MAX)) {
    if (!isPeerId(opinion.peer) || !isCount(opinion.startNumber) || !isCount(opinion.incarnation)) continue;
    accused.set(opinion.peer, { startNumber: opinion.startNumber, incarnation: opinion.incarnation });
  }
  return {
    timeMs,
    life: { startNumber, incarnation },
    withholds: observation.withholds,
    accused: observation.withholds ? new Map() : accused,
    highestOfYoursKey: observation.highestOfYoursKey,
    highestStartOfYours,
    digest: observation.digest,
  };
}

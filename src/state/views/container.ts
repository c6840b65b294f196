import type { ContainerSpec } from "../../api/gen/cc/v1/cloud_pb.ts";
import type { Phase } from "../../api/gen/cc/v1/records_pb.ts";
import type { ContainerId, KeyId, PeerId } from "../../base/index.ts";
import type { SignedRequest } from "../../identity/index.ts";
import type { CountedClaim, CreateRead } from "./claims.ts";
import type { Wanted } from "./wanted.ts";

export type Holding = { readonly holder: PeerId; readonly epoch: number };

/** One container, as all records together say. */
export type ContainerView = {
  readonly id: ContainerId;
  readonly name: string;
  /** Of its create's record. */
  readonly zone: string;
  /** The create: that of the claim that counts. */
  readonly request: SignedRequest;
  readonly spec: ContainerSpec;
  readonly keyId: KeyId;
  readonly createdAtMs: number;
  /** The claim that counts; undefined: its holder was removed, or all gave way. It is lost. */
  readonly best: Holding | undefined;
  /** What its holder says of it; undefined: nothing yet. */
  readonly phase: Phase | undefined;
  /** What users asked for since it was made; undefined: nothing, it is to run. */
  readonly wanted: Wanted | undefined;
  /** Every claim that counts, the best first. */
  readonly claims: readonly CountedClaim[];
  /** Of all claims that count, given-way and removed hosts' ones too: the next claim is above. */
  readonly highestEpoch: number;
  /** A user removed it. */
  readonly removed: boolean;
  /** A user removed it, or its holder did as its spec allows. Ids never come back. */
  readonly gone: boolean;
};

/** How long an ended container is kept where its spec says nothing. */
const KEEP_ENDED_MS_DEFAULT = 24 * 3_600_000;

const ENDED = new Set(["ended", "gone"]);

/**
 * The best of several claims: the highest epoch; of equals one that ended by itself or by its user (a finished job is not
 * run again), then the lower peer id. Who gave way never counts; of removed hosts only what ended.
 */
function rankClaims(claims: readonly CountedClaim[]): readonly CountedClaim[] {
  const hasEnded = ({ phase }: CountedClaim): boolean => phase !== undefined && ENDED.has(phase.phase);
  return claims
    .filter((claim) => claim.phase?.phase !== "yielded" && (!claim.past || hasEnded(claim)))
    .sort((a, b) => b.epoch - a.epoch || Number(hasEnded(b)) - Number(hasEnded(a)) || (a.holder < b.holder ? -1 : 1));
}

/** Undefined: no claim of it counts and none ever did here. `creates` are those that count. */
export function deriveContainer(
  id: ContainerId,
  claims: readonly CountedClaim[],
  creates: readonly CreateRead[],
  wanted: Wanted | undefined,
): ContainerView | undefined {
  const ranked = rankClaims(claims);
  const [best] = ranked;
  const create = best?.create ?? oldest(claims.map((claim) => claim.create)) ?? undefined;
  if (create === undefined || create.run.spec === undefined) return undefined;
  const first = oldest([create, ...creates, ...claims.map((claim) => claim.create)]) ?? create;
  const { spec } = create.run;
  return {
    id,
    name: spec.name,
    zone: create.record.key.split("/")[1] ?? "",
    request: create.request,
    spec,
    keyId: create.keyId,
    createdAtMs: first.record.version.major,
    best: best === undefined ? undefined : { holder: best.holder, epoch: best.epoch },
    phase: best?.phase,
    wanted,
    claims: [...ranked, ...claims.filter((claim) => !ranked.includes(claim))],
    highestEpoch: claims.reduce((highest, { epoch }) => Math.max(highest, epoch), 0),
    removed: wanted?.kind === "removed",
    gone: wanted?.kind === "removed" || (best?.phase?.phase === "gone" && mayGo(spec, best.phase, wanted)),
  };
}

/** Whether its holder may remove it without being asked: `--rm`, or it ended by itself and was kept as long as its spec says. */
function mayGo(spec: ContainerSpec, phase: Phase, wanted: Wanted | undefined): boolean {
  if (spec.removeWhenEnded) return true;
  if (wanted?.kind === "stopped" || phase.endedAtMs <= 0) return false;
  return phase.changedAtMs >= phase.endedAtMs + (spec.keepEndedMs > 0 ? spec.keepEndedMs : KEEP_ENDED_MS_DEFAULT);
}

function oldest(creates: readonly CreateRead[]): CreateRead | undefined {
  return creates.reduce<CreateRead | undefined>(
    (first, create) => (first === undefined || create.record.version.major < first.record.version.major ? create : first),
    undefined,
  );
}

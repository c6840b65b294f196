import { createHash } from "node:crypto";
import type { VpcId } from "../base/index.ts";

/** Candidates that a VPC tries before it gives up: with 16 million VNIs nobody gets that far. */
const CANDIDATES_MAX = 64;
const VNI_BYTES = 3;

/** The hashes that a VPC may be known by on the wire, in the order in which it tries them: 24 bits, never 0. */
export function* vniCandidates(id: VpcId): Generator<number> {
  for (let at = 0; at < CANDIDATES_MAX; at += 1) {
    const vni = createHash("sha256").update(`cc-vni-1\n${id}\n${at}`).digest().readUIntBE(0, VNI_BYTES);
    if (vni > 0) yield vni;
  }
}

/** The first candidate that none of the known VPCs has. */
export function freeVni(id: VpcId, taken: ReadonlySet<number>): number | undefined {
  for (const vni of vniCandidates(id)) if (!taken.has(vni)) return vni;
  return undefined;
}

type Aged = { readonly id: VpcId; readonly vni: number; readonly createdAtMs: number };

/** Every VPC's VNI: as stamped, but where two made in a cut share one, the younger takes the next hash. */
export function assignVnis(vpcs: readonly Aged[]): ReadonlyMap<VpcId, number> {
  const assigned = new Map<VpcId, number>();
  const taken = new Set<number>();
  for (const { id, vni } of [...vpcs].sort((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1))) {
    const free = taken.has(vni) ? freeVni(id, taken) : vni;
    if (free === undefined) continue;
    assigned.set(id, free);
    taken.add(free);
  }
  return assigned;
}

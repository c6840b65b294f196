import type { ContainerId } from "../../../src/base/index.ts";
import { containerIdOf, type StoredRecord, userKey } from "../../../src/state/index.ts";
import { stampedBy } from "../state/fixtures.ts";
import { asks, keyId, NOW, runFields, ZONE } from "../state/view-fixtures.ts";

const MIB = 1024 ** 2;
/** A spec that the API takes, with a token that it takes too: this peer reads requests by its own rules. */
const SPEC = { memoryBytes: 16 * MIB, diskBytes: 16 * MIB, cpuShares: 2 };

export const tokenOf = (name: string): string => `token-of-${name}`;
export const idOf = (name: string): ContainerId => containerIdOf(keyId("ann"), tokenOf(name));

/** The stamped create of ann's container of that name. */
export function creates(name: string, spec: object = {}): StoredRecord {
  return stampedBy("peer 1", userKey(ZONE, "container", idOf(name)), asks("Run", runFields(name, tokenOf(name), { ...SPEC, ...spec })), NOW);
}

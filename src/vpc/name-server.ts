import type { VpcId } from "../base/index.ts";
import type { NameTable } from "./names.ts";

/**
 * Answers the names of this host's VPCs, in a process of its own: thousands of questions a second do not keep the peer's
 * loop busy, and what arrives from containers is read by a program that may do nothing. The calls return at once; what
 * was set holds however often the process has to be started again.
 */
export interface NameServer {
  /** A table is about to come: has the process ready by then. Without one it ends again after a while. */
  start(): void;
  /** From now on this is answered for its VPC. The first one starts the process, when nobody has. */
  set(table: NameTable): void;
  /** The VPC's queries get no answer any more. When the last goes, so does the process, after a while. */
  remove(vpc: VpcId): void;
  /** Whom it asks for what it does not know: the host's resolvers in their order, also those on the host's loopback. */
  nameservers(addresses: readonly string[]): void;
  /** Resolves when the VPC's last table is answered from, or was removed; rejects with the signal's reason. */
  answering(vpc: VpcId, signal: AbortSignal): Promise<void>;
  /** Ends the process, for good. */
  stop(): Promise<void>;
}

/** Waits before the process is started again: hardly any at first, since nobody finds anything meanwhile. */
const RESTART_FIRST_MS = 100;
const RESTART_LONGEST_MS = 30_000;

/** `failures` in a row, from 1; `chance` in [0, 1). */
export function restartDelayMs(failures: number, chance: number): number {
  return Math.round(Math.min(RESTART_LONGEST_MS, RESTART_FIRST_MS * 2 ** (failures - 1)) * (1 - chance / 4));
}

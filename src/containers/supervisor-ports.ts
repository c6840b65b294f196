import type { ContainerId } from "../base/index.ts";
import type { ContainerSpec } from "./spec.ts";

/** What a container on this host is to be; the composition derives it from records. Only what is listed is touched. */
export type Desired = {
  readonly spec: ContainerSpec;
  readonly image: { readonly reference: string; readonly digest?: string; readonly credentials?: { readonly user: string; readonly password: string } };
  readonly wanted: Wanted;
  /** Version of the user's record behind `wanted`: every report says which one it answers. */
  readonly version: WantedVersion;
};

export type WantedVersion = { readonly major: number; readonly minor: number };

export type Wanted =
  /** To run, started once for this token (without `~`); another token than the running one's is a restart. */
  | { readonly kind: "running"; readonly runToken: string }
  /** `timeoutMs` undefined: the spec's. */
  | { readonly kind: "stopped"; readonly timeoutMs: number | undefined }
  /** Gone for good, by the user's removal or because a better claim is known. `timeoutMs` 0: killed at once. */
  | { readonly kind: "removed"; readonly as: "gone" | "yielded"; readonly timeoutMs: number };

export type PhaseName = "claimed" | "pulling" | "starting" | "running" | "stopping" | "backoff" | "ended" | "failed" | "yielded" | "gone";

/** What is said of a container after a change: the fields of the contract's Phase that this host knows. Times in ms since the epoch, 0: not yet. */
export type PhaseReport = {
  readonly phase: PhaseName;
  /** `CODE: sentence` when failed or before a further try, `oom`, `stopped` or `unknown` when ended. */
  readonly reason: string;
  readonly exitCode: number | undefined;
  readonly restarts: number;
  readonly changedAtMs: number;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly imageDigest: string;
  /** The last token that was acted on; empty before the first start. */
  readonly runToken: string;
  /** Those that were acted on before it, the latest first, at most 16. */
  readonly earlierRunTokens: readonly string[];
  readonly wanted: WantedVersion;
};

/** Where the supervisor learns what should be, and tells what is. */
export interface DesiredContainers {
  /** A container's object stays the same one until something that is known of the container changes: then its worker looks again. */
  all(): readonly Desired[];
  /** Whether it is known that this container is not to be on this host any more: removed, gone, or given way. */
  isOver(id: ContainerId): boolean;
  /** Calls `fire` after `all` has changed. Gives a function that ends it. */
  onChange(fire: () => void): () => void;
  /** The last report of this container, also from before this process. */
  lastPhase(id: ContainerId): PhaseReport | undefined;
  /** Resolves when it is stored. */
  report(id: ContainerId, phase: PhaseReport): Promise<void>;
  /** The last look for a better claim before a process is started. */
  mayStart(id: ContainerId, signal: AbortSignal): Promise<boolean>;
}

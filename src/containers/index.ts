/**
 * Containers on one host: what a container is to be (spec), what it is made of (OCI bundle), who keeps it as it should
 * be (supervisor), and who really runs it (ContainerRuntime; here crun under conmon).
 *
 * Decisions are pure: `specFromRequest` checks a user's message and fills in defaults; `resolveUser`, `processArgs`,
 * `processEnv` and `ociConfig` make the bundle as Docker's habits and the OCI specs have it; `planContainer`,
 * `planSupervision` and `planStop` say what to do next. The driver does it: a disk (ext4 in a sparse file) under an overlay of the
 * image's layers, a network namespace inside the host's one user namespace, conmon as the parent that outlives the
 * peer. A start is remembered by its run token before the process may exist, so it happens once, whoever dies.
 *
 * Output: conmon's log is the history, never copied. It discards its whole file at its size limit, so each file that it
 * begins gets a second name, the position of its first byte, and its front is cut away with holes. Positions
 * stay for ever; readers pull. While the peer is away nobody gives names: of what a container writes then, the
 * last 32 MiB (or the log's whole limit, where larger) and what was there when the peer died are kept.
 *
 * Rejected: a daemon that holds the pipes of containers (they would die with the peer); copying conmon's log into one of
 * ours (each byte written twice, and a second position to keep in step); crun's own `run --detach` without conmon (14 ms
 * sooner, but nobody keeps exit code and output); project quotas (not on every kernel) for `--disk`; more than one spare
 * disk and namespace (they help who starts one container and waits; who starts twenty at once waits for the processors).
 */
export * from "./bundle.ts";
export { type CrunConmon, type CrunConmonDeps, type CrunConmonSettings, openCrunConmon } from "./drivers/crun-conmon.ts";
export * from "./exec.ts";
export type { ContainerMetrics } from "./metrics.ts";
export * from "./networks.ts";
export * from "./plan-container.ts";
export * from "./runtime.ts";
export * from "./spec.ts";
export * from "./spec-from-request.ts";
export * from "./supervision.ts";
export * from "./supervisor.ts";
export * from "./supervisor-ports.ts";
export * from "./user.ts";
export * from "./volume-mounts.ts";

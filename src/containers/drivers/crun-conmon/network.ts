import { stat } from "node:fs/promises";
import { CcError, type ContainerId } from "../../../base/index.ts";
import type { JoinedNetwork } from "../../networks.ts";
import type { Context } from "./context.ts";
import { networkScript } from "./scripts.ts";

const SCRIPT_MS_MAX = 60_000;

/** The container's network namespace, pinned, and on its way into its VPC. */
export async function prepareNetwork(context: Context, id: ContainerId, mounted: ReadonlySet<string>): Promise<JoinedNetwork | undefined> {
  if (!mounted.has(context.paths.network(id))) await pinNetwork(context, id);
  return context.deps.networks.join(id, context.paths.network(id));
}

async function pinNetwork(context: Context, id: ContainerId): Promise<void> {
  const { paths } = context;
  if (!(await context.spares.takeNetwork(paths.network(id)))) await makeNetwork(context, id);
  // Were it the host's by any mishap, crun would join that in silence, with the host's /sys.
  const [made, own] = await Promise.all([stat(paths.network(id)), stat("/proc/self/ns/net")]);
  if (made.ino === own.ino) throw new CcError("CONTAINER_FAILED", "the container's network namespace is the host's own; nothing was started");
}

async function makeNetwork({ paths, deps }: Context, id: ContainerId): Promise<void> {
  const outcome = await deps.network.run(networkScript(deps.userNamespace.path, paths.network(id)), { timeoutMs: SCRIPT_MS_MAX });
  if (outcome.exitCode !== 0) throw new CcError("CONTAINER_FAILED", `the container's network namespace cannot be made: ${outcome.stdout.trim()}`);
}

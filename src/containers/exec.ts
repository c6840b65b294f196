import type { ExecRequest } from "../api/gen/cc/v1/cloud_pb.ts";
import { ok, type Result, refuse } from "../base/index.ts";
import { capabilitiesOf, ociUser } from "./bundle.ts";
import { processDir } from "./process.ts";
import { type ProcessWords, refuseProcess } from "./process-words.ts";
import type { ResolvedUser } from "./user.ts";

/** One more process in a running container, checked. `user` and `dir` empty: the container's own. */
export type ExecSpec = ProcessWords & { readonly stdin: boolean };

/**
 * So many at once in one container: each holds three processes and five pipes on its host, and a script that starts them
 * without end is to fail before the host does.
 */
export const EXECS_MAX = 64;

export function execFromRequest(message: ExecRequest): Result<ExecSpec> {
  const { command, env, user, dir, stdin } = message;
  if (command.length === 0) return refuse("BAD_REQUEST", "no command was given; name what to run after the container");
  const refusal = refuseProcess({ command, env, user, dir });
  if (refusal !== undefined) return refusal;
  return ok({ command: [...command], env: { ...env }, user, dir, stdin });
}

/** The part of a bundle's config.json that a further process takes over. */
export type OciProcess = { readonly env: readonly string[]; readonly cwd: string } & Readonly<Record<string, unknown>>;

/**
 * The process as the runtime is told of it: the container's own with other words, so that nothing which holds that one in
 * (limits, no new privileges) can be forgotten here. `user` undefined: the container's own; another one gets its own HOME.
 */
export function execProcess(own: OciProcess, exec: ExecSpec, user: ResolvedUser | undefined): OciProcess {
  const env = new Map(own.env.map((entry): [string, string] => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]));
  if (user !== undefined) env.set("HOME", user.home);
  for (const [name, value] of Object.entries(exec.env)) env.set(name, value);
  return {
    ...own,
    args: exec.command,
    env: [...env].map(([name, value]) => `${name}=${value}`),
    cwd: processDir(exec.dir, own.cwd),
    ...(user === undefined ? {} : { user: ociUser(user), capabilities: capabilitiesOf(user.uid) }),
  };
}

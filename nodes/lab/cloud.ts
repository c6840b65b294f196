import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CcError } from "../../src/base/index.ts";
import { endpointOf, type HostContext } from "./hosts.ts";
import type { HostPlan } from "./layout.ts";
import { run } from "./machine.ts";
import type { AdminSettings } from "./state-file.ts";

/** The lab's own calls of `cc`, as the mesh's first admin. */
const ALL_KNOW_ALL_MS = 60_000;
const POLL_MS = 150;

/** Environment with which `cc` reaches a host's peer. What it remembers of its writes stays in the lab's folder. */
export function ccEnvironment(folder: string, admin: AdminSettings, host: HostPlan): Record<string, string> {
  return {
    CC_ENDPOINT_URL: endpointOf(host),
    CC_ACCESS_TOKEN: admin.accessToken,
    CC_SECRET_KEY: `@${admin.secretKeyFile}`,
    XDG_CONFIG_HOME: join(folder, "admin/config"),
    XDG_STATE_HOME: join(folder, "admin/state"),
  };
}

export async function createInvite(context: HostContext, admin: AdminSettings, first: HostPlan, zone: string): Promise<string> {
  const env = ccEnvironment(context.layout.folder, admin, first);
  const outcome = await run([context.programs.cc, "host", "invite", "--zone", zone], { signal: context.signal, env });
  return outcome.stdout.trim();
}

/** Which hosts a list of `cc host list --json` calls alive, by name. */
export function aliveHosts(listing: string): string[] {
  const hosts: unknown = JSON.parse(listing);
  if (!Array.isArray(hosts)) return [];
  return hosts.filter((host: { state?: unknown }) => host.state === "alive").map((host: { name?: unknown }) => String(host.name));
}

/** Returns when every peer says that every host is alive. */
export async function waitUntilAllKnowAll(context: HostContext, admin: AdminSettings, hosts: readonly HostPlan[]): Promise<void> {
  const startedMs = performance.now();
  let said = "";
  for (const host of hosts) {
    for (;;) {
      const outcome = await listHosts(context, admin, host);
      if (outcome.length === hosts.length) break;
      said = `${host.name} knows ${outcome.length === 0 ? "nobody" : outcome.join(", ")}`;
      if (performance.now() - startedMs > ALL_KNOW_ALL_MS) throw new CcError("TIMEOUT", `after ${ALL_KNOW_ALL_MS / 1000} s not all hosts know all: ${said}`);
      await pause(POLL_MS, undefined, { signal: context.signal });
    }
  }
}

async function listHosts(context: HostContext, admin: AdminSettings, host: HostPlan): Promise<string[]> {
  const env = ccEnvironment(context.layout.folder, admin, host);
  return aliveHosts((await run([context.programs.cc, "host", "list", "--json"], { signal: context.signal, env })).stdout);
}

import type { CloudClient } from "../src/api/client.ts";
import type { Kind } from "./names.ts";

/** How each kind of thing is asked for: a kind more is a line more. */
export const LIVE_NAMES: { readonly [K in Kind]: (client: CloudClient) => Promise<readonly string[]> } = {
  container: async (client) => (await client.call("ListContainers", { all: true })).containers.map(({ name, id }) => name || id),
  host: async (client) => (await client.call("ListHosts", {})).hosts.flatMap(({ name, state }) => (state === "removed" || name === "" ? [] : [name])),
  key: async (client) => (await client.call("ListKeys", {})).keys.flatMap(({ name, id, revoked }) => (revoked ? [] : [name || id])),
  vpc: async (client) => (await client.call("ListVpcs", {})).vpcs.map(({ name, id }) => name || id),
  firewall: async (client) => (await client.call("ListFirewallRules", {})).rules.map(({ id }) => id),
  volume: async (client) => (await client.call("ListVolumes", {})).volumes.map(({ name, id }) => name || id),
};

import type { CloudClient } from "../src/api/client.ts";
import type { ItemError } from "../src/api/client-messages.ts";
import { isContainerId, isFirewallRuleId, isKeyId, isPeerId, isVolumeId, isVpcId } from "../src/base/index.ts";

export type Kind = "container" | "volume" | "vpc" | "firewall" | "host" | "key";
export type Resolved = {
  /** In the order given; each id once. `item` is what the user typed. */
  readonly found: readonly { readonly item: string; readonly id: string }[];
  /** Known to nobody who could be asked. */
  readonly absent: readonly string[];
  /** A name that two things have, and the like. */
  readonly errors: readonly ItemError[];
  /** Hosts that could not be asked about what is absent. */
  readonly notAsked: readonly string[];
};

const IS_ID = { container: isContainerId, volume: isVolumeId, vpc: isVpcId, firewall: isFirewallRuleId, host: isPeerId, key: isKeyId } as const;

/**
 * Ids of what the user named. Ids match whole and need no question; names are asked for once, so that a retry of the
 * change that follows can never hit another thing that took the name meanwhile.
 */
export async function resolveNames(client: CloudClient, kind: Kind, items: readonly string[]): Promise<Resolved> {
  const names = [...new Set(items.filter((item) => !IS_ID[kind](item)))];
  const ids = new Map<string, string>(items.filter((item) => IS_ID[kind](item)).map((item) => [item, item]));
  const errors: ItemError[] = [];
  let notAsked: readonly string[] = [];
  if (names.length > 0) {
    const reply = await client.call("Resolve", { kind, names });
    for (const [at, name] of names.entries()) if (reply.ids[at]) ids.set(name, reply.ids[at]);
    errors.push(...reply.errors.filter((error) => error.code !== "NOT_FOUND"));
    notAsked = reply.notAsked;
  }
  const seen = new Set<string>();
  const found: { item: string; id: string }[] = [];
  const absent = new Set<string>();
  for (const item of items) {
    const id = ids.get(item);
    if (id === undefined) {
      if (!errors.some((error) => error.item === item)) absent.add(item);
    } else if (!seen.has(id)) {
      seen.add(id);
      found.push({ item, id });
    }
  }
  return { found, absent: [...absent], errors, notAsked };
}

export function notFound(kind: Kind, item: string, notAsked: readonly string[]): ItemError {
  const unasked = notAsked.length > 0 ? `, nor could these hosts be asked: ${notAsked.join(", ")}` : "";
  const list = {
    container: "cc ps --all",
    volume: "cc volume list",
    vpc: "cc vpc list",
    firewall: "cc firewall list",
    host: "cc host list",
    key: "cc key list",
  }[kind];
  const word = { vpc: "VPC", firewall: "firewall rule" }[String(kind)] ?? kind;
  return { item, code: "NOT_FOUND", message: `no ${word} has the id or name ${item}${unasked}; ${list} lists them` };
}

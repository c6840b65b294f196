import type { CloudClient } from "../src/api/client.ts";
import type { ChangeReply, ItemError } from "../src/api/client-messages.ts";
import { sleep } from "../src/base/index.ts";
import { CloudCommand } from "./cloud-command.ts";
import { systemClock } from "./drivers/clock.ts";
import { type Kind, notFound, resolveNames } from "./names.ts";
import type { SettingFlags } from "./settings.ts";

/** A container's own limit may be long; whoever waits can leave with Ctrl-C, and the stop goes on. */
const STOP_MS_MAX = 3_600_000;
const STOP_LOOK_MS = 500;
const ENDED: ReadonlySet<string> = new Set(["ended", "failed", "lost", "yielded", "gone", "removed"]);

export type ChangeCall = "Stop" | "Start" | "Restart" | "Remove" | "DeleteVolumes" | "DeleteVpcs" | "RemoveFirewallRules";
type Change = {
  readonly kind: Kind;
  /** What is not there needs no removing. */
  readonly isRemoval: boolean;
  /** A name that means two things keeps the others too. */
  readonly allOrNone: boolean;
};
const OF_CONTAINERS: Change = { kind: "container", isRemoval: false, allOrNone: false };
const CHANGES: { readonly [C in ChangeCall]: Change } = {
  Stop: OF_CONTAINERS,
  Start: OF_CONTAINERS,
  Restart: OF_CONTAINERS,
  Remove: { ...OF_CONTAINERS, isRemoval: true },
  DeleteVolumes: { kind: "volume", isRemoval: true, allOrNone: true },
  RemoveFirewallRules: { kind: "firewall", isRemoval: true, allOrNone: false },
  DeleteVpcs: { kind: "vpc", isRemoval: true, allOrNone: true },
};

/** stop, start, restart, rm, volume delete and vpc delete: one call for all that are named, what was done on stdout, each failure on stderr. */
export abstract class ChangeCommand extends CloudCommand {
  protected async change(
    flags: SettingFlags & { readonly json?: boolean | undefined },
    items: readonly string[],
    call: ChangeCall,
    extra: { readonly timeoutMs?: number; readonly force?: boolean } = {},
  ): Promise<number> {
    const { client } = this.connect(flags);
    try {
      const { kind, isRemoval, allOrNone } = CHANGES[call];
      const names = await resolveNames(client, kind, items);
      const absent: ItemError[] = isRemoval ? [] : names.absent.map((item) => notFound(kind, item, names.notAsked));
      const nothing: ChangeReply = { done: [], errors: [], wrote: [], copies: 0, notAsked: [], pending: [] };
      const ids = names.found.map(({ id }) => id);
      const isNone = ids.length === 0 || (allOrNone && names.errors.length > 0);
      const reply = isNone ? nothing : await send(client, call, ids, extra);
      const slow = await this.awaitStopped(client, reply.pending);
      const itemOf = new Map(names.found.map(({ item, id }) => [id, item]));
      const errors = [...names.errors, ...absent, ...[...reply.errors, ...slow].map((error) => ({ ...error, item: itemOf.get(error.item) ?? error.item }))];
      const notAsked = [...new Set([...(isRemoval && names.absent.length > 0 ? names.notAsked : []), ...reply.notAsked])];
      const late = new Set(slow.map(({ item }) => item));
      const done = [...reply.done.filter((id) => !late.has(id)).map((id) => itemOf.get(id) ?? id), ...(isRemoval ? names.absent : [])];
      if (flags.json === true) this.printJson({ done: [...reply.done], absent: [...names.absent], errors, copies: reply.copies, notAsked });
      else for (const item of done) this.print(item);
      if (notAsked.length > 0) this.warning(`these hosts could not be asked: ${notAsked.join(", ")}; what only they know of may still be there`);
      if (reply.done.length > 0) this.reportCopies(reply.copies);
      return this.reportErrors(errors);
    } finally {
      client.close();
    }
  }

  /** A stop that takes longer than a peer waits with its answer: asked for again until it has happened. */
  private async awaitStopped(client: CloudClient, ids: readonly string[]): Promise<ItemError[]> {
    const untilMs = systemClock.monotonicMs() + STOP_MS_MAX;
    let pending = ids;
    while (pending.length > 0 && systemClock.monotonicMs() < untilMs) {
      await sleep(systemClock, STOP_LOOK_MS);
      const { containers } = await client.call("ContainerStatus", { containers: pending });
      pending = containers.flatMap(({ id, phase, wanted, hostReachable }) => (wanted === "stopped" && hostReachable && !ENDED.has(phase) ? [id] : []));
    }
    return pending.map((item) => ({ item, code: "TIMEOUT", message: "it is told to stop and has not after an hour; cc status shows it" }));
  }
}

function send(
  client: CloudClient,
  call: ChangeCall,
  ids: readonly string[],
  extra: { readonly timeoutMs?: number; readonly force?: boolean },
): Promise<ChangeReply> {
  if (call === "DeleteVolumes") return client.call(call, { volumes: ids });
  if (call === "RemoveFirewallRules") return client.call(call, { rules: ids });
  if (call === "DeleteVpcs") return client.call(call, { vpcs: ids });
  return client.call(call, { containers: ids, ...extra });
}

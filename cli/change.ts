import type { ChangeReply, ItemError } from "../src/api/client-messages.ts";
import { CloudCommand } from "./cloud-command.ts";
import { notFound, resolveNames } from "./names.ts";
import type { SettingFlags } from "./settings.ts";

export type ChangeCall = "Stop" | "Start" | "Restart" | "Remove";

/** stop, start, restart and rm: one call for all containers named, what was done on stdout, each failure on stderr. */
export abstract class ChangeCommand extends CloudCommand {
  protected async change(
    flags: SettingFlags & { readonly json?: boolean | undefined },
    items: readonly string[],
    call: ChangeCall,
    extra: { readonly timeoutMs?: number; readonly force?: boolean } = {},
  ): Promise<number> {
    const { client } = this.connect(flags);
    try {
      const names = await resolveNames(client, "container", items);
      const absent: ItemError[] = call === "Remove" ? [] : names.absent.map((item) => notFound("container", item, names.notAsked));
      const nothing: ChangeReply = { done: [], errors: [], wrote: [], copies: 0, notAsked: [] };
      const reply = names.found.length === 0 ? nothing : await client.call(call, { containers: names.found.map(({ id }) => id), ...extra });
      const itemOf = new Map(names.found.map(({ item, id }) => [id, item]));
      const errors = [...names.errors, ...absent, ...reply.errors.map((error) => ({ ...error, item: itemOf.get(error.item) ?? error.item }))];
      const notAsked = [...new Set([...(call === "Remove" && names.absent.length > 0 ? names.notAsked : []), ...reply.notAsked])];
      const done = [...reply.done.map((id) => itemOf.get(id) ?? id), ...(call === "Remove" ? names.absent : [])];
      if (flags.json === true) this.printJson({ done: [...reply.done], absent: [...names.absent], errors, copies: reply.copies, notAsked });
      else for (const item of done) this.print(item);
      if (notAsked.length > 0) this.warning(`these hosts could not be asked: ${notAsked.join(", ")}; what only they know of may still be there`);
      if (reply.done.length > 0) this.reportCopies(reply.copies);
      return this.reportErrors(errors);
    } finally {
      client.close();
    }
  }
}

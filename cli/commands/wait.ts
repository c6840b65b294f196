import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import type { CloudClient } from "../../src/api/client.ts";
import type { ContainerState, ItemError } from "../../src/api/client-messages.ts";
import { formatDuration, parseDuration } from "../../src/base/index.ts";
import { CloudCommand } from "../cloud-command.ts";
import { usable } from "../failure.ts";
import { notFound, resolveNames } from "../names.ts";

/** What a peer waits with its answer at most. */
const ASK_MS_MAX = 10_000;

export default class Wait extends CloudCommand {
  static override summary = "Wait until containers have ended for good, and print their exit codes, one a line.";
  static override examples = ["<%= config.bin %> wait job", "<%= config.bin %> wait one two --timeout 10m"];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };
  static override flags = {
    timeout: Flags.string({ char: "t", helpValue: "TIME", description: "how long at most (default: for ever)" }),
  };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(Wait);
    const limitMs = flags.timeout === undefined ? Number.POSITIVE_INFINITY : usable(parseDuration(flags.timeout));
    const { client } = this.connect(flags);
    try {
      const names = await resolveNames(client, "container", argv.map(String));
      const errors: ItemError[] = [...names.errors, ...names.absent.map((item) => notFound("container", item, names.notAsked))];
      const show = (code: number): void => void (flags.json || this.print(String(code)));
      const waited = await awaitEnds(client, names.found, limitMs, errors, show);
      const states = names.found.flatMap(({ id }) => waited.get(id) ?? []);
      for (const { id, item } of names.found) {
        const state = waited.get(id);
        if (state !== undefined && state.exitCode === undefined)
          errors.push({ item, code: "CONTAINER_FAILED", message: `nobody saw how ${item} ended; cc status ${item} shows what is known` });
      }
      if (flags.json) this.printJson(states.map(({ id, name, phase, exitCode, reason }) => ({ id, name, phase, exitCode: exitCode ?? null, reason })));
      return this.reportErrors(errors);
    } finally {
      client.close();
    }
  }
}

/** Asks again and again for those that run yet; how one ended is shown as soon as all before it have. */
async function awaitEnds(
  client: CloudClient,
  found: readonly { readonly item: string; readonly id: string }[],
  limitMs: number,
  errors: ItemError[],
  show: (exitCode: number) => void,
): Promise<ReadonlyMap<string, ContainerState>> {
  const untilMs = performance.now() + limitMs;
  const ended = new Map<string, ContainerState>();
  const failed = new Set<string>();
  let printed = 0;
  for (;;) {
    const pending = found.filter(({ id }) => !ended.has(id) && !failed.has(id));
    for (let next = found[printed]; next !== undefined && !pending.includes(next); next = found[printed]) {
      const exitCode = ended.get(next.id)?.exitCode;
      if (exitCode !== undefined) show(exitCode);
      printed += 1;
    }
    if (pending.length === 0) return ended;
    const leftMs = untilMs - performance.now();
    if (leftMs <= 0) {
      for (const { item } of pending) errors.push({ item, code: "TIMEOUT", message: `${item} has not ended within ${formatDuration(limitMs)}; it runs on` });
      return ended;
    }
    const itemOf = new Map(pending.map(({ item, id }) => [id, item]));
    const reply = await client.call("Wait", { containers: [...itemOf.keys()], waitMs: Math.min(ASK_MS_MAX, Math.ceil(leftMs)) });
    for (const state of reply.ended) ended.set(state.id, state);
    for (const error of reply.errors) {
      failed.add(error.item);
      errors.push({ ...error, item: itemOf.get(error.item) ?? error.item });
    }
  }
}

import * as Flags from "@oclif/core/flags";
import type { FirewallRuleState } from "../src/api/client-messages.ts";
import { CcError, isErrorCode } from "../src/base/index.ts";
import { CloudCommand, many } from "./cloud-command.ts";
import { ExitCode, UsageError, usable } from "./failure.ts";
import { notFound, resolveNames } from "./names.ts";
import { collectPairs, parseLabel } from "./options.ts";

export const RULE_FLAGS = {
  vpc: Flags.string({ helpValue: "VPC", required: true, description: "whose containers it is about, by id or name" }),
  label: Flags.string({ ...many, char: "l", helpValue: "NAME=VALUE", description: "only containers with this label (default: all of the VPC)" }),
  direction: Flags.string({ options: ["in", "out"], default: "in", description: "to the containers, or from them" }),
  protocol: Flags.string({ options: ["tcp", "udp", "icmp", "any"], description: "(default: tcp where ports are given, else any)" }),
  port: Flags.string({ ...many, char: "p", helpValue: "PORT[-PORT]", description: "ports at the side that is connected to (default: all)" }),
  cidr: Flags.string({ helpValue: "CIDR", description: "the other side's addresses (default: anybody)" }),
  with: Flags.string({ ...many, helpValue: "NAME=VALUE", description: "the other side: containers of the VPC with this label" }),
  log: Flags.boolean({ description: "note in the log of the containers' host what it meets" }),
} as const;

/** cc firewall allow and deny: one rule, whose id is printed. */
export abstract class RuleCommand extends CloudCommand {
  protected async make(
    action: "allow" | "deny",
    flags: {
      readonly vpc: string;
      readonly label?: string[] | undefined;
      readonly direction: string;
      readonly protocol?: string | undefined;
      readonly port?: string[] | undefined;
      readonly cidr?: string | undefined;
      readonly with?: string[] | undefined;
      readonly log: boolean;
      readonly json?: boolean | undefined;
    } & Parameters<CloudCommand["connect"]>[0],
  ): Promise<number> {
    const ports = flags.port ?? [];
    const wrong = ports.find((port) => !/^\d{1,5}(-\d{1,5})?$/.test(port));
    if (wrong !== undefined) throw new UsageError(`--port "${wrong}" is no port; give a number, or a range like 8000-8100`);
    if (flags.cidr !== undefined && flags.with !== undefined) throw new UsageError("--cidr and --with both name the other side; give one of them");
    const target = usable(collectPairs(flags.label ?? [], parseLabel));
    const labels = usable(collectPairs(flags.with ?? [], parseLabel));
    const { client } = this.connect(flags);
    try {
      const names = await resolveNames(client, "vpc", [flags.vpc]);
      const [error] = [...names.errors, ...names.absent.map((item) => notFound("vpc", item, names.notAsked))];
      if (error !== undefined) throw new CcError(isErrorCode(error.code) ? error.code : "NOT_FOUND", error.message);
      const rule = {
        vpc: names.found[0]?.id ?? "",
        action,
        direction: flags.direction,
        protocol: flags.protocol ?? (ports.length > 0 ? "tcp" : "any"),
        ports,
        target,
        cidr: flags.cidr ?? "",
        labels,
        log: flags.log,
      };
      const reply = await client.call("CreateFirewallRule", { rule });
      if (flags.json) this.printJson({ id: reply.id, copies: reply.copies });
      else this.print(reply.id);
      this.reportCopies(reply.copies);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}

const pairs = (map: Readonly<Record<string, string>>): string =>
  Object.entries(map)
    .map(([name, value]) => `${name}=${value}`)
    .join(",");

/** The texts of a rule for a table. */
export function ruleWords({ rule }: FirewallRuleState) {
  const { action = "", direction = "", protocol = "", ports = [], target = {}, cidr = "", labels = {}, log = false } = rule ?? {};
  const portText = ports.length > 0 ? ` ${ports.join(",")}` : "";
  return { action, direction, log, containers: pairs(target) || "all", ports: `${protocol}${portText}`, other: cidr || pairs(labels) || "anybody" };
}

import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import type { CloudClient } from "../../../src/api/client.ts";
import { CcError } from "../../../src/base/index.ts";
import { CloudCommand, many } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";
import { notFound, resolveNames } from "../../names.ts";

export default class HostRemove extends CloudCommand {
  static override summary = "Remove a host from the mesh for good.";
  static override description =
    "What it ran may be started elsewhere, and it can never come back under its id. A host that cannot be reached is removed only by who sees more than half of the members, else with --force.";
  static override examples = ["<%= config.bin %> host remove attic-2", "<%= config.bin %> host remove attic-2 --force"];
  static override args = { host: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    force: Flags.boolean({ description: "though too few hosts can be reached to be sure" }),
    heir: Flags.string({ helpValue: "HOST", description: "who takes over its address blocks (default: the peer that is asked)" }),
    keep: Flags.string({ ...many, helpValue: "HOST", description: "of the hosts that it admitted only these stay (default: all that are known)" }),
  };

  override async run(): Promise<number> {
    const { flags, args } = await this.parse(HostRemove);
    const { client } = this.connect(flags);
    try {
      const host = await this.idOf(client, args.host);
      const heir = flags.heir === undefined ? undefined : await this.idOf(client, flags.heir);
      const kept: string[] = [];
      for (const item of flags.keep ?? []) kept.push(await this.idOf(client, item));
      // What it writes later than this does not count: its records up to here are what a removal of today means.
      const known = (await client.call("ListHosts", {})).hosts.find(({ id }) => id === host);
      const countsTo = { countsToMajor: known?.lastMajor ?? 0, countsToMinor: known?.lastMinor ?? 0 };
      // Named one by one: what it admits from now on, where a thief has its key, is not among them.
      const certificatesKept = flags.keep === undefined ? (known?.admitted ?? []) : kept;
      const reply = await client.call("RemoveHost", {
        host,
        ...countsTo,
        force: flags.force,
        allCertificates: false,
        certificatesKept,
        ...(heir === undefined ? {} : { heir }),
      });
      if (flags.json) this.printJson({ id: host, kept: certificatesKept, copies: reply.copies });
      else this.print(args.host);
      if (certificatesKept.length > 0) this.note(`Admitted by it, and stays: ${certificatesKept.join(", ")}`);
      this.reportCopies(reply.copies);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }

  private async idOf(client: CloudClient, item: string): Promise<string> {
    const names = await resolveNames(client, "host", [item]);
    const found = names.found[0];
    if (found !== undefined) return found.id;
    const error = names.errors[0] ?? notFound("host", item, names.notAsked);
    throw new CcError(error.code === "NAME_AMBIGUOUS" ? "NAME_AMBIGUOUS" : "NOT_FOUND", error.message);
  }
}

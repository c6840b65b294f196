import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import type { CloudClient } from "../../../src/api/client.ts";
import { CcError } from "../../../src/base/index.ts";
import { CloudCommand, many } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";
import { notFound, resolveNames } from "../../names.ts";

/** A record's key has some 60 bytes, a request at most 256 KiB. */
const LISTED_MAX = 2_000;

export default class KeyRevoke extends CloudCommand {
  static override summary = "Revoke an access key for good.";
  static override description =
    "What it asked for stays. Of the keys, invites and hosts that it signed, all that are known stay and are listed; with --keep only those named do.";
  static override examples = ["<%= config.bin %> key revoke laptop", "<%= config.bin %> key revoke k2fzq... --keep none"];
  static override args = { key: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    keep: Flags.string({ ...many, helpValue: "RECORD|none", description: "of the records that it signed only these stay (default: all that are known)" }),
  };

  override async run(): Promise<number> {
    const { flags, args } = await this.parse(KeyRevoke);
    const { client } = this.connect(flags);
    try {
      const names = await resolveNames(client, "key", [args.key]);
      const found = names.found[0];
      if (found === undefined) {
        const error = names.errors[0] ?? notFound("key", args.key, names.notAsked);
        throw new CcError(error.code === "NAME_AMBIGUOUS" ? "NAME_AMBIGUOUS" : "NOT_FOUND", error.message);
      }
      const keep = flags.keep === undefined ? await this.signedBy(client, found.id) : flags.keep.filter((record) => record !== "none");
      const reply = await client.call("RevokeKey", { key: found.id, keep: keep ?? [], keepAll: keep === undefined });
      if (flags.json) this.printJson({ id: found.id, kept: reply.kept, copies: reply.copies });
      else this.print(args.key);
      if (reply.kept.length > 0) this.note(`Signed by it, and stays: ${reply.kept.join(", ")}`);
      this.reportCopies(reply.copies);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }

  /** Named one by one: what a thief signs with it at a cut-off peer is not among them. Undefined: too many for a request. */
  private async signedBy(client: CloudClient, key: string): Promise<readonly string[] | undefined> {
    const signed = (await client.call("ListKeys", {})).keys.find(({ id }) => id === key)?.signed ?? [];
    return signed.length <= LISTED_MAX ? signed : undefined;
  }
}

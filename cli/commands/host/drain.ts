import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../../not-yet.ts";

export default class HostDrain extends NotYetCommand {
  static override summary = "Move everything away from a host (not yet).";
  static override examples = ["<%= config.bin %> host drain attic-2"];
  static override args = { host: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };

  override async run(): Promise<number> {
    await this.parse(HostDrain);
    return this.notYet("host drain");
  }
}

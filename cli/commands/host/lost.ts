import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../../not-yet.ts";

export default class HostLost extends NotYetCommand {
  static override summary = "Say that a host is lost for good, so that its containers start elsewhere (not yet).";
  static override examples = ["<%= config.bin %> host lost attic-2"];
  static override args = { host: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };

  override async run(): Promise<number> {
    await this.parse(HostLost);
    return this.notYet("host lost");
  }
}

import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../not-yet.ts";

export default class Events extends NotYetCommand {
  static override summary = "Show what happens in the mesh, as it happens (not yet).";
  static override examples = ["<%= config.bin %> events --since 10m"];
  static override flags = {
    since: Flags.string({ helpValue: "TIME", description: "begin that long ago" }),
  };

  override async run(): Promise<number> {
    await this.parse(Events);
    return this.notYet("events");
  }
}

import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../not-yet.ts";

export default class Inspect extends NotYetCommand {
  static override summary = "Print everything that is known of things, as JSON (not yet).";
  static override examples = ["<%= config.bin %> inspect web"];
  static override args = { ids: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    await this.parse(Inspect);
    return this.notYet("inspect");
  }
}

import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../../not-yet.ts";

export default class VpcDelete extends NotYetCommand {
  static override summary = "Delete private networks; none, if one of them is in use (not yet).";
  static override examples = ["<%= config.bin %> vpc delete shop"];
  static override args = { ids: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    await this.parse(VpcDelete);
    return this.notYet("vpc delete");
  }
}

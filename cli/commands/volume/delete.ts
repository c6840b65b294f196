import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../../not-yet.ts";

export default class VolumeDelete extends NotYetCommand {
  static override summary = "Delete volumes; none, if one of them is in use (not yet).";
  static override examples = ["<%= config.bin %> volume delete data"];
  static override args = { ids: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    await this.parse(VolumeDelete);
    return this.notYet("volume delete");
  }
}

import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../../not-yet.ts";

export default class ImageRm extends NotYetCommand {
  static override summary = "Forget images that no container uses (not yet).";
  static override examples = ["<%= config.bin %> image rm alpine"];
  static override args = { ids: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    await this.parse(ImageRm);
    return this.notYet("image rm");
  }
}

import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../../not-yet.ts";

export default class VolumeResize extends NotYetCommand {
  static override summary = "Make a volume larger (not yet).";
  static override examples = ["<%= config.bin %> volume resize data --size 20g"];
  static override args = { volume: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    size: Flags.string({ helpValue: "BYTES", required: true, description: "its new size" }),
  };

  override async run(): Promise<number> {
    await this.parse(VolumeResize);
    return this.notYet("volume resize");
  }
}

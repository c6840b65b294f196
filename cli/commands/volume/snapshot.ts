import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../../not-yet.ts";

export default class VolumeSnapshot extends NotYetCommand {
  static override summary = "Keep a volume as it is now (not yet).";
  static override examples = ["<%= config.bin %> volume snapshot data --name before-upgrade"];
  static override args = { volume: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    name: Flags.string({ helpValue: "NAME", required: true, description: "the snapshot's name" }),
  };

  override async run(): Promise<number> {
    await this.parse(VolumeSnapshot);
    return this.notYet("volume snapshot");
  }
}

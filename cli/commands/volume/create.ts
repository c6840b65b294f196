import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../../not-yet.ts";

export default class VolumeCreate extends NotYetCommand {
  static override summary = "Make a volume; prints its id (not yet).";
  static override examples = ["<%= config.bin %> volume create --size 10g --persistent --name data"];
  static override flags = {
    size: Flags.string({ helpValue: "BYTES", required: true, description: "its size" }),
    name: Flags.string({ helpValue: "NAME", required: true, description: "its name" }),
    persistent: Flags.boolean({ description: "kept on two hosts, survives the loss of one" }),
  };

  override async run(): Promise<number> {
    await this.parse(VolumeCreate);
    return this.notYet("volume create");
  }
}

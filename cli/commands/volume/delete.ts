import * as Args from "@oclif/core/args";
import { ChangeCommand } from "../../change.ts";

export default class VolumeDelete extends ChangeCommand {
  static override summary = "Delete volumes with all that is in them; none, if one of them is in use. What is already gone succeeds.";
  static override examples = ["<%= config.bin %> volume delete data", "<%= config.bin %> volume delete data logs"];
  static override args = { volumes: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(VolumeDelete);
    return await this.change(flags, argv.map(String), "DeleteVolumes");
  }
}

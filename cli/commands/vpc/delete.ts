import * as Args from "@oclif/core/args";
import { ChangeCommand } from "../../change.ts";

export default class VpcDelete extends ChangeCommand {
  static override summary = "Delete private networks; none, if one of them is in use. What is already gone succeeds.";
  static override examples = ["<%= config.bin %> vpc delete shop", "<%= config.bin %> vpc delete shop blog"];
  static override args = { vpcs: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(VpcDelete);
    return await this.change(flags, argv.map(String), "DeleteVpcs");
  }
}

import * as Args from "@oclif/core/args";
import { ChangeCommand } from "../../change.ts";

export default class FirewallRemove extends ChangeCommand {
  static override summary = "Remove firewall rules; what is already gone succeeds.";
  static override examples = ["<%= config.bin %> firewall remove fabcdefghij2345672345"];
  static override args = { rules: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids, as cc firewall list shows them" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(FirewallRemove);
    return await this.change(flags, argv.map(String), "RemoveFirewallRules");
  }
}

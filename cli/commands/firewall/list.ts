import * as Args from "@oclif/core/args";
import type { FirewallRuleState } from "../../../src/api/client-messages.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ruleWords } from "../../firewall-rule.ts";

export default class FirewallList extends CloudCommand {
  static override summary = "List firewall rules, of each VPC in the order in which they apply.";
  static override examples = ["<%= config.bin %> firewall list", "<%= config.bin %> firewall list shop --json"];
  static override args = { vpc: Args.string({ ignoreStdin: true, description: "id or name (default: all)" }) };

  override async run(): Promise<number> {
    const { flags, args } = await this.parse(FirewallList);
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("ListFirewallRules", { vpc: args.vpc ?? "" });
      if (flags.json) this.printJson(reply.rules);
      else
        this.printTable<FirewallRuleState>(
          [
            { title: "ID", text: (row) => row.id },
            { title: "VPC", text: (row) => row.vpcName, shrinkTo: 8 },
            { title: "CONTAINERS", text: (row) => ruleWords(row).containers, shrinkTo: 10 },
            { title: "ACTION", text: (row) => ruleWords(row).action },
            { title: "DIRECTION", text: (row) => ruleWords(row).direction },
            { title: "PROTOCOL", text: (row) => ruleWords(row).ports, shrinkTo: 8 },
            { title: "OTHER SIDE", text: (row) => ruleWords(row).other, shrinkTo: 10 },
            { title: "LOG", text: (row) => (ruleWords(row).log ? "yes" : "") },
          ],
          reply.rules,
        );
      return this.reportErrors(reply.errors);
    } finally {
      client.close();
    }
  }
}

import { RULE_FLAGS, RuleCommand } from "../../firewall-rule.ts";

export default class FirewallAllow extends RuleCommand {
  static override summary = "Let containers of a VPC be reached, or reach others; prints the rule's id.";
  static override description =
    "Without any rule containers of a VPC reach each other and the world, and from outside only published ports are reached. Rules for labels come before those for the whole VPC, and of these what is denied before what is allowed.";
  static override examples = ["<%= config.bin %> firewall allow --vpc shop --label app=web --port 80"];
  static override flags = RULE_FLAGS;

  override async run(): Promise<number> {
    const { flags } = await this.parse(FirewallAllow);
    return await this.make("allow", flags);
  }
}

import { RULE_FLAGS, RuleCommand } from "../../firewall-rule.ts";

export default class FirewallDeny extends RuleCommand {
  static override summary = "Keep containers of a VPC from being reached, or from reaching others; prints the rule's id.";
  static override description =
    "Without any rule containers of a VPC reach each other and the world, and from outside only published ports are reached. Rules for labels come before those for the whole VPC, and of these what is denied before what is allowed.";
  static override examples = [
    "<%= config.bin %> firewall deny --vpc shop",
    "<%= config.bin %> firewall deny --vpc shop --label app=db --direction out --cidr 0.0.0.0/0 --log",
  ];
  static override flags = RULE_FLAGS;

  override async run(): Promise<number> {
    const { flags } = await this.parse(FirewallDeny);
    return await this.make("deny", flags);
  }
}

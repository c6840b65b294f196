import { NotYetCommand } from "../not-yet.ts";

export default class Firewall extends NotYetCommand {
  static override summary = "Say who may reach what (not yet).";
  static override usage = "firewall [WORD...]";
  static override examples = ["<%= config.bin %> firewall"];
  static override strict = false;

  override async run(): Promise<number> {
    await this.parse(Firewall);
    return this.notYet("firewall");
  }
}

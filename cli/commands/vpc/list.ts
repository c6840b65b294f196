import { NotYetCommand } from "../../not-yet.ts";

export default class VpcList extends NotYetCommand {
  static override summary = "List private networks (not yet).";
  static override examples = ["<%= config.bin %> vpc list"];

  override async run(): Promise<number> {
    await this.parse(VpcList);
    return this.notYet("vpc list");
  }
}

import { NotYetCommand } from "../../not-yet.ts";

export default class VolumeList extends NotYetCommand {
  static override summary = "List volumes (not yet).";
  static override examples = ["<%= config.bin %> volume list"];

  override async run(): Promise<number> {
    await this.parse(VolumeList);
    return this.notYet("volume list");
  }
}

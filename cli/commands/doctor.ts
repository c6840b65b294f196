import { NotYetCommand } from "../not-yet.ts";

export default class Doctor extends NotYetCommand {
  static override summary = "Look for what is wrong with the settings, this machine and the mesh (not yet).";
  static override examples = ["<%= config.bin %> doctor"];

  override async run(): Promise<number> {
    await this.parse(Doctor);
    return this.notYet("doctor");
  }
}

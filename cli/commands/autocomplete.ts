import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../not-yet.ts";

export default class Autocomplete extends NotYetCommand {
  static override summary = "Set up completion of words in your shell (not yet).";
  static override examples = ["<%= config.bin %> autocomplete bash"];
  static override args = { shell: Args.string({ ignoreStdin: true, options: ["bash", "zsh", "fish"], description: "which shell" }) };

  override async run(): Promise<number> {
    await this.parse(Autocomplete);
    return this.notYet("autocomplete");
  }
}

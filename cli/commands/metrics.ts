import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../not-yet.ts";

export default class Metrics extends NotYetCommand {
  static override summary = "Show what containers use: CPU, memory, disk, network, processes (not yet).";
  static override examples = ["<%= config.bin %> metrics web --watch"];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };
  static override flags = {
    watch: Flags.boolean({ char: "w", description: "go on until interrupted" }),
  };

  override async run(): Promise<number> {
    await this.parse(Metrics);
    return this.notYet("metrics");
  }
}

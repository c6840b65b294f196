import * as Args from "@oclif/core/args";
import { ChangeCommand } from "../change.ts";

export default class Start extends ChangeCommand {
  static override summary = "Start containers that were stopped or have ended, where they are.";
  static override examples = ["<%= config.bin %> start web"];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(Start);
    return await this.change(flags, argv.map(String), "Start");
  }
}

import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../not-yet.ts";

export default class Scale extends NotYetCommand {
  static override summary = "Change how many replicas of a container run (not yet).";
  static override examples = ["<%= config.bin %> scale web --replicas 3"];
  static override args = { container: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    replicas: Flags.integer({ min: 0, required: true, description: "so many from now on" }),
  };

  override async run(): Promise<number> {
    await this.parse(Scale);
    return this.notYet("scale");
  }
}

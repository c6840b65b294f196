import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { ChangeCommand } from "../change.ts";

export default class Rm extends ChangeCommand {
  static override summary = "Remove containers with their disks and logs; what is already gone succeeds.";
  static override examples = ["<%= config.bin %> rm web", "<%= config.bin %> rm --force web db"];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };
  static override flags = { force: Flags.boolean({ char: "f", description: "also those that run: they are stopped first" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(Rm);
    return await this.change(flags, argv.map(String), "Remove", { force: flags.force });
  }
}

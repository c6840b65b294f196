import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { many } from "../cloud-command.ts";
import { UsageError } from "../failure.ts";
import { NotYetCommand } from "../not-yet.ts";
import { splitCommand } from "../split-command.ts";

export default class Exec extends NotYetCommand {
  static override summary = "Run one more command in a running container (not yet).";
  static override usage = "exec [OPTION...] CONTAINER [--] COMMAND [ARG...]";
  static override examples = ["<%= config.bin %> exec web ls -l", "<%= config.bin %> exec -it web sh"];
  static override args = { container: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    interactive: Flags.boolean({ char: "i", description: "pass standard input on" }),
    tty: Flags.boolean({ char: "t", description: "a terminal of its own" }),
    env: Flags.string({ ...many, char: "e", helpValue: "NAME[=VALUE]", description: "environment variable" }),
    user: Flags.string({ char: "u", helpValue: "USER[:GROUP]", description: "names or numbers" }),
    dir: Flags.string({ char: "w", helpValue: "DIR", description: "working directory" }),
  };
  static override strict = false;
  static readonly wordsBeforeCommand = 1;

  override async run(): Promise<number> {
    const { options, command } = splitCommand(this.argv, { ...Exec.baseFlags, ...Exec.flags }, Exec.wordsBeforeCommand);
    await this.parse({ flags: Exec.flags, baseFlags: Exec.baseFlags, args: Exec.args }, options);
    if (command.length === 0) throw new UsageError("the command to run in the container is missing");
    return this.notYet("exec");
  }
}

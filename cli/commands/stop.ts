import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { parseDuration } from "../../src/base/index.ts";
import { ChangeCommand } from "../change.ts";
import { usable } from "../failure.ts";

export default class Stop extends ChangeCommand {
  static override summary = "Stop containers; they stay until cc rm.";
  static override examples = ["<%= config.bin %> stop web", "<%= config.bin %> stop web db --timeout 30s"];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };
  static override flags = {
    timeout: Flags.string({
      char: "t",
      helpValue: "TIME",
      description: "how long its process may take before it is killed (default: the container's own, else the image's, else 10s)",
    }),
  };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(Stop);
    // 0 on the wire means the container's own time; at once is one millisecond.
    const timeoutMs = flags.timeout === undefined ? 0 : Math.max(1, usable(parseDuration(flags.timeout)));
    return await this.change(flags, argv.map(String), "Stop", { timeoutMs });
  }
}

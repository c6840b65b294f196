import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../../not-yet.ts";

export default class HostUndrain extends NotYetCommand {
  static override summary = "Let a drained host take containers again (not yet).";
  static override examples = ["<%= config.bin %> host undrain attic-2"];
  static override args = { host: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };

  override async run(): Promise<number> {
    await this.parse(HostUndrain);
    return this.notYet("host undrain");
  }
}

import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../../not-yet.ts";

export default class LocalRemoteServe extends NotYetCommand {
  static override summary = "Lead a local TCP port to a port of a container, wherever it runs, until interrupted (not yet).";
  static override examples = ["<%= config.bin %> local-remote serve --container-id web --container-port 80 --bind 127.0.0.1:8080"];
  static override flags = {
    "container-id": Flags.string({ helpValue: "CONTAINER", required: true, description: "id or name" }),
    "container-port": Flags.integer({ min: 1, max: 65_535, required: true, description: "the container's port" }),
    bind: Flags.string({ helpValue: "ADDRESS", required: true, description: "the local address and port" }),
  };

  override async run(): Promise<number> {
    await this.parse(LocalRemoteServe);
    return this.notYet("local-remote serve");
  }
}

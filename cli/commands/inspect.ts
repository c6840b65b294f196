import * as Args from "@oclif/core/args";
import { CloudCommand } from "../cloud-command.ts";

export default class Inspect extends CloudCommand {
  static override summary = "Print everything that is known of containers, as one JSON list.";
  static override description =
    "What was asked for as it was signed (never a registry's password; environment values for operators only), what is wanted now, by whom and when, who holds it by which warrant, and its state.";
  static override examples = ["<%= config.bin %> inspect web", "<%= config.bin %> inspect web db"];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(Inspect);
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("Inspect", { containers: [...new Set(argv.map(String))] });
      // Nothing was asked of it since: said by its absence, not by empty words.
      this.printJson(reply.containers.map(({ wanted, ...rest }) => (wanted?.call ? { ...rest, wanted } : rest)));
      for (const { status } of reply.containers) {
        if (status !== undefined && !status.hostReachable && status.host !== "")
          this.warning(`${status.hostName || status.host} is unreachable; what is shown of ${status.name || status.id} may be old`);
      }
      return this.reportErrors(reply.errors);
    } finally {
      client.close();
    }
  }
}

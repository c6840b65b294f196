import type { VpcState } from "../../../src/api/client-messages.ts";
import { formatDuration } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";

export default class VpcList extends CloudCommand {
  static override summary = "List private networks: their addresses, and how many are taken.";
  static override examples = ["<%= config.bin %> vpc list", "<%= config.bin %> vpc list --json"];

  override async run(): Promise<number> {
    const { flags } = await this.parse(VpcList);
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("ListVpcs", {});
      if (flags.json) this.printJson(reply.vpcs);
      else
        this.printTable<VpcState>(
          [
            { title: "ID", text: (row) => row.id },
            { title: "NAME", text: (row) => row.name, shrinkTo: 8 },
            { title: "CIDR", text: (row) => row.cidr },
            { title: "ZONE", text: (row) => row.zone },
            { title: "STATE", text: (row) => row.state },
            { title: "CONTAINERS", text: (row) => String(row.containers), align: "right" },
            { title: "ADDRESSES", text: (row) => `${row.used} of ${row.addresses}`, align: "right" },
            { title: "AGE", text: (row) => (row.createdAtMs > 0 ? formatDuration(reply.asOfMs - row.createdAtMs) : ""), align: "right" },
          ],
          reply.vpcs,
        );
      if (reply.unreachable.length > 0)
        this.warning(`these hosts are unreachable, what is shown of their containers may be old: ${reply.unreachable.join(", ")}`);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}

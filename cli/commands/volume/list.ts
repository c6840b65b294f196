import type { VolumeState } from "../../../src/api/client-messages.ts";
import { formatDuration, formatSize } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";
import { volumeUsers } from "../../volume-text.ts";

export default class VolumeList extends CloudCommand {
  static override summary = "List volumes: where each is and who uses it.";
  static override examples = ["<%= config.bin %> volume list", "<%= config.bin %> volume list --json"];

  override async run(): Promise<number> {
    const { flags } = await this.parse(VolumeList);
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("ListVolumes", {});
      if (flags.json) this.printJson(reply.volumes);
      else
        this.printTable<VolumeState>(
          [
            { title: "ID", text: (row) => row.id },
            { title: "NAME", text: (row) => row.name, shrinkTo: 8 },
            { title: "SIZE", text: (row) => formatSize(row.sizeBytes), align: "right" },
            { title: "STATE", text: (row) => (row.hostReachable || row.state === "lost" ? row.state : `${row.state}?`) },
            { title: "HOST", text: (row) => row.hostName || row.host, shrinkTo: 8 },
            { title: "USED BY", text: (row) => volumeUsers(row).join(","), shrinkTo: 8 },
            { title: "AGE", text: (row) => (row.createdAtMs > 0 ? formatDuration(reply.asOfMs - row.createdAtMs) : ""), align: "right" },
          ],
          reply.volumes,
        );
      if (reply.unreachable.length > 0) this.warning(`these hosts are unreachable, what is shown of their volumes may be old: ${reply.unreachable.join(", ")}`);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}

import * as Flags from "@oclif/core/flags";
import type { ContainerState } from "../../src/api/client-messages.ts";
import { formatDuration } from "../../src/base/index.ts";
import { CloudCommand, many } from "../cloud-command.ts";
import { ExitCode, usable } from "../failure.ts";
import { collectPairs, parseLabel } from "../options.ts";
import { phaseText } from "../phases.ts";

export default class Ps extends CloudCommand {
  static override summary = "List containers, wherever they run.";
  static override examples = ["<%= config.bin %> ps", "<%= config.bin %> ps --all --label app=shop --json"];
  static override flags = {
    all: Flags.boolean({ char: "a", description: "also those that have ended" }),
    label: Flags.string({ ...many, helpValue: "NAME[=VALUE]", description: "only those with this label" }),
  };

  override async run(): Promise<number> {
    const { flags } = await this.parse(Ps);
    const labels = usable(collectPairs(flags.label ?? [], parseLabel));
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("ListContainers", { all: flags.all, labels });
      if (flags.json) this.printJson(reply.containers);
      else {
        this.printTable<ContainerState>(
          [
            { title: "ID", text: (row) => row.id },
            { title: "NAME", text: (row) => row.name, shrinkTo: 8 },
            { title: "IMAGE", text: (row) => row.image, shrinkTo: 8 },
            { title: "PHASE", text: (row) => phaseText(row), shrinkTo: 8 },
            { title: "HOST", text: (row) => row.hostName || row.host, shrinkTo: 8 },
            { title: "AGE", text: (row) => (row.createdAtMs > 0 ? formatDuration(reply.asOfMs - row.createdAtMs) : ""), align: "right" },
          ],
          reply.containers,
        );
      }
      this.reportUnreachable(reply);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }

  private reportUnreachable(reply: { readonly unreachable: readonly string[]; readonly containers: readonly ContainerState[]; readonly asOfMs: number }): void {
    if (reply.unreachable.length === 0) return;
    const named = reply.unreachable.map((host) => {
      const rows = reply.containers.filter((row) => row.host === host || row.hostName === host);
      const heardMs = Math.max(0, ...rows.map((row) => row.heardAtMs));
      const name = rows[0]?.hostName || host;
      return heardMs > 0 ? `${name} (last heard ${formatDuration(reply.asOfMs - heardMs)} ago)` : name;
    });
    this.warning(
      `${named.length === 1 ? "a host is" : "hosts are"} unreachable, what is shown of ${named.length === 1 ? "it" : "them"} may be old: ${named.join(", ")}`,
    );
  }
}

import * as Args from "@oclif/core/args";
import type { VolumeState } from "../../../src/api/client-messages.ts";
import { formatSize } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { formatTime } from "../../terminal.ts";

const STATES: Readonly<Record<string, string>> = {
  fresh: "fresh (never used: goes to the host of its first container)",
  mounted: "mounted (stays on its host)",
  lost: "lost (its host was removed from the mesh)",
};

export default class VolumeInspect extends CloudCommand {
  static override summary = "Show all that is known of volumes, and how full they are.";
  static override examples = ["<%= config.bin %> volume inspect data", "<%= config.bin %> volume inspect data logs --json"];
  static override args = { volumes: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(VolumeInspect);
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("InspectVolumes", { volumes: [...new Set(argv.map(String))] });
      if (flags.json) this.printJson(reply.volumes);
      else for (const [at, volume] of reply.volumes.entries()) this.printVolume(volume, at > 0);
      for (const { name, host, hostName, hostReachable, state } of reply.volumes)
        if (!hostReachable && state !== "lost") this.warning(`${hostName || host} is unreachable; what is shown of ${name} may be old`);
      return this.reportErrors(reply.errors);
    } finally {
      client.close();
    }
  }

  private printVolume(volume: VolumeState, separated: boolean): void {
    if (separated) this.print("");
    this.printFacts([
      ["Id", volume.id],
      ["Name", volume.name],
      ["Size", `${formatSize(volume.sizeBytes)} (${volume.sizeBytes} bytes)`],
      ["Used", volume.usedBytes === undefined ? "" : formatSize(volume.usedBytes)],
      ["On the host's disk", volume.allocatedBytes === undefined ? "" : formatSize(volume.allocatedBytes)],
      ["State", STATES[volume.state] ?? volume.state],
      ["Host", volume.hostName === "" ? volume.host : `${volume.hostName} (${volume.host})`],
      ["Zone", volume.zone],
      ["Created", `${formatTime(volume.createdAtMs)} with ${volume.key}`],
      ...volume.users.map(
        ({ container, name, path, readOnly, phase }) => ["Used by", `${name || container} (${phase}) at ${path}${readOnly ? ", read-only" : ""}`] as const,
      ),
    ]);
  }
}

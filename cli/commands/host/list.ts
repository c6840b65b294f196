import type { HostState } from "../../../src/api/client-messages.ts";
import { formatDuration, formatSize } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";

const cores = (shares: number): string => String(Math.round((shares / 1024) * 10) / 10);
const usedOf = (used: number, all: number, format: (value: number) => string): string => (all > 0 ? `${format(used)} / ${format(all)}` : "");
const offset = (host: HostState): string =>
  host.self && host.clockOffsetMs === 0
    ? ""
    : `${host.clockOffsetMs >= 0 ? "+" : "-"}${Math.abs(host.clockOffsetMs) >= 1000 ? `${Math.round(Math.abs(host.clockOffsetMs) / 100) / 10}s` : `${Math.round(Math.abs(host.clockOffsetMs))}ms`}${host.clockWarning ? "!" : ""}`;

export default class HostList extends CloudCommand {
  static override summary = "List the mesh's hosts as the asked peer sees them.";
  static override examples = ["<%= config.bin %> host list", "<%= config.bin %> host list --json"];

  override async run(): Promise<number> {
    const { flags } = await this.parse(HostList);
    const { client } = this.connect(flags);
    try {
      const { hosts } = await client.call("ListHosts", {});
      if (flags.json) this.printJson(hosts);
      else {
        const names = new Map(hosts.map((host) => [host.id, host.name || host.id]));
        const nowMs = client.nowMs();
        this.printTable<HostState>(
          [
            { title: "NAME", text: (host) => `${host.name || host.id}${host.self ? " *" : ""}`, shrinkTo: 10 },
            { title: "ZONE", text: (host) => host.zone },
            { title: "STATE", text: (host) => host.state },
            { title: "FOR", text: (host) => (host.sinceMs > 0 ? formatDuration(nowMs - host.sinceMs) : ""), align: "right" },
            { title: "OUTSIDE", text: (host) => (host.state === "removed" ? "" : host.outside ? "yes" : "no") },
            { title: "SEEN BY", text: (host) => host.seenBy.map((id) => names.get(id) ?? id).join(","), shrinkTo: 8 },
            { title: "CORES", text: (host) => usedOf(host.used?.cpuShares ?? 0, host.capacity?.cpuShares ?? 0, cores), align: "right" },
            { title: "MEMORY", text: (host) => usedOf(host.used?.memoryBytes ?? 0, host.capacity?.memoryBytes ?? 0, formatSize), align: "right" },
            { title: "DISK", text: (host) => usedOf(host.used?.diskBytes ?? 0, host.capacity?.diskBytes ?? 0, formatSize), align: "right" },
            { title: "ENCRYPTED", text: (host) => host.encrypted },
            { title: "CLOCK", text: offset, align: "right" },
            { title: "VERSION", text: (host) => host.version },
            { title: "ID", text: (host) => host.id, shrinkTo: 12 },
          ],
          hosts,
        );
        this.#tellEncryption(hosts);
      }
      for (const host of hosts)
        if (host.clockWarning)
          this.warning(`the clock of ${host.name || host.id} is ${offset(host).replace("!", "")} off; set it right (chrony, systemd-timesyncd)`);
      for (const host of hosts) if (host.outsideNote !== "") this.warning(`${host.name || host.id} is not reached through its router: ${host.outsideNote}`);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
  #tellEncryption(hosts: readonly HostState[]): void {
    if (hosts.some(({ encrypted }) => encrypted === "no" || encrypted === "partly"))
      this.warning("what containers on different hosts say to each other is not encrypted where a host has no WireGuard (ENCRYPTED: no, partly)");
    for (const { encrypted, name, id } of hosts)
      if (encrypted === "cut off")
        this.warning(`encryption is required and ${name || id} cannot have it: its containers and other hosts' do not reach each other`);
  }
}

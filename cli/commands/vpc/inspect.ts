import * as Args from "@oclif/core/args";
import type { VpcState } from "../../../src/api/client-messages.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { formatTime } from "../../terminal.ts";

export default class VpcInspect extends CloudCommand {
  static override summary = "Show all that is known of private networks: who is in them, and which host gives out which addresses.";
  static override examples = ["<%= config.bin %> vpc inspect shop", "<%= config.bin %> vpc inspect shop blog --json"];
  static override args = { vpcs: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(VpcInspect);
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("InspectVpcs", { vpcs: [...new Set(argv.map(String))] });
      if (flags.json) this.printJson(reply.vpcs);
      else for (const [at, vpc] of reply.vpcs.entries()) this.printVpc(vpc, at > 0);
      return this.reportErrors(reply.errors);
    } finally {
      client.close();
    }
  }

  private printVpc(vpc: VpcState, separated: boolean): void {
    if (separated) this.print("");
    const hosts = [...new Set(vpc.members.filter(({ phase }) => phase === "running").map(({ hostName, host }) => hostName || host))].sort();
    this.printFacts([
      ["Id", vpc.id],
      ["Name", vpc.default ? `${vpc.name} (the default of its zone)` : vpc.name],
      ["State", vpc.state],
      ["CIDR", vpc.cidr],
      ["Gateway", vpc.gateway],
      ["Zone", vpc.zone],
      ["Addresses", `${vpc.used} of ${vpc.addresses} taken`],
      ["VNI", String(vpc.vni)],
      ["Hosts", hosts.join(" ")],
      ["Created", `${formatTime(vpc.createdAtMs)} with ${vpc.key}`],
      ...vpc.members.map(
        ({ container, name, address, hostName, host, phase, names }) =>
          ["Container", `${address} ${name || container} (${phase}) on ${hostName || host}${names.length === 0 ? "" : `, ${names.join(" ")}`}`] as const,
      ),
      ...vpc.blocks.map(
        ({ block, owner, ownerName, reachable, free }) =>
          [
            "Block",
            `${block} ${owner === "" ? "of a removed host" : ownerName || owner}${reachable || owner === "" ? "" : " (unreachable)"}, ${free} free`,
          ] as const,
      ),
    ]);
  }
}

import * as Args from "@oclif/core/args";
import type { ContainerState } from "../../src/api/client-messages.ts";
import { formatDuration, formatSize } from "../../src/base/index.ts";
import { CloudCommand } from "../cloud-command.ts";
import { phaseText } from "../phases.ts";
import { formatTime } from "../terminal.ts";

type PortState = ContainerState["ports"][number];

const pairs = (map: Readonly<Record<string, string>>): string =>
  Object.entries(map)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
const promise = (state: ContainerState): string =>
  state.restart === "always" || state.restart === "on-failure" ? `restart ${state.restart}` : "not restarted";

function portFacts({ hostAddress, hostPort, port, protocol, everywhere, external, note }: PortState): (readonly [string, string])[] {
  const place = everywhere ? "every host of the zone" : "its host";
  const published = `${hostAddress === "" ? "" : `${hostAddress}:`}${hostPort}/${protocol} of ${place} to ${port}`;
  if (external === "" && note === "") return [["Published", published]];
  const forwarded =
    external === "" ? `${hostPort}/${protocol}: no, ${note}` : `${external}/${protocol} to ${hostPort} of its host${note === "" ? "" : ` (${note})`}`;
  return [
    ["Published", published],
    ["Forwarded", forwarded],
  ];
}

export default class Status extends CloudCommand {
  static override summary = "Show all that is known of containers.";
  static override examples = ["<%= config.bin %> status web", "<%= config.bin %> status web db --json"];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(Status);
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("ContainerStatus", { containers: [...new Set(argv.map(String))] });
      if (flags.json) this.printJson(reply.containers);
      else for (const [at, state] of reply.containers.entries()) this.printState(state, at > 0);
      for (const { name, host, hostName, hostReachable } of reply.containers) {
        if (!hostReachable && host !== "") this.warning(`${hostName || host} is unreachable; what is shown of ${name} may be old`);
      }
      return this.reportErrors(reply.errors);
    } finally {
      client.close();
    }
  }

  private printState(state: ContainerState, separated: boolean): void {
    if (separated) this.print("");
    this.printFacts([
      ["Id", state.id],
      ["Name", state.name],
      ["Image", state.imageDigest === "" ? state.image : `${state.image} (${state.imageDigest})`],
      ["Command", state.command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(" ")],
      ["Phase", phaseText(state)],
      ["Wanted", state.wanted],
      ["Host", state.hostName === "" ? state.host : `${state.hostName} (${state.host})`],
      ["Zone", state.zone],
      ["VPC", state.vpcName === "" ? state.vpc : `${state.vpcName} (${state.vpc})`],
      ["Address", state.address],
      ...state.ports.flatMap(portFacts),
      ["Exit code", state.exitCode === undefined ? "" : String(state.exitCode)],
      ["Reason", state.reason],
      ["Restarts", `${state.restarts} (${promise(state)})`],
      ["Created", formatTime(state.createdAtMs)],
      ["Started", formatTime(state.startedAtMs)],
      ["Ended", formatTime(state.endedAtMs)],
      ["Ran", state.startedAtMs > 0 && state.endedAtMs >= state.startedAtMs ? formatDuration(state.endedAtMs - state.startedAtMs) : ""],
      ["Memory", state.memoryBytes > 0 ? formatSize(state.memoryBytes) : ""],
      ["CPU shares", state.cpuShares > 0 ? String(state.cpuShares) : ""],
      ["Disk", state.diskBytes > 0 ? formatSize(state.diskBytes) : ""],
      ["Labels", pairs(state.labels)],
      ["Env", pairs(state.env)],
    ]);
  }
}

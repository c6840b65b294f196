/**
 * The lab: several hosts on one machine, for trying and testing. A host is a network, mount and host name namespace with
 * cgroups, a /run of its own, and a real peer; hosts are joined by a bridge that stands in a namespace of its own, so that
 * no firewall of the machine sees their frames, and faults are rules of that bridge. A registry hangs on the same bridge,
 * and the machine has one leg there. With `--home` some hosts hang on a second bridge behind a router: a namespace that
 * translates addresses, and the daemon that home routers have for UPnP and PCP.
 *
 * What is made follows from the lab's folder (`.lab/NAME`): names, cgroups, namespace files. So `down` works with any half
 * of it there, after any crash, and may itself be cut off and run again. Nothing is made outside that folder but one
 * interface, with a route or two over it, and the cgroups.
 *
 * Rejected: containers as hosts (a peer needs mounts, loop devices and cgroups as on a real host), virtual machines (no
 * KVM on many machines, and minutes instead of seconds), `ip netns` (it makes /run/netns a mount of the machine's, and
 * `ip netns exec` hides cgroups and mounts).
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { asCcError, assertNever, CcError } from "../../src/base/index.ts";
import { type LabCommand, parseArguments, USAGE } from "./arguments.ts";
import { destroyLab } from "./hosts.ts";
import { pushImage } from "./image.ts";
import {
  environmentOf,
  execOnHost,
  killHost,
  type LabReport,
  reportOf,
  restartPeer,
  setFaults,
  startHost,
  switchRegistry,
  switchRouter,
  takeDown,
} from "./lab.ts";
import { hostOf, type LabLayout, layoutOf } from "./layout.ts";
import { whatIsMissing, withLock } from "./machine.ts";
import { routerMappings } from "./router.ts";
import { requireState } from "./state-file.ts";
import { makeLab, type UpOptions } from "./up.ts";

const TOP = join(import.meta.dirname, "../..");
const say = (line: string): void => console.error(`lab: ${line}`);

async function up(layout: LabLayout, options: UpOptions, controller: AbortController): Promise<number> {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => controller.abort(new CcError("CANCELLED", `interrupted by ${signal}`)));
  }
  try {
    const made = await makeLab(layout, options, controller.signal, say);
    const report = reportOf(layout);
    say(
      `${made ? "up" : "is up already"}: ${report.hosts.map((host) => `${host.name} (${host.zone}) ${host.endpoint}`).join(", ")}; registry ${report.registry}`,
    );
    return 0;
  } catch (error) {
    if (!controller.signal.aborted) {
      say("what was made stays for you to look at (scripts/lab status, scripts/lab logs K); scripts/lab down removes it");
      throw error;
    }
    say("interrupted; taking down what was made");
    await destroyLab(layout);
    return 130;
  }
}

async function perform(layout: LabLayout, command: LabCommand): Promise<number> {
  const controller = new AbortController();
  const locked = <T>(work: () => Promise<T>): Promise<T> => withLock(layout.tag, work);
  switch (command.command) {
    case "up":
      return locked(() => up(layout, command, controller));
    case "env":
      process.stdout.write(environmentOf(layout, command.host));
      return 0;
    case "image":
      console.log(await locked(() => pushImage(layout, requireState(layout.stateFile).subnet, command.image, command.from, command.withPassword)));
      return 0;
    case "exec":
      return execOnHost(layout, command.host, command.argv);
    case "kill":
      await locked(() => killHost(layout, command.host));
      return 0;
    case "start":
      if (!(await locked(() => startHost(layout, command.host, controller.signal)))) say(`host ${command.host} runs already`);
      return 0;
    case "restart":
      await locked(() => restartPeer(layout, command.host, controller.signal));
      return 0;
    case "cut":
      await locked(() => setFaults(layout, command));
      return 0;
    case "heal":
      await locked(() => setFaults(layout));
      return 0;
    case "registry":
      await locked(() => switchRegistry(layout, command.action));
      return 0;
    case "router":
      if (command.action === "mappings") await showMappings(layout, command.json);
      else await locked(() => switchRouter(layout, command.action, command.action === "stop" ? undefined : command.only));
      return 0;
    case "logs":
      return showLog(layout, command.host, command.follow);
    case "status":
      showStatus(reportOf(layout), command.json);
      return 0;
    case "down": {
      const names = await locked(() => takeDown(layout, command.which));
      if (command.which !== "tests" || names.length > 0) say(`down${names.length > 0 ? `: ${names.join(", ")}` : ""}`);
      return 0;
    }
    default:
      return assertNever(command);
  }
}

function showLog(layout: LabLayout, number: number, follow: boolean): Promise<number> {
  const { log } = hostOf(layout, requireState(layout.stateFile).subnet, number, "");
  const child = spawn("tail", ["-n", "+1", ...(follow ? ["-F"] : []), log], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

async function showMappings(layout: LabLayout, json: boolean): Promise<void> {
  const mappings = await routerMappings(layout);
  if (json) console.log(JSON.stringify(mappings, null, 2));
  else for (const { protocol, externalPort, address, port } of mappings) console.log(`${externalPort}/${protocol} -> ${address}:${port}`);
}

function showStatus(report: LabReport, json: boolean): void {
  if (json) {
    console.log(JSON.stringify(report, null, 2));
    return;
  }
  const rows = report.hosts.map((host) => [host.name, host.zone, host.endpoint, host.state, String(host.pid ?? "-"), String(host.processes)]);
  const table = [["HOST", "ZONE", "ENDPOINT", "STATE", "PEER PID", "PROCESSES"], ...rows];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  console.log(`registry ${report.registry}${report.registryRuns ? "" : " (stopped)"}, with password ${report.privateRegistry}`);
  if (report.router !== undefined) {
    const { address, gateway, runs, only } = report.router;
    const behind = report.hosts.filter((host) => host.home).map((host) => host.name);
    console.log(`home router ${address}${runs ? "" : " (stopped)"}${only === undefined ? "" : `, only ${only}`}; behind it (${gateway}) ${behind.join(", ")}`);
  }
  for (const fault of report.faults) console.log(`cut: ${fault.from} ${fault.oneWay ? "->" : "<->"} ${fault.to ?? "all"}`);
}

async function main(words: readonly string[]): Promise<number> {
  if (words.length === 0 || words[0] === "--help" || words[0] === "help") {
    console.log(USAGE);
    return words.length === 0 ? 2 : 0;
  }
  const call = parseArguments(words);
  if (!call.ok) throw new CcError(call.code, call.message);
  const layout = layoutOf(TOP, call.value.lab);
  if (!layout.ok) throw new CcError(layout.code, layout.message);
  const missing = whatIsMissing();
  if (missing !== undefined) throw new CcError("CONFLICT", missing);
  return perform(layout.value, call.value.command);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  const error = asCcError(thrown);
  console.error(`Error [${error.code}]: ${error.message}`);
  if (error.code === "BAD_USAGE") console.error("scripts/lab --help shows the commands");
  process.exitCode = error.code === "BAD_USAGE" || error.code === "BAD_SIZE" ? 2 : 1;
}

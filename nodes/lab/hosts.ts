import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CcError } from "../../src/base/index.ts";
import { errorCode } from "../../src/host/index.ts";
import { API_PORT, type HostPlan, type LabLayout, MESH_PORT } from "./layout.ts";
import {
  detachLoops,
  makeGroup,
  ownNamespace,
  programEnvironment,
  readCgroupRoots,
  readMounts,
  removeGroup,
  run,
  runScript,
  startProgram,
  unmountBelow,
} from "./machine.ts";
import { boundNamespaces, mountsToDrop, parseMountInfo } from "./mounts.ts";
import { killUntilGone, type ProcessRef, processesInGroups, processesInNamespaces } from "./processes.ts";
import type { Programs } from "./programs.ts";
import { registryName } from "./registry.ts";
import { enterHost, hostLegScript, hostMountsScript, hostNamespacesScript, mountFile, netFile, utsFile, WIRE } from "./scripts.ts";
import type { HostState } from "./state-file.ts";

const READY_MS = 60_000;
const KILL_MS = 20_000;

export type HostContext = { readonly layout: LabLayout; readonly programs: Programs; readonly subnet: string; readonly signal: AbortSignal };

export const endpointOf = (host: HostPlan): string => `https://${host.address}:${API_PORT}`;

/** What a peer of the lab is configured with (its fields: `cc-peer config`). */
export function peerConfig(host: HostPlan, state: HostState, subnet: string, cpuShares: number): object {
  return {
    dataDir: join(host.folder, "data"),
    runDir: "/run/cc",
    name: host.name,
    zone: host.zone,
    listen: [`/ip4/${host.address}/tcp/${MESH_PORT}`],
    apiListen: `${host.address}:${API_PORT}`,
    endpoints: [endpointOf(host)],
    cgroupParent: `/${host.cgroup}`,
    capacity: { memoryBytes: state.memoryBytes, diskBytes: state.diskBytes, cpuShares },
    insecureRegistries: [registryName(subnet, false), registryName(subnet, true)],
  };
}

/** Makes the host's namespaces, network leg and cgroups: a machine that was switched on, without a peer yet. */
export async function makeHost(context: HostContext, host: HostPlan): Promise<void> {
  const { layout, signal } = context;
  makeGroup(`${host.cgroup}/peer`);
  await runScript(hostLegScript(layout, host, context.subnet), signal);
  await runScript(hostNamespacesScript(layout, host), signal);
  const inside = ["nsenter", `--mount=${mountFile(layout, host)}`, `--uts=${utsFile(layout, host)}`, `--net=${netFile(layout, host.name)}`];
  const mounts = parseMountInfo((await run([...inside, "cat", "/proc/self/mountinfo"], { signal })).stdout);
  await run([...inside, "sh", "-ec", hostMountsScript(host, mountsToDrop(mounts, [layout.top, process.execPath]))], { signal });
}

/** Words that run a command of the peer's program on a host. */
function onHost(context: HostContext, host: HostPlan, argv: readonly string[]): string[] {
  return enterHost(context.layout, host, readCgroupRoots(), context.layout.top, argv);
}

export function writePeerConfig(host: HostPlan, config: object): void {
  mkdirSync(host.folder, { recursive: true });
  writeFileSync(host.config, `${JSON.stringify(config, null, 2)}\n`);
}

/** What `cc-peer init --json` prints. */
export type InitReply = {
  readonly meshId: string;
  readonly recoveryKey: string;
  readonly endpointUrl: string;
  readonly accessToken: string;
  readonly secretKey: string;
  readonly peer: string;
};

export async function initPeer(context: HostContext, host: HostPlan): Promise<InitReply> {
  const words = ["init", "--config", host.config, "--name", host.name, "--zone", host.zone, "--json"];
  const reply = await run(onHost(context, host, [context.programs.peer, ...words]), { signal: context.signal, env: programEnvironment() });
  return JSON.parse(reply.stdout);
}

/** The invite goes by a file: it is a key, and the list of processes is everybody's. */
export async function joinPeer(context: HostContext, host: HostPlan, invite: string): Promise<void> {
  const file = join(host.folder, "invite");
  writeFileSync(file, `${invite}\n`, { mode: 0o600 });
  const words = ["join", `@${file}`, "--config", host.config, "--name", host.name];
  await run(onHost(context, host, [context.programs.peer, ...words]), { signal: context.signal, env: programEnvironment() });
  rmSync(file);
}

/** Starts the peer and waits for its `ready` line. */
export async function startPeer(context: HostContext, host: HostPlan): Promise<{ readonly process: ProcessRef; readonly peerId: string }> {
  const from = existsSync(host.output) ? statSync(host.output).size : 0;
  const argv = onHost(context, host, [context.programs.peer, "run", "--config", host.config]);
  const { child, ref } = startProgram(argv, { stdout: host.output, stderr: host.log, cwd: context.layout.top });
  return { process: ref, peerId: await waitReady(context, host, child, from) };
}

async function waitReady(context: HostContext, host: HostPlan, child: ChildProcess, from: number): Promise<string> {
  for (let waitedMs = 0; waitedMs < READY_MS; waitedMs += 20) {
    context.signal.throwIfAborted();
    const ready = readFileSync(host.output)
      .subarray(from)
      .toString("utf8")
      .split("\n")
      .slice(0, -1)
      .map(parseReady)
      .find((peer) => peer !== undefined);
    if (ready !== undefined) return ready;
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new CcError(
        "INTERNAL",
        `the peer of ${host.name} ended with ${child.exitCode ?? child.signalCode} before it was ready:\n${lastLines(host.log, 12)}`,
      );
    }
    await pause(20);
  }
  throw new CcError("TIMEOUT", `the peer of ${host.name} was not ready after ${READY_MS / 1000} s:\n${lastLines(host.log, 12)}`);
}

/** The peer id of a line `{"ready":true,"peer":...}`; other lines are not about this. */
export function parseReady(line: string): string | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value: { ready?: unknown; peer?: unknown } = JSON.parse(line);
    return value.ready === true && typeof value.peer === "string" ? value.peer : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function lastLines(file: string, count: number): string {
  try {
    return readFileSync(file, "utf8").trimEnd().split("\n").slice(-count).join("\n");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  }
}

/** Everything that runs on a host: by its cgroups, and by its namespaces where something left the cgroup. */
function processesOf(layout: LabLayout, cgroup: string, files: readonly string[]): Set<number> {
  const bound = boundNamespaces(readMounts(), layout.namespaces);
  const namespaces = new Set(files.map((file) => bound.get(file)).filter((namespace) => namespace !== undefined));
  for (const kind of ["net", "mnt", "uts"] as const) namespaces.delete(ownNamespace(kind));
  return new Set([...processesInGroups(readCgroupRoots().map((root) => join(root, cgroup))), ...processesInNamespaces(namespaces)]);
}

/**
 * A power cut: first the cable, so that no connection is closed in good order, then every process, then its mounts (they
 * end with the namespace), loop devices and cgroups. Its disk stays. A host that is not there is no error.
 */
export async function destroyHost(layout: LabLayout, host: HostPlan): Promise<void> {
  const wire = netFile(layout, WIRE);
  const files = [netFile(layout, host.name), mountFile(layout, host), utsFile(layout, host)];
  if (existsSync(wire)) await runScript(`nsenter --net=${wire} sh -c 'if ip link show ${host.name} >/dev/null 2>&1; then ip link del ${host.name}; fi'`);
  await killUntilGone(() => processesOf(layout, host.cgroup, files), KILL_MS);
  for (const file of files) {
    await unmountBelow(file);
    rmSync(file, { force: true });
  }
  await detachLoops(host.folder);
  await removeGroup(host.cgroup);
}

/** The same for a whole lab, by nothing but its folder; then the folder. */
export async function destroyLab(layout: LabLayout): Promise<void> {
  await runScript(`if ip link show ${layout.machineLink} >/dev/null 2>&1; then ip link del ${layout.machineLink}; fi`);
  const files = [...boundNamespaces(readMounts(), layout.namespaces).keys()];
  await killUntilGone(() => processesOf(layout, layout.cgroup, files), KILL_MS);
  await unmountBelow(layout.folder);
  await detachLoops(layout.folder);
  await removeGroup(layout.cgroup);
  rmSync(layout.folder, { recursive: true, force: true });
}

import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CcError, shellQuote } from "../../src/base/index.ts";
import { ccEnvironment } from "./cloud.ts";
import { destroyHost, destroyLab, endpointOf, type HostContext, makeHost, startPeer } from "./hosts.ts";
import { type HostPlan, hostOf, type LabLayout, layoutOf, routerInside, routerOutside, TEST_LAB_PREFIX } from "./layout.ts";
import { readCgroupRoots, run } from "./machine.ts";
import { endProcess, isAlive, processesInGroups, processOf } from "./processes.ts";
import { findPrograms } from "./programs.ts";
import { registryName, startRegistries } from "./registry.ts";
import { routerLog, switchRouterOff, switchRouterOn } from "./router.ts";
import { enterHost, type Fault, faultRuleset, netFile, WIRE } from "./scripts.ts";
import { type HostState, type LabState, requireState, withHost, writeState } from "./state-file.ts";

const STOP_GRACE_MS = 10_000;

const contextOf = (layout: LabLayout, state: LabState, signal: AbortSignal): HostContext => ({
  layout,
  programs: findPrograms(layout.top),
  subnet: state.subnet,
  signal,
});

function findHost(layout: LabLayout, state: LabState, number: number): { readonly host: HostState; readonly plan: HostPlan } {
  const host = state.hosts.find((candidate) => candidate.number === number);
  if (host === undefined) throw new CcError("BAD_USAGE", `there is no host ${number}; this lab has ${state.hosts.length}`);
  return { host, plan: hostOf(layout, state.subnet, number, host.zone, host.home) };
}

const peerRuns = (host: HostState): boolean => host.peer !== undefined && isAlive(host.peer);

/** Dead is a host that was killed; its peer alone being dead leaves the host there. */
const hostIsThere = (layout: LabLayout, plan: HostPlan): boolean => existsSync(netFile(layout, plan.name));

export async function killHost(layout: LabLayout, number: number): Promise<void> {
  const state = requireState(layout.stateFile);
  const { plan } = findHost(layout, state, number);
  await destroyHost(layout, plan);
  writeState(
    layout.stateFile,
    withHost(state, number, ({ peer: _, ...host }) => host),
  );
}

/** A dead host comes back with its disk. Gives false where its peer runs already. */
export async function startHost(layout: LabLayout, number: number, signal: AbortSignal): Promise<boolean> {
  const state = requireState(layout.stateFile);
  const { host, plan } = findHost(layout, state, number);
  if (peerRuns(host)) return false;
  const context = contextOf(layout, state, signal);
  if (!hostIsThere(layout, plan)) await makeHost(context, plan);
  await runPeer(context, state, plan);
  return true;
}

/** Only the peer ends and starts again; containers run on. */
export async function restartPeer(layout: LabLayout, number: number, signal: AbortSignal): Promise<void> {
  const state = requireState(layout.stateFile);
  const { host, plan } = findHost(layout, state, number);
  if (!hostIsThere(layout, plan)) throw new CcError("CONFLICT", `host ${number} is dead: scripts/lab start ${number}`);
  if (host.peer !== undefined) await endProcess(host.peer, STOP_GRACE_MS);
  await runPeer(contextOf(layout, state, signal), state, plan);
}

async function runPeer(context: HostContext, state: LabState, plan: HostPlan): Promise<void> {
  const peer = await startPeer(context, plan);
  writeState(
    context.layout.stateFile,
    withHost(state, plan.number, (host) => ({ ...host, peer: peer.process, peerId: peer.peerId })),
  );
}

/** `cut` adds a fault, `heal` (nothing) ends all. */
export async function setFaults(
  layout: LabLayout,
  cut?: { readonly host: number; readonly other: number | undefined; readonly oneWay: boolean },
): Promise<void> {
  const state = requireState(layout.stateFile);
  const fault =
    cut && faultBetween(findHost(layout, state, cut.host).plan, cut.other === undefined ? undefined : findHost(layout, state, cut.other).plan, cut.oneWay);
  const faults = fault === undefined ? [] : [...state.faults, fault];
  await run(["nsenter", `--net=${netFile(layout, WIRE)}`, "nft", "-f", "-"], { input: faultRuleset(faults) });
  writeState(layout.stateFile, { ...state, faults });
}

function faultBetween(from: HostPlan, to: HostPlan | undefined, oneWay: boolean): Fault {
  if (to === undefined) return { from: from.name, oneWay };
  const addresses = from.home === to.home ? {} : { addresses: { from: from.address, to: to.address } };
  return { from: from.name, to: to.name, oneWay, ...addresses };
}

export async function switchRegistry(layout: LabLayout, action: "stop" | "start"): Promise<void> {
  const state = requireState(layout.stateFile);
  for (const registry of state.registries) await endProcess(registry, STOP_GRACE_MS);
  writeState(layout.stateFile, { ...state, registries: action === "stop" ? [] : await startRegistries(layout, state.subnet) });
}

/** A lab's home router; what it had mapped is lost either way. */
export async function switchRouter(layout: LabLayout, action: "stop" | "start" | "restart", only: "pcp" | "upnp" | undefined): Promise<void> {
  const state = requireState(layout.stateFile);
  if (state.router === undefined) throw new CcError("CONFLICT", "this lab has no home router: scripts/lab down, then scripts/lab up --home 1");
  if (action === "start" && state.router.process !== undefined && isAlive(state.router.process) && state.router.only === only) return;
  if (action === "stop") await switchRouterOff(layout);
  writeState(layout.stateFile, { ...state, router: action === "stop" ? {} : await switchRouterOn(layout, state.subnet, { only }) });
}

/** Lines for a shell to evaluate. */
export function environmentOf(layout: LabLayout, number: number): string {
  const state = requireState(layout.stateFile);
  if (state.admin === undefined) throw new CcError("CONFLICT", "this lab is not up: scripts/lab up");
  const { CC_ENDPOINT_URL, CC_ACCESS_TOKEN, CC_SECRET_KEY } = ccEnvironment(layout.folder, state.admin, findHost(layout, state, number).plan);
  const lines = Object.entries({ CC_ENDPOINT_URL, CC_ACCESS_TOKEN, CC_SECRET_KEY }).map(([name, value]) => `export ${name}=${shellQuote(value ?? "")}`);
  return `${lines.join("\n")}\nexport PATH=${shellQuote(findPrograms(layout.top).folder)}:"$PATH"\n`;
}

/** Runs a command on a host, with this process's input and output; gives its exit code. */
export async function execOnHost(layout: LabLayout, number: number, argv: readonly string[]): Promise<number> {
  const state = requireState(layout.stateFile);
  const { plan } = findHost(layout, state, number);
  if (!hostIsThere(layout, plan)) throw new CcError("CONFLICT", `host ${number} is dead: scripts/lab start ${number}`);
  const [program = "", ...args] = enterHost(layout, plan, readCgroupRoots(), process.cwd(), argv);
  const child = spawn(program, args, { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

export type HostReport = {
  readonly number: number;
  readonly name: string;
  readonly zone: string;
  readonly home: boolean;
  readonly address: string;
  readonly endpoint: string;
  readonly state: "running" | "peer dead" | "dead";
  readonly pid: number | undefined;
  readonly peer: string | undefined;
  readonly processes: number;
  readonly cgroup: string;
  readonly folder: string;
  readonly log: string;
};

export type RouterReport = {
  /** As the world sees the home; where mapped ports are reached. */
  readonly address: string;
  /** As the home sees the router. */
  readonly gateway: string;
  readonly runs: boolean;
  readonly only: "pcp" | "upnp" | undefined;
  readonly log: string;
};

export type LabReport = {
  readonly lab: string;
  readonly phase: string;
  readonly folder: string;
  readonly tag: string;
  readonly registry: string;
  readonly privateRegistry: string;
  readonly registryRuns: boolean;
  readonly mesh: string | undefined;
  /** Where some hosts are behind one. */
  readonly router: RouterReport | undefined;
  readonly hosts: readonly HostReport[];
  readonly faults: readonly Fault[];
};

export function reportOf(layout: LabLayout): LabReport {
  const state = requireState(layout.stateFile);
  const hosts = state.hosts.map((host): HostReport => {
    const plan = hostOf(layout, state.subnet, host.number, host.zone, host.home);
    const { number, name, zone, home, address, folder, log } = plan;
    const cgroup = `/${plan.cgroup}`;
    const runs = peerRuns(host);
    const processes = processesInGroups(readCgroupRoots().map((root) => `${root}${cgroup}`)).size;
    const hostState = runs ? "running" : hostIsThere(layout, plan) ? "peer dead" : "dead";
    return {
      number,
      name,
      zone,
      home,
      address,
      endpoint: endpointOf(plan),
      state: hostState,
      pid: runs ? host.peer?.pid : undefined,
      peer: host.peerId,
      processes,
      cgroup,
      folder,
      log,
    };
  });
  return {
    lab: layout.name,
    phase: state.phase,
    folder: layout.folder,
    tag: layout.tag,
    registry: registryName(state.subnet, false),
    privateRegistry: registryName(state.subnet, true),
    registryRuns: state.registries.length > 0 && state.registries.every(isAlive),
    mesh: state.admin?.meshId,
    router: state.router && {
      address: routerOutside(state.subnet),
      gateway: routerInside(state.subnet),
      runs: state.router.process !== undefined && isAlive(state.router.process),
      only: state.router.only,
      log: routerLog(layout),
    },
    hosts,
    faults: state.faults,
  };
}

/** Takes labs down: this one, all of the checkout, or those of tests whose process is gone. */
export async function takeDown(layout: LabLayout, which: "this" | "all" | "tests"): Promise<string[]> {
  if (which === "this") {
    await destroyLab(layout);
    return [layout.name];
  }
  const folder = join(layout.top, ".lab");
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => which === "all" || isLeftByTest(name)) : [];
  for (const name of names) {
    const other = layoutOf(layout.top, name);
    if (other.ok) await destroyLab(other.value);
  }
  return names;
}

/** Names of labs of tests end with the process that made them: `test-basics-1234-567890`. */
function isLeftByTest(name: string): boolean {
  const match = name.startsWith(TEST_LAB_PREFIX) ? /-(\d+)-(\d+)$/.exec(name) : null;
  return match !== null && processOf(Number(match[1]))?.startTicks !== match[2];
}

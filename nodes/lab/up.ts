import { existsSync, mkdirSync, statfsSync, writeFileSync } from "node:fs";
import { cpus, freemem } from "node:os";
import { join } from "node:path";
import { CcError } from "../../src/base/index.ts";
import { createInvite, waitUntilAllKnowAll } from "./cloud.ts";
import { destroyLab, type HostContext, initPeer, joinPeer, makeHost, peerConfig, startPeer, writePeerConfig } from "./hosts.ts";
import { chooseSubnet, type HostPlan, hostOf, type LabLayout } from "./layout.ts";
import { run, runScript, withLock } from "./machine.ts";
import { isAlive, type ProcessRef } from "./processes.ts";
import { findPrograms } from "./programs.ts";
import { startRegistries } from "./registry.ts";
import { switchRouterOn } from "./router.ts";
import { homeWireScript } from "./router-scripts.ts";
import { registryLegScript, wireScript } from "./scripts.ts";
import { type AdminSettings, type HostState, type LabState, newState, readState, withHost, writeState } from "./state-file.ts";

export type UpOptions = {
  readonly zones: readonly string[];
  readonly home: number;
  readonly memoryBytes: number | undefined;
  readonly diskBytes: number | undefined;
};

const MIB = 1024 ** 2;
/** Part of the machine's free memory and disk that all hosts together declare. */
const SHARE = 0.75;

/** Makes the lab: underlay, registry, hosts, the mesh of their peers. Gives false where it is up already. */
export async function makeLab(layout: LabLayout, options: UpOptions, signal: AbortSignal, say: (line: string) => void): Promise<boolean> {
  const before = readState(layout.stateFile);
  if (before?.phase === "up" && before.hosts.some((host) => host.peer !== undefined && isAlive(host.peer))) {
    const zones = before.hosts.map((host) => host.zone).join(",");
    const home = before.hosts.filter((host) => host.home).length;
    if (zones === options.zones.join(",") && home === options.home) return false;
    throw new CcError("CONFLICT", `a lab of other hosts (${zones}${home > 0 ? `, ${home} of them at home` : ""}) is up already: scripts/lab down`);
  }
  if (existsSync(layout.folder)) {
    say("taking down what is left of an earlier lab");
    await destroyLab(layout);
  }
  const programs = findPrograms(layout.top);
  mkdirSync(layout.folder, { recursive: true });
  say("underlay and registry");
  const subnet = await withLock("subnet", () => makeWire(layout, options, signal));
  const hosts = declareHosts(layout, options);
  let state = newState(subnet, hosts);
  writeState(layout.stateFile, state);
  await runScript(registryLegScript(layout, subnet), signal);
  state = { ...state, registries: await startRegistries(layout, subnet) };
  writeState(layout.stateFile, state);
  if (options.home > 0) {
    say("home router");
    await runScript(homeWireScript(layout), signal);
    state = { ...state, router: await switchRouterOn(layout, subnet, {}, signal) };
    writeState(layout.stateFile, state);
  }
  state = await makeMesh({ layout, programs, subnet, signal }, state, say);
  writeState(layout.stateFile, { ...state, phase: "up" });
  return true;
}

/** Under the machine-wide lock: the subnet is taken once the machine's leg has its address. */
async function makeWire(layout: LabLayout, options: UpOptions, signal: AbortSignal): Promise<string> {
  const routes: readonly { readonly dst?: string }[] = JSON.parse((await run(["ip", "-j", "-4", "route", "show", "table", "all"], { signal })).stdout);
  const subnet = chooseSubnet(
    layout.tag,
    routes.map((route) => route.dst ?? ""),
    options.home > 0,
  );
  if (!subnet.ok) throw new CcError(subnet.code, subnet.message);
  await runScript(wireScript(layout, subnet.value), signal);
  return subnet.value;
}

function declareHosts(layout: LabLayout, options: UpOptions): HostState[] {
  const count = options.zones.length;
  const disk = statfsSync(layout.folder);
  const whole = (bytes: number): number => Math.floor((bytes * SHARE) / count / MIB) * MIB;
  const memoryBytes = options.memoryBytes ?? whole(freemem());
  const diskBytes = options.diskBytes ?? whole(disk.bavail * disk.bsize);
  const outside = count - options.home;
  return options.zones.map((zone, index) => ({ number: index + 1, zone, ...(index >= outside ? { home: true } : {}), memoryBytes, diskBytes }));
}

async function makeMesh(context: HostContext, state: LabState, say: (line: string) => void): Promise<LabState> {
  const { layout, subnet } = context;
  const plans = state.hosts.map((host) => hostOf(layout, subnet, host.number, host.zone, host.home));
  for (const [index, plan] of plans.entries()) {
    const host = state.hosts[index];
    if (host === undefined) continue;
    await makeHost(context, plan);
    writePeerConfig(plan, peerConfig(plan, host, subnet, cpus().length * 1024));
  }
  const [first, ...others] = plans;
  if (first === undefined) throw new CcError("BAD_USAGE", "a lab needs a host");
  say("cc-peer init on h1");
  const admin = await foundMesh(context, first);
  let after: LabState = { ...state, admin };
  const started = new Map<number, { readonly process: ProcessRef; readonly peerId: string }>([[1, await startPeer(context, first)]]);
  if (others.length > 0) say(`cc host invite and cc-peer join on ${others.map((plan) => plan.name).join(", ")}`);
  const invites: string[] = [];
  for (const plan of others) invites.push(await createInvite(context, admin, first, plan.zone));
  await Promise.all(
    others.map(async (plan, index) => {
      await joinPeer(context, plan, invites[index] ?? "");
      started.set(plan.number, await startPeer(context, plan));
    }),
  );
  for (const [number, peer] of started) after = withHost(after, number, (host) => ({ ...host, peer: peer.process, peerId: peer.peerId }));
  writeState(layout.stateFile, after);
  await waitUntilAllKnowAll(context, admin, plans);
  return after;
}

/** `init` on the first host. A lab keeps what a person would write down: the recovery key, and the first admin's secret. */
async function foundMesh(context: HostContext, first: HostPlan): Promise<AdminSettings> {
  const reply = await initPeer(context, first);
  const folder = join(context.layout.folder, "admin");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const secretKeyFile = join(folder, "secret-key");
  writeFileSync(secretKeyFile, `${reply.secretKey}\n`, { mode: 0o600 });
  writeFileSync(join(folder, "recovery-key"), `${reply.recoveryKey}\n`, { mode: 0o600 });
  return { meshId: reply.meshId, accessToken: reply.accessToken, secretKeyFile };
}

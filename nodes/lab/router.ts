import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CcError } from "../../src/base/index.ts";
import type { LabLayout } from "./layout.ts";
import { makeGroup, ownNamespace, readCgroupRoots, readMounts, removeGroup, routerProgram, run, runScript, startProgram, unmountBelow } from "./machine.ts";
import { boundNamespaces } from "./mounts.ts";
import { isAlive, killUntilGone, processesInNamespaces } from "./processes.ts";
import {
  type DaemonOptions,
  daemonConfiguration,
  listMappings,
  parseMappings,
  ROUTER,
  type RouterMapping,
  routerOffScript,
  routerScript,
} from "./router-scripts.ts";
import { enterPart, netFile, WIRE } from "./scripts.ts";
import type { RouterState } from "./state-file.ts";

const READY_MS = 15_000;
const KILL_MS = 10_000;

export const routerLog = (layout: LabLayout): string => join(layout.folder, "router.log");

/** Switches the home router on, with no mapping at all; gives what is remembered of it. */
export async function switchRouterOn(layout: LabLayout, subnet: string, options: DaemonOptions, signal?: AbortSignal): Promise<RouterState> {
  await switchRouterOff(layout);
  makeGroup(`${layout.cgroup}/${ROUTER}`);
  await runScript(routerScript(layout, subnet), signal);
  const file = join(layout.folder, "router.conf");
  const log = routerLog(layout);
  writeFileSync(file, daemonConfiguration(layout, subnet, options));
  writeFileSync(log, "");
  // It believes this file even where the process that wrote it only waits to be buried.
  const pidFile = join(layout.folder, "router.pid");
  rmSync(pidFile, { force: true });
  // -d: it stays in the foreground, and says what it does.
  const argv = enterPart(layout, ROUTER, readCgroupRoots(), [routerProgram(layout.top), "-d", "-f", file, "-P", pidFile]);
  const { ref } = startProgram(argv, { stdout: log, stderr: log, cwd: layout.folder });
  const ready = options.only === "upnp" ? "HTTP listening on port" : "Listening for NAT-PMP/PCP";
  for (let waitedMs = 0; !readFileSync(log, "utf8").includes(ready); waitedMs += 50) {
    signal?.throwIfAborted();
    if (!isAlive(ref) || waitedMs >= READY_MS) throw new CcError("INTERNAL", `the home router does not start:\n${readFileSync(log, "utf8").slice(-1_000)}`);
    await pause(50);
  }
  return { process: ref, ...(options.only === undefined ? {} : { only: options.only }) };
}

/** A power cut. A router that is off stays off. */
export async function switchRouterOff(layout: LabLayout): Promise<void> {
  if (existsSync(netFile(layout, WIRE))) await runScript(routerOffScript(layout));
  const net = netFile(layout, ROUTER);
  const bound = boundNamespaces(readMounts(), layout.namespaces).get(net);
  if (bound !== undefined && bound !== ownNamespace("net")) await killUntilGone(() => processesInNamespaces(new Set([bound])), KILL_MS);
  await unmountBelow(net);
  rmSync(net, { force: true });
  await removeGroup(`${layout.cgroup}/${ROUTER}`);
}

/** What the router forwards to hosts behind it; nothing while it is off. */
export async function routerMappings(layout: LabLayout): Promise<RouterMapping[]> {
  if (!isRouterOn(layout)) return [];
  return parseMappings((await run(listMappings(layout))).stdout);
}

const isRouterOn = (layout: LabLayout): boolean => boundNamespaces(readMounts(), layout.namespaces).has(netFile(layout, ROUTER));

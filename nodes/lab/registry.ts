import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CcError } from "../../src/base/index.ts";
import { type LabLayout, PRIVATE_REGISTRY_PORT, REGISTRY_PORT, registryAddress } from "./layout.ts";
import { makeGroup, readCgroupRoots, registryProgram, startProgram } from "./machine.ts";
import type { ProcessRef } from "./processes.ts";
import { enterPart, REGISTRY } from "./scripts.ts";

/** bcrypt (cost 5) of the password that the private registry asks for, which is no secret: `lab`, of user `lab`. */
const HTPASSWD = "lab:$2b$05$pl3d5Pe8ewVUMYSTSsrkV.3u1dK5zxf6rH86yO/hOeikrquwrxqB2\n";
const READY_MS = 15_000;

export const registryName = (subnet: string, withPassword: boolean): string =>
  `${registryAddress(subnet)}:${withPassword ? PRIVATE_REGISTRY_PORT : REGISTRY_PORT}`;

function configuration(folder: string, listen: string, passwordFile: string | undefined): string {
  const auth = passwordFile === undefined ? "" : `auth:\n  htpasswd:\n    realm: lab\n    path: ${JSON.stringify(passwordFile)}\n`;
  return `version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: ${JSON.stringify(folder)}
  delete:
    enabled: true
http:
  addr: ${JSON.stringify(listen)}
${auth}`;
}

/** Starts the open registry and the one with a password, on the registry's own leg of the underlay. */
export async function startRegistries(layout: LabLayout, subnet: string): Promise<ProcessRef[]> {
  const folder = join(layout.folder, REGISTRY);
  mkdirSync(folder, { recursive: true });
  makeGroup(`${layout.cgroup}/${REGISTRY}`);
  const passwordFile = join(folder, "htpasswd");
  writeFileSync(passwordFile, HTPASSWD);
  const refs: ProcessRef[] = [];
  for (const withPassword of [false, true]) {
    const name = withPassword ? "private" : "open";
    const file = join(folder, `${name}.yml`);
    writeFileSync(file, configuration(join(folder, name), registryName(subnet, withPassword), withPassword ? passwordFile : undefined));
    const log = join(folder, `${name}.log`);
    const argv = enterPart(layout, REGISTRY, readCgroupRoots(), [registryProgram(layout.top), "serve", file]);
    refs.push(startProgram(argv, { stdout: log, stderr: log, cwd: folder }).ref);
  }
  for (const port of [REGISTRY_PORT, PRIVATE_REGISTRY_PORT]) await waitForPort(registryAddress(subnet), port);
  return refs;
}

async function waitForPort(host: string, port: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < READY_MS; waitedMs += 50) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port, timeout: 500 });
      const end = (answer: boolean): void => {
        socket.destroy();
        resolve(answer);
      };
      socket
        .once("connect", () => end(true))
        .once("error", () => end(false))
        .once("timeout", () => end(false));
    });
    if (open) return;
    await pause(50);
  }
  throw new CcError("TIMEOUT", `the lab's registry does not answer at ${host}:${port}`);
}

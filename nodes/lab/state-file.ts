import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { CcError } from "../../src/base/index.ts";
import { errorCode } from "../../src/host/index.ts";
import type { ProcessRef } from "./processes.ts";
import type { Fault } from "./scripts.ts";

const VERSION = 1;

/** What a lab remembers between two commands. Everything that `down` needs follows from the folder instead. */
export type LabState = {
  readonly version: number;
  /** `making` until `up` has come to its end. */
  readonly phase: "making" | "up";
  readonly subnet: string;
  readonly hosts: readonly HostState[];
  readonly registries: readonly ProcessRef[];
  /** Where some hosts are behind a home router. */
  readonly router?: RouterState;
  readonly faults: readonly Fault[];
  readonly admin: AdminSettings | undefined;
};

export type RouterState = {
  /** Left out while it is switched off. */
  readonly process?: ProcessRef;
  /** Left out: it maps ports by both. */
  readonly only?: "pcp" | "upnp";
};

export type HostState = {
  readonly number: number;
  readonly zone: string;
  /** Behind the home router. */
  readonly home?: true;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** Left out while the host is dead. */
  readonly peer?: ProcessRef;
  readonly peerId?: string;
};

/** The first admin's settings; the secret key stands in a file of its own (0600). */
export type AdminSettings = { readonly meshId: string; readonly accessToken: string; readonly secretKeyFile: string };

export function newState(subnet: string, hosts: readonly HostState[]): LabState {
  return { version: VERSION, phase: "making", subnet, hosts, registries: [], faults: [], admin: undefined };
}

/** Undefined where there is no lab, or one of another version of this file. */
export function readState(file: string): LabState | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const state: LabState = JSON.parse(text);
  return state.version === VERSION ? state : undefined;
}

export function requireState(file: string): LabState {
  const state = readState(file);
  if (state === undefined) throw new CcError("NOT_FOUND", "there is no lab; make one: scripts/lab up");
  return state;
}

/** Replaced as a whole: a lab command that is cut off leaves the old one or the new one. */
export function writeState(file: string, state: LabState): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function withHost(state: LabState, number: number, change: (host: HostState) => HostState): LabState {
  return { ...state, hosts: state.hosts.map((host) => (host.number === number ? change(host) : host)) };
}

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemClock, systemRandom } from "../../cli/drivers/clock.ts";
import { provePeer, signWith } from "../../cli/drivers/identity.ts";
import { gatherSettings, parseSettings } from "../../cli/settings.ts";
import type { HostReport, LabReport } from "../../nodes/lab/lab.ts";
import { type LabLayout, layoutOf } from "../../nodes/lab/layout.ts";
import { type CloudClient, createCloudClient } from "../../src/api/client.ts";
import { createDialer } from "../../src/api/drivers/dialer.ts";
import type { Cleanup } from "./cleanup.ts";
import { type Command, outputOf } from "./timed-run.ts";

export const TOP = join(import.meta.dirname, "../..");
const LAB = join(TOP, "nodes/lab/main.ts");
export const HOSTS = 3;

/** One line of a peer's log. */
export type LogLine = { readonly time: string; readonly msg: string; readonly container?: string } & Readonly<Record<string, unknown>>;

/** The bench's own lab of three hosts, as its first admin. */
export class BenchLab {
  readonly layout: LabLayout;
  readonly #signal: AbortSignal;
  readonly #environments = new Map<number, Readonly<Record<string, string>>>();

  constructor(signal: AbortSignal) {
    const layout = layoutOf(TOP, "bench");
    if (!layout.ok) throw new Error(layout.message);
    this.layout = layout.value;
    this.#signal = signal;
  }

  async up(cleanup: Cleanup): Promise<void> {
    // Taken down whatever happened: with a signal of its own, since this one may be aborted.
    cleanup.add("the lab", async () => void (await this.#lab(new AbortController().signal, "down")));
    await this.#lab(this.#signal, "down");
    await this.#lab(this.#signal, "up", "--hosts", String(HOSTS));
  }

  image(name: string, from?: string): Promise<string> {
    return this.#lab(this.#signal, "image", name, ...(from === undefined ? [] : ["--from", from])).then((text) => text.trim());
  }

  async status(): Promise<LabReport> {
    return JSON.parse(await this.#lab(this.#signal, "status", "--json"));
  }

  async host(number: number): Promise<HostReport> {
    const host = (await this.status()).hosts[number - 1];
    if (host === undefined) throw new Error(`the lab has no host ${number}`);
    return host;
  }

  /** `cc` at a host's peer; what it remembers of its writes goes into the lab's folder. */
  async cc(words: readonly string[], host = 1): Promise<Command> {
    return { argv: [join(TOP, "dist/bin/cc"), ...words], env: await this.environment(host) };
  }

  /** Starts something on a host and leaves it to the caller: it should end when its standard input does. */
  startOn(host: number, ...argv: readonly string[]): ChildProcess {
    return spawn(process.execPath, [LAB, "--name", this.layout.name, "exec", String(host), "--", ...argv], { stdio: ["pipe", "ignore", "inherit"] });
  }

  async environment(host: number): Promise<Readonly<Record<string, string>>> {
    const known = this.#environments.get(host);
    if (known !== undefined) return known;
    const text = await this.#lab(this.#signal, "env", "--host", String(host));
    const settings = [...text.matchAll(/^export (CC_\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value.replaceAll("'", "")]);
    const folder = join(this.layout.folder, "bench");
    const environment = { ...Object.fromEntries(settings), XDG_CONFIG_HOME: join(folder, "config"), XDG_STATE_HOME: join(folder, "state") };
    this.#environments.set(host, environment);
    return environment;
  }

  /** The command line's own client without its process, for many calls. It has to be closed. */
  async client(host: number): Promise<CloudClient> {
    const { endpoints, credentials } = parseSettings(gatherSettings({}, await this.environment(host)));
    const warn = (text: string): void => console.error(`bench: ${text}`);
    const parts = { dialer: createDialer(provePeer(credentials.mesh)), clock: systemClock, random: systemRandom, seen: () => [], wrote: () => undefined, warn };
    return createCloudClient(parts, { endpoints, mesh: credentials.mesh, sign: signWith(credentials) });
  }

  #lab(signal: AbortSignal, ...words: readonly string[]): Promise<string> {
    return outputOf([process.execPath, LAB, "--name", this.layout.name, ...words], signal);
  }
}

/** Follows the peers' logs: gives what came since the last look, or since it was made. */
export class PeerLogs {
  readonly #files: readonly string[];
  readonly #read = new Map<string, number>();

  constructor(hosts: readonly HostReport[]) {
    this.#files = hosts.map(({ log }) => log);
    for (const file of this.#files) this.#read.set(file, statSync(file).size);
  }

  next(): LogLine[] {
    return this.#files.flatMap((file) => {
      const bytes = readFileSync(file).subarray(this.#read.get(file) ?? 0);
      const end = bytes.lastIndexOf(0x0a) + 1;
      this.#read.set(file, (this.#read.get(file) ?? 0) + end);
      const lines = bytes.toString("utf8", 0, end).split("\n");
      return lines.filter((line) => line.startsWith("{")).map((line): LogLine => JSON.parse(line));
    });
  }
}

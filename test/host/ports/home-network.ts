import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { homeSubnet, outsideSubnet, routerInside, routerOutside } from "../../../nodes/lab/layout.ts";
import { routerProgram } from "../../../nodes/lab/machine.ts";
import { type DaemonOptions, daemonConfiguration, parseMappings, routerRuleset } from "../../../nodes/lab/router-scripts.ts";
import type { MappingStatus, RouterForward } from "../../../src/ports/index.ts";
import type { HostLine, HostSettings } from "./home-host.ts";

const run = promisify(execFile);
const TOP = join(import.meta.dirname, "../../..");
const SUBNET = "10.231.7";
export const OUTSIDE = routerOutside(SUBNET);
export const GATEWAY = routerInside(SUBNET);
const HOST = `${homeSubnet(SUBNET)}.13`;
const NEIGHBOUR = `${SUBNET}.11`;
/** Slow machines are slow: what is waited for takes a second or two otherwise. */
const WAIT_MS = 40_000;

/** A status as the host's process prints it. */
export type SaidStatus = MappingStatus & { readonly externalAddress?: unknown };
type Said = { readonly status: readonly SaidStatus[]; readonly router: { readonly gateway?: string; readonly via: readonly string[] } };

type Spaces = Readonly<Record<"home" | "router" | "world", ChildProcess>>;

/**
 * A host at home, its router with the real daemon, and a neighbour in the world: three network namespaces that live in processes of this
 * one, so that nothing is left of them however the test ends.
 */
export class HomeNetwork {
  readonly folder: string;
  readonly #spaces: Spaces;
  readonly #children = new Set<ChildProcess>();
  #daemon: ChildProcess | undefined;

  private constructor(folder: string, spaces: Spaces) {
    this.folder = folder;
    this.#spaces = spaces;
  }

  static async make(): Promise<HomeNetwork> {
    const folder = await mkdtemp(join(tmpdir(), "cc-ports-"));
    const space = (): ChildProcess => spawn("setpriv", ["--pdeathsig", "KILL", "unshare", "--net", "sleep", "600"], { stdio: "ignore" });
    const home = new HomeNetwork(folder, { home: space(), router: space(), world: space() });
    await home.#cable();
    return home;
  }

  async #cable(): Promise<void> {
    for (const name of ["home", "router", "world"] as const) {
      await eventually(`network namespace ${name}`, async () => (await this.netOf(name)) !== (await this.netOf(undefined)));
      await this.in(name, "ip", "link", "set", "lo", "up");
    }
    const pid = (name: "home" | "world"): string => String(this.#spaces[name].pid);
    const legs = [
      ["lan0", "home", `${GATEWAY}/24`, `${HOST}/24`],
      ["wan0", "world", `${OUTSIDE}/24`, `${NEIGHBOUR}/24`],
    ] as const;
    for (const [link, name, ours, theirs] of legs) {
      await this.in("router", "ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid(name));
      await this.in("router", "ip", "addr", "add", ours, "dev", link);
      await this.in("router", "ip", "link", "set", link, "up");
      await this.in(name, "ip", "addr", "add", theirs, "dev", "eth0");
      await this.in(name, "ip", "link", "set", "eth0", "up");
    }
    await this.in("home", "ip", "route", "add", "default", "via", GATEWAY);
    await this.in("world", "ip", "route", "add", `${outsideSubnet(SUBNET)}.0/24`, "dev", "eth0");
    await this.in("router", "ip", "route", "add", `${SUBNET}.0/24`, "dev", "wan0", "src", OUTSIDE);
    await this.in("router", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward");
  }

  async netOf(name: "home" | "router" | "world" | undefined): Promise<string> {
    const pid = name === undefined ? "self" : String(this.#spaces[name].pid);
    return (await run("readlink", [`/proc/${pid}/ns/net`])).stdout;
  }

  /** Runs a program in one of the three networks; gives its output. */
  async in(name: "home" | "router" | "world", ...argv: readonly string[]): Promise<string> {
    return (await run("nsenter", [`--net=/proc/${this.#spaces[name].pid}/ns/net`, ...argv], { timeout: WAIT_MS })).stdout;
  }

  /** The same for one that stays. */
  start(name: "home" | "router" | "world", argv: readonly string[], stdio: "pipe" | number = "pipe"): ChildProcess {
    const words = ["--pdeathsig", "KILL", "nsenter", `--net=/proc/${this.#spaces[name].pid}/ns/net`, ...argv];
    const child = spawn("setpriv", words, { stdio: stdio === "pipe" ? ["pipe", "pipe", "inherit"] : ["ignore", stdio, stdio] });
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    return child;
  }

  /** Switches the router on, without any mapping. */
  async routerOn(options: DaemonOptions = {}): Promise<void> {
    await this.routerOff();
    const rules = join(this.folder, "rules");
    const file = join(this.folder, "router.conf");
    const log = join(this.folder, "router.log");
    await writeFile(rules, routerRuleset(SUBNET));
    await writeFile(file, daemonConfiguration({ tag: "tests" }, SUBNET, options));
    await writeFile(log, "");
    await this.in("router", "nft", "-f", rules);
    const output = openSync(log, "a");
    this.#daemon = this.start("router", [routerProgram(TOP), "-d", "-f", file, "-P", join(this.folder, "router.pid")], output);
    closeSync(output);
    const ready = options.only === "upnp" ? "HTTP listening" : "Listening for NAT-PMP/PCP";
    await eventually("the router's daemon", async () => readFileSync(log, "utf8").includes(ready));
  }

  /** The daemon dies at once, and its rules with it: what is left is a gateway that answers nothing. */
  async routerOff(): Promise<void> {
    if (this.#daemon !== undefined) await end(this.#daemon);
    this.#daemon = undefined;
    await this.in("router", "nft", "flush", "ruleset");
  }

  /** What the router forwards: `8080/tcp -> 80`. */
  async mapped(): Promise<string[]> {
    const listing = await this.in("router", "nft", "list", "ruleset");
    return parseMappings(listing)
      .filter(({ address }) => address === HOST)
      .map(({ protocol, externalPort, port }) => `${externalPort}/${protocol} -> ${port}`)
      .toSorted();
  }

  host(settings: Partial<HostSettings> & Pick<HostSettings, "via">): HomeHost {
    const all = { book: join(this.folder, "book", "mappings.json"), leaseSeconds: 600, lookEveryMs: 1_000, routeEveryMs: 1_000, ...settings };
    return new HomeHost(this.start("home", [process.execPath, join(import.meta.dirname, "home-host.ts"), JSON.stringify(all)]));
  }

  async close(): Promise<void> {
    for (const child of [...this.#children, ...Object.values(this.#spaces)]) await end(child);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** The process that keeps mappings for a host at home. */
export class HomeHost {
  readonly #child: ChildProcess;
  readonly statuses: { readonly atMs: number; readonly said: Said }[] = [];
  readonly logs: string[] = [];

  constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error("the host has no output");
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said: HostLine = JSON.parse(line);
      if ("log" in said) this.logs.push(`${said.level}: ${said.log}`);
      else this.statuses.push({ atMs: performance.now(), said: said as Said });
    });
  }

  want(...forwards: readonly (Partial<Omit<RouterForward, "hostAddress">> & { readonly port: number; readonly hostAddress?: string })[]): void {
    const all = forwards.map((forward) => ({ protocol: "tcp", externalPort: forward.port, description: "web", ...forward }));
    this.#child.stdin?.write(`${JSON.stringify(all)}\n`);
  }

  /** What it said last. */
  last(): Said | undefined {
    return this.statuses.at(-1)?.said;
  }

  async until(what: string, holds: (status: readonly SaidStatus[]) => boolean): Promise<readonly SaidStatus[]> {
    return eventually(
      what,
      async () => {
        const said = this.last()?.status;
        return said !== undefined && holds(said) ? said : undefined;
      },
      () => `${JSON.stringify(this.last())}\n${this.logs.slice(-5).join("\n")}`,
    );
  }

  /** In good order. */
  async stop(): Promise<void> {
    const gone = ended(this.#child);
    this.#child.stdin?.end();
    await gone;
  }

  async kill(): Promise<void> {
    await end(this.#child);
  }
}

export async function eventually<T>(what: string, look: () => Promise<T | undefined | false>, seen: () => string = () => ""): Promise<T> {
  const startedMs = performance.now();
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() - startedMs > WAIT_MS) throw new Error(`not within ${WAIT_MS} ms: ${what} ${seen()}`);
    await pause(50);
  }
}

const ended = (child: ChildProcess): Promise<unknown> =>
  child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : new Promise((resolve) => child.once("exit", resolve));

async function end(child: ChildProcess): Promise<void> {
  const gone = ended(child);
  child.kill("SIGKILL");
  await gone;
}

export const isMapped = (status: readonly SaidStatus[]): boolean => status.length > 0 && status.every(({ state }) => state === "mapped");
export const isFailed = (status: readonly SaidStatus[]): boolean => status.length > 0 && status.every(({ state }) => state === "failed");

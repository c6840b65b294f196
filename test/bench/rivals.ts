/**
 * Docker and podman as Debian has them, each in its usual way, without a trace on the machine: they run in network, mount
 * and process id namespaces of their own, so bridges, rules and mounts end with the namespaces, and all processes with
 * their first one. /run is a fresh tmpfs there, /etc and /var/lib are writable only for them; images and containers lie in
 * the lab's folder, cgroups below the lab's: the lab's own `down` removes both.
 *
 * Podman has to be called inside (nsenter, about 2 ms, which its times include); Docker's client reaches its daemon through
 * a socket from outside, as always.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { LabLayout } from "../../nodes/lab/layout.ts";
import { readMounts } from "../../nodes/lab/machine.ts";
import { mountsToDrop } from "../../nodes/lab/mounts.ts";
import { netFile, WIRE } from "../../nodes/lab/scripts.ts";
import { requireState } from "../../nodes/lab/state-file.ts";
import { shellQuote } from "../../src/base/index.ts";
import { TOP } from "./bench-lab.ts";
import type { Cleanup } from "./cleanup.ts";
import { type Command, outputOf } from "./timed-run.ts";

/** By full path: other programs of these names may stand first in PATH. */
export const DOCKER = "/usr/bin/docker";
export const DOCKERD = "/usr/sbin/dockerd";
export const PODMAN = "/usr/bin/podman";

/** Free on the underlay: .3 to .10 are kept for a router and the like. */
const ADDRESS_LAST = 9;
const PORT = "rivals";
const READY_MS = 60_000;
/** The machine's hard limits may be lower than podman's defaults, which then fail. */
const PODMAN_LIMITS = ["--ulimit", "nofile=16384:16384", "--ulimit", "nproc=4096:4096"];

export type Network = "default" | "none";

export class Rivals {
  readonly #layout: LabLayout;
  readonly #signal: AbortSignal;
  readonly #folder: string;
  #first: { readonly pid: number; readonly child: ChildProcess } | undefined;

  constructor(layout: LabLayout, signal: AbortSignal) {
    this.#layout = layout;
    this.#signal = signal;
    this.#folder = join(layout.folder, "rivals");
  }

  /** The lab has to be up: they pull from its registry. */
  async start(cleanup: Cleanup): Promise<void> {
    cleanup.add("docker and podman", () => this.#stop());
    mkdirSync(this.#folder, { recursive: true });
    await this.#enterNamespaces();
    await this.#connect();
    await this.#startDocker();
  }

  docker(words: readonly string[]): Command {
    return { argv: [DOCKER, ...words], env: { DOCKER_HOST: `unix://${this.#socket}`, DOCKER_CONFIG: join(this.#folder, "docker-client"), NO_PROXY: "*" } };
  }

  podman(words: readonly string[]): Command {
    const storage = ["--root", join(this.#folder, "podman"), "--runroot", "/run/podman-storage", "--storage-driver", "overlay"];
    const settings = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--network-config-dir", join(this.#folder, "podman-networks")];
    return { argv: [...this.#inside(), PODMAN, ...storage, ...settings, ...words], env: { HOME: this.#folder, NO_PROXY: "*" } };
  }

  dockerRun(image: string, network: Network, command: readonly string[]): Command {
    return this.docker(["run", "--rm", ...(network === "none" ? ["--network", "none"] : []), image, ...command]);
  }

  podmanRun(image: string, network: Network, command: readonly string[]): Command {
    return this.podman(["run", "--rm", ...PODMAN_LIMITS, ...this.#podmanCgroup, ...(network === "none" ? ["--network", "none"] : []), image, ...command]);
  }

  /** One that stays until the namespaces go. */
  podmanDetached(name: string, image: string, command: readonly string[]): Command {
    return this.podman(["run", "--detach", "--name", name, ...PODMAN_LIMITS, ...this.#podmanCgroup, image, ...command]);
  }

  /** Argv that does nothing but go where podman runs: what podman's times have on top. */
  podmanEntrance(): Command {
    return { argv: [...this.#inside(), "true"] };
  }

  get #podmanCgroup(): readonly string[] {
    return ["--cgroup-parent", `/${this.#layout.cgroup}/podman`];
  }

  get #socket(): string {
    return join(this.#folder, "docker.sock");
  }

  #inside(): string[] {
    return ["nsenter", "--target", String(this.#first?.pid), "--mount", "--net", "--pid", "--"];
  }

  async #enterNamespaces(): Promise<void> {
    const drop = mountsToDrop(readMounts(), [TOP, process.execPath]).map((point) => `umount -l ${shellQuote(point)} 2>/dev/null || :`);
    // Daemons write keys and databases to fixed places: those writes end with the namespace.
    const ownLayer = (path: string, name: string): string =>
      `mkdir -p /run/own/${name}/u /run/own/${name}/w; mount -t overlay overlay -o lowerdir=${path},upperdir=/run/own/${name}/u,workdir=/run/own/${name}/w ${path}`;
    const script = `${drop.join("\n")}
mount -t tmpfs -o mode=755,size=512m tmpfs /run
mkdir -p /run/lock
${ownLayer("/etc", "etc")}
${ownLayer("/var/lib", "var-lib")}
if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified || :; fi
ip link set lo up
echo ready
exec catatonit -P`;
    const unshare = ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private"];
    // Dies with this process, however that ends, and everything inside dies with it.
    const child = spawn("setpriv", ["--pdeathsig", "KILL", ...unshare, "sh", "-ec", script], {
      stdio: ["ignore", "pipe", "inherit"],
      env: this.#environment(),
    });
    const ready = new Promise<void>((resolve, reject) => {
      child.stdout.once("data", () => resolve());
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the rivals' namespaces could not be made (${code})`)));
    });
    // A namespace that ends later is noticed by what runs in it.
    ready.catch(() => undefined);
    await ready;
    const pid = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ")[0]);
    if (!Number.isSafeInteger(pid) || pid <= 0) throw new Error("the rivals' first process is not there");
    this.#first = { pid, child };
  }

  /** A leg on the lab's bridge, to reach its registry. */
  async #connect(): Promise<void> {
    const { subnet } = requireState(this.#layout.stateFile);
    const target = `/proc/${this.#first?.pid}/ns/net`;
    const inWire = `ip link add ${PORT} type veth peer name eth0 netns ${target} && ip link set ${PORT} master ${WIRE} up`;
    await outputOf(["nsenter", `--net=${netFile(this.#layout, WIRE)}`, "sh", "-ec", inWire], this.#signal);
    const inside = `ip addr add ${subnet}.${ADDRESS_LAST}/24 dev eth0 && ip link set eth0 up`;
    await outputOf(["nsenter", `--net=${target}`, "sh", "-ec", inside], this.#signal);
  }

  async #startDocker(): Promise<void> {
    const { subnet } = requireState(this.#layout.stateFile);
    const configuration = join(this.#folder, "dockerd.json");
    writeFileSync(configuration, "{}\n");
    const words = [
      ...["--config-file", configuration, "--data-root", join(this.#folder, "docker"), "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"],
      ...["--host", `unix://${this.#socket}`, "--insecure-registry", `${subnet}.0/24`, "--storage-driver", "overlay2"],
      ...["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", `/${this.#layout.cgroup}/docker`],
    ];
    const log = openSync(this.dockerLog, "a");
    const daemon = spawn("nsenter", [...this.#inside().slice(1), DOCKERD, ...words], { stdio: ["ignore", log, log], env: this.#environment() });
    daemon.once("error", () => undefined); // Seen below: it does not answer.
    for (let waitedMs = 0; waitedMs < READY_MS; waitedMs += 250) {
      const answer = await outputOf(this.docker(["version"]).argv, this.#signal, this.docker([]).env).catch(() => undefined);
      if (answer !== undefined) return;
      if (daemon.exitCode !== null) break;
      await pause(250, undefined, { signal: this.#signal });
    }
    throw new Error(`dockerd does not answer; the end of its log:\n${readFileSync(this.dockerLog, "utf8").split("\n").slice(-12).join("\n")}`);
  }

  get dockerLog(): string {
    return join(this.#folder, "dockerd.log");
  }

  #environment(): Record<string, string> {
    return { PATH: process.env["PATH"] ?? "", HOME: this.#folder, NO_PROXY: "*", no_proxy: "*" };
  }

  /** The kernel kills all in a process id namespace with its first process. */
  async #stop(): Promise<void> {
    const first = this.#first;
    if (first === undefined || first.child.exitCode !== null || first.child.signalCode !== null) return;
    const gone = new Promise((resolve) => first.child.once("exit", resolve));
    first.child.kill("SIGKILL");
    await gone;
  }
}

/** Debian packages of the rivals; nothing of theirs is started, now or at boot of a machine that forbids it already. */
const PACKAGES = ["podman", "netavark", "aardvark-dns", "docker.io", "iptables"];

export function installRivals(say: (line: string) => void): void {
  const known = execFileSync("dpkg-query", ["-W", "-f", `\${Package} \${db:Status-Status}\n`], { encoding: "utf8", maxBuffer: 64 * 1024 ** 2 });
  const installed = new Set(
    known
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  const missing = PACKAGES.filter((name) => !installed.has(name));
  if (missing.length === 0) return;
  say(`installing ${missing.join(" ")} from Debian (their services are not started)`);
  execFileSync(join(import.meta.dirname, "install-rivals"), missing, { stdio: ["ignore", 2, 2] });
}

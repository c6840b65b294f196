import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type ContainerId, formatIp, silentLogger } from "../../../src/base/index.ts";
import { createNftProgram } from "../../../src/firewall/drivers/nft/program.ts";
import { createNftFirewall } from "../../../src/firewall/drivers/nft.ts";
import type { FirewallDriver } from "../../../src/firewall/index.ts";
import { createShellHelper } from "../../../src/host/index.ts";
import { batch, forwarding, HOST_NAMES, inContainer, otherHosts, QUIET } from "./layout.ts";
import {
  CONTAINERS,
  type ContainerName,
  containersOf,
  GATEWAY,
  HOST_TRANSIT,
  HOSTS,
  type HostName,
  hostDevice,
  macAt,
  macOfGateway,
  OUTSIDE,
  portDevice,
  SPREAD,
  VPCS,
  type VpcName,
  VXLAN_PORT,
  WORLD,
} from "./scene.ts";

const ANSWER_S_MAX = 20;
const SILENCE_S = 3;
export const SILENCE = "(no answer)";

export type Namespace = "out" | HostName | ContainerName | `${VpcName}@${HostName}`;

/** The scene as network namespaces of this machine. */
export class Topology {
  /** Unique on the machine, and short enough to be the name of a namespace. */
  readonly #prefix = `ccfw${process.pid}-`;
  readonly #made: string[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #kept: { close(): Promise<void> }[] = [];

  path = (namespace: Namespace): string => `/run/netns/${this.#name(namespace)}`;
  #name = (namespace: string): string => `${this.#prefix}${namespace}`;

  static async make(): Promise<Topology> {
    const topology = new Topology();
    try {
      await topology.#build();
    } catch (error) {
      await topology.close();
      throw error;
    }
    return topology;
  }

  /** A driver of its own, as a peer that has just started has it. */
  driver(host: HostName = "h1", logger = silentLogger): FirewallDriver {
    const shell = createShellHelper();
    const program = createNftProgram();
    this.#kept.push(shell, program);
    const nameOf = (container: ContainerId): ContainerName =>
      (Object.keys(CONTAINERS) as ContainerName[]).find((name) => CONTAINERS[name].id === container) ?? "web";
    return createNftFirewall(
      { logger, shell, program },
      {
        host: this.path(host),
        vpc: (vpc) => this.path(`${vpc === VPCS.one.id ? "one" : "two"}@${host}`),
        container: (container) => this.path(nameOf(container)),
      },
    );
  }

  /** Runs a program in a namespace to its end. */
  async run(namespace: Namespace, argv: readonly string[], input: string | Uint8Array = ""): Promise<Ended> {
    return runProgram(["nsenter", `--net=${this.path(namespace)}`, ...argv], input);
  }

  /** Standard output of a program that must succeed. */
  async must(namespace: Namespace, ...argv: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(namespace, argv);
    if (code !== 0) throw new Error(`${argv.join(" ")} in ${namespace}: ${stderr}`);
    return stdout;
  }

  nft(namespace: Namespace, text: string): Promise<Ended> {
    return this.run(namespace, ["nft", "-f", "-"], text);
  }

  /** Answers each caller with its own name and the caller's address. */
  async serve(namespace: Namespace, protocol: "tcp" | "udp", port: number, name: string = namespace): Promise<void> {
    const listen = protocol === "tcp" ? `TCP-LISTEN:${port},fork,reuseaddr` : `UDP-RECVFROM:${port},fork,reuseaddr`;
    const argv = ["--pdeathsig", "KILL", "nsenter", `--net=${this.path(namespace)}`, "socat", listen, `SYSTEM:echo ${name} $SOCAT_PEERADDR`];
    const child = spawn("setpriv", argv, { stdio: "ignore" });
    this.#children.push(child);
    const hex = port.toString(16).toUpperCase().padStart(4, "0");
    for (let tries = 0; tries < 800; tries += 1) {
      const isSocat = (await readFile(`/proc/${child.pid}/comm`, "utf8")).trim() === "socat";
      if (isSocat && (await readFile(`/proc/${child.pid}/net/${protocol}`, "utf8")).includes(`:${hex} 00000000:0000`)) return;
      await delay(25);
    }
    throw new Error(`${protocol} ${port} in ${namespace} is not served`);
  }

  /** What the service at this address answers; `(refused)`, `(unreachable)` or, after so many seconds, `(no answer)`. */
  async call(namespace: Namespace, address: string, port: number, protocol: "tcp" | "udp" = "tcp", waitS = ANSWER_S_MAX): Promise<string> {
    const target = protocol === "tcp" ? `TCP4:${address}:${port},connect-timeout=${waitS}` : `UDP4:${address}:${port}`;
    const argv = ["nsenter", `--net=${this.path(namespace)}`, "socat", "-T", String(waitS), "-t", String(waitS), "-", target];
    // A datagram has no end: one line is the answer.
    const { stdout, stderr } = await runProgram(argv, protocol === "udp" ? "hello\n" : "", { enough: (text) => text.includes("\n") });
    if (stdout !== "") return stdout.trim();
    if (stderr.includes("refused")) return "(refused)";
    return /unreachable|No route|not permitted/.test(stderr) ? "(unreachable)" : SILENCE;
  }

  /** Makes all the calls at once. Long is waited for an answer that is to come, since machines are busy, and not so long for one that is not. */
  async expect(
    t: { same(found: unknown, wanted: unknown, message: string): boolean },
    calls: readonly (readonly [from: Namespace, address: string, port: number, protocol?: "tcp" | "udp"])[],
    answers: readonly string[],
    message = "the answers",
  ): Promise<void> {
    const found = calls.map(([from, address, port, protocol], at) =>
      this.call(from, address, port, protocol, answers[at] === SILENCE ? SILENCE_S : ANSWER_S_MAX),
    );
    t.same(await Promise.all(found), answers, message);
  }

  /** `true` when the address answers a ping. */
  async ping(namespace: Namespace, address: string): Promise<boolean> {
    return (await this.run(namespace, ["busybox", "ping", "-c", "1", "-W", "3", address])).code === 0;
  }

  /** Sends frames as they are given, but for zeros behind them: all have one length, so that one program sends them all. */
  async sendFrames(namespace: Namespace, frames: readonly Uint8Array[], device = "eth0"): Promise<void> {
    const bytes = Math.max(...frames.map(({ length }) => length));
    const all = Buffer.concat(frames.map((frame) => Buffer.concat([frame, Buffer.alloc(bytes - frame.length)])));
    const file = join(await mkdtemp(join(tmpdir(), "cc-frames-")), "frames");
    await writeFile(file, all);
    try {
      await this.must(namespace, "socat", "-u", "-b", String(bytes), `OPEN:${file},rdonly`, `INTERFACE:${device}`);
    } finally {
      await rm(dirname(file), { recursive: true });
    }
  }

  /** Packets that came in by a device. */
  async received(namespace: Namespace, device = "eth0"): Promise<number> {
    const line = (await this.must(namespace, "cat", "/proc/net/dev")).split("\n").find((text) => text.trim().startsWith(`${device}:`));
    return Number(line?.split(":")[1]?.trim().split(/\s+/)[1]);
  }

  /** Takes a namespace away with all that is in it. */
  async remove(namespace: Namespace): Promise<void> {
    const { code, stderr } = await runProgram(["ip", "netns", "del", this.#name(namespace)]);
    if (code !== 0) throw new Error(stderr);
  }

  /** A fresh one in its place. */
  async add(namespace: Namespace): Promise<void> {
    const { code, stderr } = await runProgram(["ip", "netns", "add", this.#name(namespace)]);
    if (code !== 0) throw new Error(stderr);
  }

  async stopServing(): Promise<void> {
    for (const child of this.#children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    }
  }

  async close(): Promise<void> {
    await this.stopServing();
    await Promise.all(this.#kept.map((kept) => kept.close()));
    for (const name of this.#made.splice(0)) await runProgram(["ip", "netns", "del", name]);
  }

  async #build(): Promise<void> {
    const namespaces: readonly Namespace[] = [
      "out",
      ...HOST_NAMES,
      ...SPREAD.map(([vpc, host]): Namespace => `${vpc}@${host}`),
      ...(Object.keys(CONTAINERS) as ContainerName[]),
    ];
    this.#made.push(...namespaces.map(this.#name));
    await this.#script(
      batch(
        "ip",
        undefined,
        this.#made.map((name) => `netns add ${name}`),
      ),
    );
    await this.#script(namespaces.map((namespace) => this.#sysctls(namespace)).join("\n"));
    await this.#script(
      [
        this.#batch("ip", "out", this.#outside()),
        ...HOST_NAMES.map((host) => this.#batch("ip", host, this.#host(host))),
        ...SPREAD.flatMap(([vpc, host]) => [
          this.#sysctl(host, [`net/ipv4/conf/${hostDevice(vpc)}/route_localnet=1`]),
          this.#batch("ip", `${vpc}@${host}`, this.#vpc(vpc, host)),
          this.#batch("bridge", `${vpc}@${host}`, forwarding(vpc, host)),
        ]),
        ...(Object.keys(CONTAINERS) as ContainerName[]).map((name) => this.#batch("ip", name, inContainer(name))),
      ].join("\n"),
    );
  }

  async #script(text: string): Promise<void> {
    const { code, stderr } = await runProgram(["sh", "-e"], text, { timeoutMs: 120_000 });
    if (code !== 0) throw new Error(`the namespaces cannot be made: ${stderr}`);
  }

  #batch = (tool: "ip" | "bridge", namespace: Namespace, lines: readonly string[]): string => batch(tool, this.#name(namespace), lines);

  #sysctls(namespace: Namespace): string {
    const isRouter = namespace.includes("@") || namespace in HOSTS;
    return this.#sysctl(namespace, [
      "net/ipv6/conf/all/disable_ipv6=1",
      "net/ipv6/conf/default/disable_ipv6=1",
      ...(isRouter ? ["net/ipv4/ip_forward=1"] : []),
      ...(namespace.includes("@")
        ? ["net/bridge/bridge-nf-call-iptables=0", "net/ipv4/conf/all/send_redirects=0", "net/ipv4/conf/default/send_redirects=0"]
        : []),
    ]);
  }

  #sysctl(namespace: Namespace, settings: readonly string[]): string {
    const writes = settings.map((setting) => `echo ${setting.split("=")[1]} >/proc/sys/${setting.split("=")[0]}`).join(" && ");
    return `nsenter --net=${this.path(namespace)} sh -c '${writes}'`;
  }

  #outside(): readonly string[] {
    return [
      "link set lo up",
      "link add lan0 type bridge",
      `addr add ${OUTSIDE}/24 dev lan0`,
      `addr add ${WORLD}/32 dev lo`,
      "link set lan0 up",
      ...HOST_NAMES.flatMap((host) => [`link add u-${host} type veth peer name eth0 netns ${this.#name(host)}`, `link set u-${host} master lan0 up`]),
    ];
  }

  #host(host: HostName): readonly string[] {
    const own = formatIp(HOSTS[host]);
    return [
      "link set lo up",
      `addr add ${own}/24 dev eth0`,
      "link set eth0 up",
      `route add default via ${OUTSIDE}`,
      ...SPREAD.filter(([, where]) => where === host).flatMap(([vpc]) => {
        const v = this.#name(`${vpc}@${host}`);
        return [
          `link add ${hostDevice(vpc)} type veth peer name up0 netns ${v}`,
          `addr add ${formatIp(HOST_TRANSIT)} peer ${formatIp(VPCS[vpc].transit[host])}/32 dev ${hostDevice(vpc)}`,
          `link set ${hostDevice(vpc)} up`,
          // Its socket stays in the host's namespace.
          `link add vx0 netns ${v} type vxlan id ${VPCS[vpc].vni} local ${own} dev eth0 dstport ${VXLAN_PORT} nolearning`,
        ];
      }),
    ];
  }

  #vpc(vpc: VpcName, host: HostName): readonly string[] {
    const hostEnd = formatIp(HOST_TRANSIT);
    return [
      "link set lo up",
      `addr add ${formatIp(VPCS[vpc].transit[host])} peer ${hostEnd}/32 dev up0`,
      "link set up0 up",
      `route add default via ${hostEnd} dev up0`,
      "link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0",
      `link set br0 address ${macOfGateway(vpc)} mtu 1450`,
      "link set vx0 mtu 1450 master br0",
      `link set vx0 type bridge_slave ${QUIET} neigh_suppress on`,
      "link set vx0 up",
      "link set br0 up",
      `addr add ${formatIp(GATEWAY)}/24 dev br0`,
      ...containersOf(vpc, host).flatMap(({ name, address }) => [
        `link add ${portDevice(name)} mtu 1450 type veth peer name eth0 address ${macAt(vpc, address)} mtu 1450 netns ${this.#name(name)}`,
        `link set ${portDevice(name)} master br0`,
        `link set ${portDevice(name)} type bridge_slave ${QUIET}`,
        `link set ${portDevice(name)} up`,
      ]),
      ...[...containersOf(vpc).map(({ address }) => address), ...otherHosts(vpc, host).map(({ passing }) => passing)].map(
        (address) => `neigh replace ${formatIp(address)} lladdr ${macAt(vpc, address)} dev br0 nud permanent`,
      ),
      // Other hosts pass published ports on.
      ...otherHosts(vpc, host).map(({ passing }) => `route add ${formatIp(passing)}/32 dev br0`),
    ];
  }
}

type Ended = { readonly code: number; readonly stdout: string; readonly stderr: string };

function runProgram(
  argv: readonly string[],
  input: string | Uint8Array = "",
  { enough = (_stdout: string): boolean => false, timeoutMs = 60_000 } = {},
): Promise<Ended> {
  const [program = "", ...words] = argv;
  return new Promise((resolve, reject) => {
    let said = "";
    const child = execFile(program, words, { timeout: timeoutMs, maxBuffer: 16 * 1024 ** 2 }, (error, stdout, stderr) => {
      if (enough(said)) resolve({ code: 0, stdout, stderr });
      else if (error !== null && typeof error.code !== "number") reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
    child.stdout?.on("data", (chunk: string) => {
      said += chunk;
      if (enough(said)) child.kill();
    });
    child.stdin?.on("error", () => undefined); // A program that reads nothing.
    child.stdin?.end(input);
  });
}

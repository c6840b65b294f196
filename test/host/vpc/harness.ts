import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  base32,
  type ContainerId,
  formatIp,
  type Ip,
  type PeerId,
  type PerlHelper,
  parseCidr,
  parseIp,
  type ShellHelper,
  shellQuote,
  type VpcId,
} from "../../../src/base/index.ts";
import { networkScript } from "../../../src/containers/drivers/crun-conmon/scripts.ts";
import { createCommandRunner, createShellHelper, createUserNamespacePin, mountsIn, systemRandom } from "../../../src/host/index.ts";
import { createPortProgram } from "../../../src/vpc/drivers/overlay/port-program.ts";
import { openOverlay } from "../../../src/vpc/drivers/overlay.ts";
import {
  gatewayOf,
  type HostNetwork,
  type LocalPort,
  macOf,
  mtuBesideTunnel,
  type OverlayDriver,
  TRANSIT_CIDR,
  type Underlay,
  type VpcNetwork,
} from "../../../src/vpc/index.ts";

const VXLAN_PORT = 4_789;
export const UNDERLAY_MTU = 1_500;

const newId = (): string => base32(systemRandom.bytes(13)).slice(0, 20);
export const newContainer = (): ContainerId => `c${newId()}` as ContainerId;

export function ip(text: string): Ip {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(`${text} is no address`);
  return parsed;
}

export type TestVpc = Pick<VpcNetwork, "id" | "vni" | "cidr" | "gateway">;

let vnis = 100;
export function makeVpc(cidrText = "10.0.0.0/16"): TestVpc {
  const cidr = parseCidr(cidrText);
  if (!cidr.ok) throw new TypeError(cidr.message);
  vnis += 1;
  return { id: `n${newId()}` as VpcId, vni: vnis, cidr: cidr.value, gateway: gatewayOf(cidr.value) };
}

/** A network namespace that stands for a host, with one leg on the wire. */
export class TestHost {
  readonly name: string;
  readonly netns: string;
  readonly runDir: string;
  address: Ip;
  /** Its end of a tunnel to the others, where there is one. */
  tunnel: Ip | undefined;
  readonly #raw: ShellHelper;
  /** As a peer has it: in the host's network namespace. */
  readonly shell: ShellHelper;
  readonly program = createPortProgram();
  readonly local = new Map<VpcId, LocalPort[]>();
  driver: OverlayDriver | undefined;

  constructor(name: string, folder: string, address: Ip, raw: ShellHelper) {
    this.name = name;
    this.netns = join(folder, `net-${name}`);
    this.runDir = join(folder, `run-${name}`);
    this.address = address;
    this.#raw = raw;
    this.shell = {
      run: (script, options) => raw.run(`nsenter --net=${shellQuote(this.netns)} sh -c ${shellQuote(script)}`, options),
      close: () => raw.close(),
    };
  }

  /** The driver of a new peer; the one before is not asked. */
  async open(shell = this.shell, program: PerlHelper = this.program): Promise<OverlayDriver> {
    this.driver = await openOverlay({ shell, program }, { runDir: this.runDir, transit: TRANSIT_CIDR });
    return this.driver;
  }

  get overlay(): OverlayDriver {
    if (this.driver === undefined) throw new TypeError(`${this.name} has no driver`);
    return this.driver;
  }

  /** Runs a script here; its output. Throws when it fails. */
  async run(script: string): Promise<string> {
    return expectDone(await this.shell.run(script), script);
  }

  async inVpc(vpc: VpcId, script: string): Promise<string> {
    const path = join(this.runDir, "vpc", vpc, "net");
    return expectDone(await this.#raw.run(`nsenter --net=${shellQuote(path)} sh -c ${shellQuote(script)}`), script);
  }

  /** Names of everything in its folder of pins. */
  async pins(): Promise<readonly string[]> {
    return (await readdir(join(this.runDir, "vpc"))).filter((name) => !name.startsWith("."));
  }
}

const wayBetween = (one: TestHost, other: TestHost): Ip => (one.tunnel === undefined ? other.address : (other.tunnel ?? other.address));

const expectDone = ({ exitCode, stdout }: { readonly exitCode: number; readonly stdout: string }, script: string): string => {
  if (exitCode !== 0) throw new Error(`${script}: ${stdout}`);
  return stdout;
};

export type TestContainer = {
  readonly id: ContainerId;
  readonly vpc: TestVpc;
  readonly address: Ip;
  readonly host: TestHost;
  readonly namespacePath: string;
  /** Runs a script in its network namespace. */
  readonly run: (script: string) => Promise<{ readonly exitCode: number; readonly stdout: string }>;
};

/** Hosts on one wire, and their containers; all of it in namespaces of its own. */
export class Scene {
  readonly folder: string;
  readonly hosts: readonly TestHost[];
  readonly #shell: ShellHelper;
  readonly #userNamespace: string;
  readonly #containers: TestContainer[] = [];

  constructor(folder: string, hosts: readonly TestHost[], shell: ShellHelper, userNamespace: string) {
    this.folder = folder;
    this.hosts = hosts;
    this.#shell = shell;
    this.#userNamespace = userNamespace;
  }

  static async open(names: readonly string[]): Promise<Scene> {
    const folder = await mkdtemp(join(tmpdir(), "cc-vpc-"));
    const shell = createShellHelper();
    const pin = createUserNamespacePin({ runDir: join(folder, "pin"), commands: createCommandRunner() });
    const hosts = names.map((name, at) => new TestHost(name, folder, ip(`172.31.0.${at + 1}`), shell));
    const scene = new Scene(folder, hosts, shell, pin.path);
    try {
      await pin.ready();
      const wire = join(folder, "net-wire");
      for (const path of [wire, ...hosts.map(({ netns }) => netns)]) await writeFile(path, "");
      await scene.run(
        [
          `unshare --net=${wire} sh -ec 'ip link add wire mtu 9000 type bridge mcast_snooping 0 stp_state 0 forward_delay 0; ip link set wire up; cd /proc/sys/net; [ ! -e bridge ] || echo 0 >bridge/bridge-nf-call-iptables'`,
          ...hosts.map(({ netns }) => `unshare --net=${netns} ip link set lo up`),
          ...hosts.map(({ name, netns, address }) =>
            [
              `nsenter --net=${wire} sh -ec 'ip link add ${name} type veth peer name eth0 netns ${netns}; ip link set ${name} master wire up'`,
              `nsenter --net=${netns} sh -ec 'ip addr add ${formatIp(address)}/24 dev eth0; ip link set eth0 up; ip route add default via 172.31.0.254'`,
            ].join("\n"),
          ),
        ].join("\n"),
      );
      for (const host of hosts) await host.open();
    } catch (error) {
      await scene.close();
      throw error;
    }
    return scene;
  }

  /** A driver beside the host's own, with a transit range of its own. */
  async openWith(host: TestHost, range: string): Promise<OverlayDriver> {
    const transit = parseCidr(range);
    if (!transit.ok) throw new TypeError(transit.message);
    return openOverlay({ shell: host.shell, program: host.program }, { runDir: host.runDir, transit: transit.value });
  }

  async run(script: string): Promise<string> {
    return expectDone(await this.#shell.run(`set -e\n${script}`), script);
  }

  host(at: number): TestHost {
    const host = this.hosts[at];
    if (host === undefined) throw new TypeError(`there is no host ${at}`);
    return host;
  }

  /** A container's network namespace, which state names from now on, and which has no port yet. */
  async makeContainer(host: TestHost, vpc: TestVpc, address: string): Promise<TestContainer> {
    const id = newContainer();
    const namespacePath = join(this.folder, id);
    await writeFile(namespacePath, "");
    await this.run(networkScript(this.#userNamespace, namespacePath));
    const run: TestContainer["run"] = (script) => this.#shell.run(`nsenter --net=${namespacePath} sh -c ${shellQuote(script)}`);
    const container = { id, vpc, address: ip(address), host, namespacePath, run };
    host.local.set(vpc.id, [...(host.local.get(vpc.id) ?? []), { container: id, address: container.address }]);
    this.#containers.push(container);
    return container;
  }

  async attach(container: TestContainer, network?: VpcNetwork): Promise<void> {
    const { host, vpc, id, address, namespacePath } = container;
    await host.overlay.attach({ underlay: this.underlay(host), vpc: network ?? this.vpcAt(host, vpc), port: { container: id, address }, namespacePath });
  }

  async start(host: TestHost, vpc: TestVpc, address: string): Promise<TestContainer> {
    const container = await this.makeContainer(host, vpc, address);
    await this.attach(container);
    return container;
  }

  /** State does not name it any more. */
  drop({ host, vpc, id }: TestContainer): void {
    const left = (host.local.get(vpc.id) ?? []).filter(({ container }) => container !== id);
    if (left.length > 0) host.local.set(vpc.id, left);
    else host.local.delete(vpc.id);
    this.#containers.splice(
      this.#containers.findIndex((other) => other.id === id),
      1,
    );
  }

  underlay(host: TestHost): Underlay {
    const neighbours = this.hosts.filter((other) => other !== host).map((other) => wayBetween(host, other));
    const mtu = this.hosts.some(({ tunnel }) => tunnel !== undefined) ? mtuBesideTunnel(UNDERLAY_MTU) : UNDERLAY_MTU;
    return { mtu, vxlanPort: VXLAN_PORT, neighbours, ...(host.tunnel === undefined ? {} : { tunnel: host.tunnel }) };
  }

  vpcAt(host: TestHost, vpc: TestVpc): VpcNetwork {
    const portsOf = (other: TestHost) =>
      (other.local.get(vpc.id) ?? []).map(({ address }) => ({ address, host: wayBetween(host, other), peer: other.name as PeerId }));
    return { ...vpc, local: host.local.get(vpc.id) ?? [], remote: this.hosts.filter((other) => other !== host).flatMap(portsOf) };
  }

  /** What state says to a host. */
  network(host: TestHost): HostNetwork {
    const vpcs = new Map(this.#containers.map(({ vpc }) => [vpc.id, vpc]));
    return {
      underlay: this.underlay(host),
      vpcs: [...host.local.keys()].flatMap((id) => [vpcs.get(id)].flatMap((vpc) => (vpc ? [this.vpcAt(host, vpc)] : []))),
    };
  }

  /** Every host hears what the others have. */
  async followAll(): Promise<void> {
    for (const host of this.hosts) await host.overlay.follow(() => this.network(host));
  }

  async close(): Promise<void> {
    for (const { path } of (await mountsIn(this.folder)).toReversed()) await this.#shell.run(`umount -l ${shellQuote(path)}`);
    await Promise.all([this.#shell, ...this.hosts.map(({ program }) => program)].map((kept) => kept.close()));
    await rm(this.folder, { recursive: true });
  }
}

/**
 * Echo requests of so many bytes (IP header and all) that no router may take apart, sent to all at once; what became of those that were not
 * answered within 2 s: `refused` by the sender's own device, or `lost`.
 */
const PROBE = String.raw`use Socket;
my ($bytes, @to) = @ARGV;
socket(S, PF_INET, SOCK_RAW, 1) or die "socket: $!";
setsockopt(S, 0, 10, pack("i", 2)) or die "df: $!";
my %left = map { inet_aton($_) => $_ } @to;
for my $to (@to) {
  my $packet = pack("C2 n3 a*", 8, 0, 0, $$ & 0xffff, 1, "x" x ($bytes - 28));
  my $sum = 0;
  $sum += $_ for unpack("n*", length($packet) % 2 ? $packet . "\0" : $packet);
  $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
  substr($packet, 2, 2) = pack("n", ~$sum & 0xffff);
  next if send(S, $packet, 0, sockaddr_in(0, inet_aton($to)));
  print "refused $to\n";
  delete $left{inet_aton($to)};
}
my $end = time + 3;
while (%left and time < $end) {
  my $ready = "";
  vec($ready, fileno(S), 1) = 1;
  next unless select($ready, undef, undef, 0.2) > 0;
  recv(S, my $answer, 65535, 0);
  my ($type, $id) = (unpack("x20 C", $answer), unpack("x24 n", $answer));
  delete $left{substr($answer, 12, 4)} if $type == 0 and $id == ($$ & 0xffff);
}
print "lost $_\n" for sort values %left;
`;

/** What was not answered; empty: all of them were. */
export async function probe(from: TestContainer, to: readonly Ip[], bytes = 84): Promise<readonly string[]> {
  const said = expectDone(await from.run(`perl -e ${shellQuote(PROBE)} ${bytes} ${to.map(formatIp).join(" ")}`), "probe").trim();
  return said === "" ? [] : said.split("\n");
}

/** Counts VXLAN packets that a host sends. */
export async function countVxlan(host: TestHost): Promise<void> {
  await host.run(
    `nft 'table inet probe { counter to_hosts { }; chain out { type filter hook output priority 0; udp dport ${VXLAN_PORT} counter name to_hosts; }; }'`,
  );
}

export const vxlanSent = async (host: TestHost): Promise<number> => counterIn(await host.run("nft list table inet probe"), "to_hosts");

function counterIn(listing: string, name: string): number {
  const found = new RegExp(`counter ${name} \\{\\s*packets (\\d+)`).exec(listing)?.[1];
  if (found === undefined) throw new Error(`there is no counter ${name}: ${listing}`);
  return Number(found);
}

/** From now on counts what its device receives: IPv4 packets, and frames of anybody but its own VPC's addresses. */
export async function watch(container: TestContainer, own: readonly Ip[]): Promise<void> {
  const { id, gateway } = container.vpc;
  const macs = [gateway, ...own].map((address) => macOf(id, address));
  const chain = `chain in { type filter hook ingress device eth0 priority 0; ether saddr != { ${macs.join(", ")} } counter name from_strangers; ether type ip counter name of_ip; }`;
  const rules = `nft 'table netdev probe { counter from_strangers { }; counter of_ip { }; ${chain}; }'`;
  expectDone(await container.run(rules), rules);
}

export async function received(container: TestContainer): Promise<{ readonly ip: number; readonly strange: number }> {
  const { stdout } = await container.run("nft list table netdev probe");
  return { ip: counterIn(stdout, "of_ip"), strange: counterIn(stdout, "from_strangers") };
}

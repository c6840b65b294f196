/**
 * Attaches containers to VPCs as the peer does, by the real drivers, in a network and a mount namespace of its own: what it makes ends with it.
 * `attach-program FOLDER FIRST COUNT`: so often the first container of a host, then so many in one VPC. One line of JSON tells all times.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addressAt, base32, type Cidr, type ContainerId, formatIp, type Ip, parseCidr, type ShellHelper, type VpcId } from "../../../src/base/index.ts";
import { networkScript } from "../../../src/containers/drivers/crun-conmon/scripts.ts";
import { createNftProgram } from "../../../src/firewall/drivers/nft/program.ts";
import { createNftFirewall } from "../../../src/firewall/drivers/nft.ts";
import type { FirewallState, PublishedPort } from "../../../src/firewall/index.ts";
import { createCommandRunner, createLogger, createShellHelper, createUserNamespacePin, systemRandom } from "../../../src/host/index.ts";
import { createPortProgram } from "../../../src/vpc/drivers/overlay/port-program.ts";
import { openOverlay } from "../../../src/vpc/drivers/overlay.ts";
import { gatewayOf, macOf, portName, TRANSIT_CIDR, transitName, type Underlay, type VpcNetwork } from "../../../src/vpc/index.ts";

/** What an attach took: by the clock, and of the processors, in this process and all that it started. */
export type Attached = { readonly ms: number; readonly cpuMs: number };
export type AttachReport = {
  readonly first: readonly Attached[];
  /** In the order in which they came. */
  readonly more: readonly Attached[];
  /** With a port that the host publishes. */
  readonly published: readonly Attached[];
  /** The same devices, made by a script of `ip` and `bridge`. */
  readonly byHand: readonly Attached[];
};

const BY_HAND_EVERY = 10;
const PUBLISHED = 10;
const TICK_MS = 10;

const [folder = "", firstText = "", countText = ""] = process.argv.slice(2);
const [cidr, outside] = ["10.64.0.0/16", "172.31.0.0/24"].map(mustParse) as [Cidr, Cidr];
function mustParse(text: string): Cidr {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new TypeError(parsed.message);
  return parsed.value;
}

const newId = (kind: string): string => `${kind}${base32(systemRandom.bytes(13)).slice(0, 20)}`;
const hostAddress = (at: number): Ip => addressAt(outside, BigInt(at));

type Port = { readonly container: ContainerId; readonly address: Ip };
type Vpc = Pick<VpcNetwork, "id" | "vni" | "cidr" | "gateway"> & { readonly ports: Port[] };

const shells = { overlay: createShellHelper(), firewall: createShellHelper(), other: createShellHelper() };
const programs = { overlay: createPortProgram(), firewall: createNftProgram() };
const userNamespace = createUserNamespacePin({ runDir: join(folder, "pin"), commands: createCommandRunner() });
const pathOf = (container: ContainerId): string => join(folder, container);
const underlay: Underlay = { mtu: 1_500, vxlanPort: 4_789, neighbours: [2, 3].map(hostAddress) };

await userNamespace.ready();
await run(shells.other, "ip link set lo up");
await run(shells.firewall, ":"); // The peer's have begun, too.
await programs.firewall.ask("generations\n.");
const overlay = await openOverlay({ shell: shells.overlay, program: programs.overlay }, { runDir: folder, transit: TRANSIT_CIDR });
const firewall = createNftFirewall(
  { logger: createLogger({ level: "warn" }), shell: shells.firewall, program: programs.firewall },
  { host: undefined, vpc: (vpc) => overlay.namespaceOf(vpc), container: pathOf },
);
let vnis = 100;
let numbers = 1;
const published: PublishedPort[] = [];

async function run(shell: ShellHelper, script: string): Promise<string> {
  const { exitCode, stdout } = await shell.run(script);
  if (exitCode !== 0) throw new Error(`${script}: ${stdout}`);
  return stdout;
}

function makeVpc(): Vpc {
  vnis += 1;
  numbers = 1;
  return { id: newId("n") as VpcId, vni: vnis, cidr: cidr, gateway: gatewayOf(cidr), ports: [] };
}

async function makeContainer(): Promise<Port> {
  numbers += 1;
  const container = newId("c") as ContainerId;
  writeFileSync(pathOf(container), "");
  await run(shells.other, networkScript(userNamespace.path, pathOf(container)));
  return { container, address: addressAt(cidr, BigInt(numbers)) };
}

const networkOf = ({ ports, ...vpc }: Vpc): VpcNetwork => ({ ...vpc, local: ports, remote: [] });

function stateOf(vpcs: readonly Vpc[]): FirewallState {
  const transits = overlay.transits();
  return {
    transit: { range: TRANSIT_CIDR, host: addressAt(TRANSIT_CIDR, 1n) },
    underlay: { own: hostAddress(1), vxlanPort: underlay.vxlanPort, neighbours: underlay.neighbours, hosts: [1, 2, 3].map(hostAddress) },
    vpcs: vpcs.flatMap(({ id, gateway, ports }) => {
      const transit = transits.get(id);
      const known = ports.map(({ container, address }) => ({ container, device: portName(container), mac: macOf(id, address), address, labels: {} }));
      return transit === undefined ? [] : [{ id, gateway, hostDevice: transitName(id), transit, ports: known, members: known, rules: [] }];
    }),
    published,
  };
}

async function timed(work: () => Promise<void>): Promise<Attached> {
  const [fromMs, fromCpuMs] = [performance.now(), cpuMs()];
  await work();
  return { ms: performance.now() - fromMs, cpuMs: cpuMs() - fromCpuMs };
}

/** As nodes/peer/network joins a container to its VPC. */
async function attach(vpc: Vpc, port: Port): Promise<void> {
  vpc.ports.push(port);
  const network = networkOf(vpc);
  await overlay.ensureVpc(underlay, network);
  const [failed] = await Promise.all([firewall.apply(stateOf([vpc])), overlay.attach({ underlay, vpc: network, port, namespacePath: pathOf(port.container) })]);
  if (failed.length > 0) throw new Error(failed.map(({ message }) => message).join("; "));
}

async function byHand(vpc: Vpc, { container, address }: Port): Promise<void> {
  const [mac, text, device, pin] = [macOf(vpc.id, address), formatIp(address), portName(container), overlay.namespaceOf(vpc.id)];
  const batch = (namespace: string, tool: string, lines: readonly string[]): string =>
    [`nsenter --net=${namespace} ${tool} -batch - <<'.' || exit 1`, ...lines, "."].join("\n");
  await run(
    shells.other,
    [
      batch(pin, "ip", [
        `link add ${device} mtu 1450 type veth peer name eth0 address ${mac} mtu 1450 netns ${pathOf(container)}`,
        `link set ${device} master br0`,
        `link set ${device} type bridge_slave learning off flood off mcast_flood off`,
        `neigh replace ${text} lladdr ${mac} dev br0 nud permanent`,
        `link set ${device} up`,
      ]),
      batch(pathOf(container), "ip", [`addr add ${text}/16 dev eth0`, "link set eth0 up", `route add default via ${formatIp(vpc.gateway)} dev eth0`]),
      batch(pin, "bridge", [`fdb replace ${mac} dev ${device} master static`]),
    ].join("\n"),
  );
}

/** Of this process, and of its children with all that they waited for. */
function cpuMs(): number {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
  const ticks = ["self", ...children].map((pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0);
  });
  return ticks.reduce((sum, some) => sum + some, 0) * TICK_MS;
}

const first: Attached[] = [];
for (let turn = 0; turn < Number(firstText); turn += 1) {
  const [vpc, port] = [makeVpc(), await makeContainer()];
  first.push(await timed(() => attach(vpc, port)));
  await overlay.detach(port.container);
  await firewall.apply(stateOf([]));
}
const vpc = makeVpc();
const more: Attached[] = [];
const hand: Attached[] = [];
for (let turn = 0; turn < Number(countText); turn += 1) {
  const port = await makeContainer();
  more.push(await timed(() => attach(vpc, port)));
  if (turn % BY_HAND_EVERY !== 0) continue;
  const other = await makeContainer();
  hand.push(await timed(() => byHand(vpc, other)));
}
const withPort: Attached[] = [];
for (let turn = 0; turn < PUBLISHED; turn += 1) {
  const port = await makeContainer();
  published.push({ hostPort: 8_000 + turn, protocol: "tcp", vpc: vpc.id, address: port.address, port: 80 });
  withPort.push(await timed(() => attach(vpc, port)));
}
console.log(JSON.stringify({ first, more, published: withPort, byHand: hand } satisfies AttachReport));
await overlay.close();
await Promise.all([...Object.values(shells), ...Object.values(programs)].map((kept) => kept.close()));

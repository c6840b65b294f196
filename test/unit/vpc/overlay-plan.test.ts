import t from "tap";
import { macOf } from "../../../src/vpc/index.ts";
import { type AttachedPort, EMPTY_SIDE, sortPorts, type VpcModel, wantedVpc, withoutPort, withPort } from "../../../src/vpc/overlay-model.ts";
import { portName, transitName } from "../../../src/vpc/overlay-names.ts";
import { planHost, planRemoval, planVpc } from "../../../src/vpc/overlay-plan.ts";
import { attachLines, detachLines } from "../../../src/vpc/overlay-port.ts";
import { absentVpc } from "../../../src/vpc/overlay-seen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { containerId, differences, ip, localPort, network, planText, remotePort, TRANSIT, UNDERLAY, vpcId } from "./overlay-fixture.ts";

const id = vpcId(1);
const attached = (seed: number): AttachedPort => ({ mark: { ...localPort(seed), namespace: 4_000 + seed }, mtu: 1_450 });
const mac = (address: string) => macOf(id, ip(address));
const end = transitName(id);

t.test("a VPC that is not here yet", async (t) => {
  const wanted = wantedVpc(UNDERLAY, network({ remote: [remotePort(9, 2)] }), TRANSIT, []);
  const plan = planVpc(id, false, absentVpc(id, EMPTY_SIDE), wanted);
  t.same(planText(plan), [
    "vpc, pin:",
    "  ipv6/conf/default/disable_ipv6 1",
    "  ipv6/conf/all/disable_ipv6 1",
    "  ipv4/ip_forward 1",
    "  ipv4/conf/all/rp_filter 1",
    "  ipv4/conf/all/accept_redirects 0",
    "  ipv4/conf/default/send_redirects 0",
    "  ipv4/conf/all/send_redirects 0",
    "  bridge/bridge-nf-call-iptables 0",
    "  bridge/bridge-nf-call-ip6tables 0",
    "  bridge/bridge-nf-call-arptables 0",
    "host, ip:",
    `  link add ${end} address ${mac("100.127.240.1")} mtu 1450 type veth peer name up0 address ${mac("100.127.240.2")} mtu 1450 netns ${id}/net`,
    `  link set ${end} alias ${id}`,
    `  link set ${end} up`,
    `  addr replace 100.127.240.1 peer 100.127.240.2/32 dev ${end}`,
    `  link add vx0 netns ${id}/net mtu 1450 type vxlan id 77 dstport 4789 nolearning`,
    "host, sysctl:",
    `  ipv4/conf/${end}/route_localnet 1`,
    `  ipv6/conf/${end}/disable_ipv6 1`,
    "vpc, ip:",
    `  link add br0 address ${mac("10.0.0.1")} mtu 1450 type bridge mcast_snooping 0 stp_state 0 forward_delay 0 vlan_default_pvid 0`,
    "  link set br0 up",
    "  link set vx0 master br0",
    "  link set vx0 type bridge_slave learning off flood off mcast_flood off bcast_flood off neigh_suppress on proxy_arp off locked off isolated on",
    "  link set vx0 up",
    "  link set up0 up",
    "  addr replace 10.0.0.1/16 dev br0",
    "  addr replace 100.127.240.2 peer 100.127.240.1/32 dev up0",
    "  route replace 10.0.0.0/16 dev br0 proto kernel scope link src 10.0.0.1",
    "  route replace 100.127.240.1 dev up0 proto kernel scope link src 100.127.240.2",
    "  route replace default via 100.127.240.1 dev up0",
    `  neigh replace 10.0.0.9 lladdr ${mac("10.0.0.9")} dev br0 nud permanent`,
    "vpc, bridge:",
    `  fdb replace ${mac("10.0.0.9")} dev vx0 self permanent dst 172.31.0.2`,
    `  fdb replace ${mac("10.0.0.9")} dev vx0 master static`,
  ]);
  const kernel = new FakeKernel(id);
  kernel.apply(plan);
  t.same(differences(kernel.model(), wanted), []);
  t.same(planVpc(id, true, kernel.model(), wanted), []);
});

const before = network({ local: [localPort(5)], remote: [remotePort(9, 2), remotePort(10, 3)] });
const model = (vpc = before, underlay = UNDERLAY, ports = [attached(5)]): VpcModel => wantedVpc(underlay, vpc, TRANSIT, ports);
const change = (to: VpcModel, from = model()): readonly string[] => planText(planVpc(id, true, from, to));

t.test("a host has another address: nothing but the way to it changes", async (t) => {
  t.same(change(model({ ...before, remote: [remotePort(9, 2), remotePort(10, 7)] })), [
    "vpc, bridge:",
    `  fdb replace ${mac("10.0.0.10")} dev vx0 self permanent dst 172.31.0.7`,
  ]);
});

t.test("containers of other hosts come and go", async (t) => {
  t.same(change(model({ ...before, remote: [remotePort(9, 2), remotePort(11, 2)] })), [
    "vpc, ip:",
    `  neigh replace 10.0.0.11 lladdr ${mac("10.0.0.11")} dev br0 nud permanent`,
    "  neigh del 10.0.0.10 dev br0",
    "vpc, bridge:",
    `  fdb replace ${mac("10.0.0.11")} dev vx0 self permanent dst 172.31.0.2`,
    `  fdb replace ${mac("10.0.0.11")} dev vx0 master static`,
    `  fdb del ${mac("10.0.0.10")} dev vx0 master`,
    `  fdb del ${mac("10.0.0.10")} dev vx0 self`,
  ]);
});

t.test("a host that passes published ports on: answers to its passing address go back to it", async (t) => {
  const passing = [{ address: ip("252.31.0.3"), host: ip("172.31.0.3") }];
  t.same(change(model({ ...before, passing })), [
    "vpc, ip:",
    "  route replace 252.31.0.3 dev br0 scope link",
    `  neigh replace 252.31.0.3 lladdr ${mac("252.31.0.3")} dev br0 nud permanent`,
    "vpc, bridge:",
    `  fdb replace ${mac("252.31.0.3")} dev vx0 self permanent dst 172.31.0.3`,
    `  fdb replace ${mac("252.31.0.3")} dev vx0 master static`,
  ]);
  t.same(change(model(), model({ ...before, passing })), [
    "vpc, ip:",
    "  neigh del 252.31.0.3 dev br0",
    "  route del 252.31.0.3 dev br0 scope link",
    "vpc, bridge:",
    `  fdb del ${mac("252.31.0.3")} dev vx0 master`,
    `  fdb del ${mac("252.31.0.3")} dev vx0 self`,
  ]);
});

t.test("an address that moves to another host goes there in one step", async (t) => {
  t.same(change(model({ ...before, local: [], remote: [...before.remote, remotePort(5, 2)] }, UNDERLAY, [])), [
    "vpc, ip:",
    `  link del ${portName(containerId(5))}`,
    "vpc, bridge:",
    `  fdb replace ${mac("10.0.0.5")} dev vx0 self permanent dst 172.31.0.2`,
    `  fdb replace ${mac("10.0.0.5")} dev vx0 master static`,
  ]);
});

t.test("another MTU, source address or family of the underlay", async (t) => {
  t.same(change(model(before, { ...UNDERLAY, mtu: 9_000 }, [attached(5)])), [
    "host, ip:",
    `  link set ${end} mtu 8950`,
    "vpc, ip:",
    "  link set br0 mtu 8950",
    "  link set vx0 mtu 8950",
    "  link set up0 mtu 8950",
  ]);
  const grown = sortPorts(before, model(before, { ...UNDERLAY, mtu: 9_000 }), 8_950);
  t.same(grown, { attached: [attached(5)], missing: before.local }, "the container's end is in another namespace: attach is asked for it");
  t.same(change(model(before, { ...UNDERLAY, local: ip("172.31.0.8") })), ["vpc, ip:", "  link set vx0 type vxlan local 172.31.0.8"]);
  const tunnel = { mtu: 1_420, vxlanPort: 4_789, neighbours: [], local: ip("fd00::1") };
  const over6 = model({ ...before, remote: [remotePort(9, 2), { ...remotePort(10, 3), host: ip("fd00::3") }] }, tunnel);
  t.same(change(over6), [
    "vpc, ip:",
    "  link del vx0",
    "host, ip:",
    `  link set ${end} mtu 1350`,
    `  link add vx0 netns ${id}/net mtu 1350 type vxlan id 77 dstport 4789 nolearning local fd00::1`,
    "vpc, ip:",
    "  link set br0 mtu 1350",
    "  link set vx0 master br0",
    "  link set vx0 type bridge_slave learning off flood off mcast_flood off bcast_flood off neigh_suppress on proxy_arp off locked off isolated on",
    "  link set vx0 up",
    "  link set up0 mtu 1350",
    "  neigh del 10.0.0.9 dev br0",
    "vpc, bridge:",
    `  fdb replace ${mac("10.0.0.10")} dev vx0 self permanent dst fd00::3`,
    `  fdb replace ${mac("10.0.0.10")} dev vx0 master static`,
  ]);
});

t.test("what others broke", async (t) => {
  const kernel = new FakeKernel(id);
  kernel.apply(planVpc(id, false, absentVpc(id, EMPTY_SIDE), model(before, UNDERLAY, [])));
  kernel.inside.set("lo", { kind: "", fixed: "", place: "", options: {}, mac: undefined, mtu: 65_536, alias: "", master: undefined, flags: {}, up: false });
  kernel.inside.set("eth7", { kind: "", fixed: "", place: "", options: {}, mac: undefined, mtu: 1_500, alias: "", master: "br0", flags: {}, up: true });
  kernel.inside.set("dummy0", {
    kind: "dummy",
    fixed: "",
    place: "",
    options: {},
    mac: undefined,
    mtu: 1_500,
    alias: "",
    master: undefined,
    flags: {},
    up: true,
  });
  kernel.addresses.set("br0", ["10.0.0.77/16", "10.0.0.1/16"]);
  kernel.addresses.set("dummy0", ["192.0.2.1/24"]);
  kernel.routes.push("192.0.2.0/24 dev dummy0 proto kernel scope link src 192.0.2.1", "198.51.100.0/24 dev br0");
  kernel.neighbours.set("10.0.0.99", "02:00:00:00:00:01");
  kernel.bridgeFdb.set("02:00:00:00:00:01", "vx0");
  kernel.bridgeFdb.set(mac("10.0.0.9"), "br0 permanent");
  kernel.vxlanFdb.set("00:00:00:00:00:00", "172.31.0.9");
  kernel.vxlanFdb.set(mac("10.0.0.9"), "172.31.0.2 and 172.31.0.9");
  kernel.sysctls.set("ipv4/ip_forward", "0");
  const plan = planVpc(id, true, kernel.model(), model(before, UNDERLAY, []));
  t.same(planText(plan), [
    "vpc, sysctl:",
    "  ipv4/ip_forward 1",
    "vpc, ip:",
    "  addr del 10.0.0.77/16 dev br0",
    "  addr replace 10.0.0.1/16 dev br0",
    "  route replace 10.0.0.0/16 dev br0 proto kernel scope link src 10.0.0.1",
    "  neigh del 10.0.0.99 dev br0",
    "  route del 198.51.100.0/24 dev br0",
    "  link set eth7 nomaster",
    "  link del dummy0",
    "vpc, bridge:",
    `  fdb del ${mac("10.0.0.9")} dev vx0 self`,
    `  fdb replace ${mac("10.0.0.9")} dev vx0 self permanent dst 172.31.0.2`,
    `  fdb del ${mac("10.0.0.9")} dev br0 self`,
    `  fdb replace ${mac("10.0.0.9")} dev vx0 master static`,
    "  fdb del 02:00:00:00:00:01 dev vx0 master",
    "  fdb del 00:00:00:00:00:00 dev vx0 self",
  ]);
});

t.test("a kernel that does not know a thing is not asked for it", async (t) => {
  const wanted = model();
  const links = new Map([...wanted.inside.links].map(([name, link]) => [name, { ...link, flags: { learning: false } }]));
  const old = { ...wanted, inside: { ...wanted.inside, links, sysctls: new Map([["ipv4/ip_forward", "1"]]) } };
  t.same(planVpc(id, true, old, wanted), []);
});

t.test("a VPC that goes", async (t) => {
  const kernel = new FakeKernel(id);
  kernel.apply(planVpc(id, false, absentVpc(id, EMPTY_SIDE), model(before, UNDERLAY, [])));
  const plan = planRemoval(true, kernel.model());
  t.same(planText(plan), ["vpc, ip:", "  link del up0", "  link del vx0", "vpc, unpin:"]);
  kernel.apply(plan);
  t.same([kernel.inside.size, kernel.outside.size, kernel.isPinned], [0, 0, false]);
  const links = new Map([...model().outside.links].map(([name, link]) => [name, { ...link, place: "" }]));
  const single = { ...absentVpc(id, EMPTY_SIDE), outside: { ...model().outside, links } };
  t.same(planText(planRemoval(false, single)), ["host, ip:", `  link del ${end}`]);
});

t.test("the host forwards, and what is not ours stays", async (t) => {
  const link = { kind: "veth", fixed: "", place: "", options: {}, mac: undefined, mtu: 1_500, alias: "", master: undefined, flags: {}, up: true };
  const seen = {
    links: new Map([
      [end, link],
      [transitName(vpcId(2)), link],
      ["cc-foreign", link],
      ["cc-aaaaaaaaaaa", { ...link, kind: "dummy" }],
    ]),
    addresses: new Map(),
    sysctls: new Map([["ipv4/ip_forward", "0"]]),
  };
  t.same(planText(planHost(seen, new Set([end]))), ["host, sysctl:", "  ipv4/ip_forward 1", "host, ip:", `  link del ${transitName(vpcId(2))}`]);
});

t.test("attach and detach leave what a plan would have made", async (t) => {
  const kernel = new FakeKernel(id);
  const without = model(before, UNDERLAY, []);
  kernel.apply(planVpc(id, false, absentVpc(id, EMPTY_SIDE), without));
  const { mark, mtu } = attached(5);
  const lines = attachLines(before, mark, 1_450);
  const port = portName(mark.container);
  t.same(lines.container, [
    `link add eth0 address ${mac("10.0.0.5")} mtu 1450 type veth peer name ${port} mtu 1450 netns ${id}/net`,
    "addr add 10.0.0.5/16 dev eth0",
    "link set eth0 up",
    "route add default via 10.0.0.1 dev eth0",
  ]);
  kernel.inside.set(port, {
    kind: "veth",
    fixed: "",
    place: "",
    options: {},
    mac: "02:00:00:00:00:09",
    mtu: 1_450,
    alias: "",
    master: undefined,
    flags: {},
    up: false,
  });
  kernel.apply([
    { at: "vpc", tool: "ip", lines: lines.vpc },
    { at: "vpc", tool: "bridge", lines: lines.fdb },
  ]);
  t.same(differences(kernel.model(), model()), []);
  t.same(differences(withPort(without, id, { mark, mtu }), model()), []);
  t.same(sortPorts(before, kernel.model(), 1_450), { attached: [attached(5)], missing: [] });
  kernel.apply([{ at: "vpc", tool: "ip", lines: detachLines(id, mark, kernel.model()) }]);
  t.same(differences(kernel.model(), without), []);
  t.same(differences(withoutPort(model(), id, mark), without), []);
});

t.test("a port is missing when it is not there, half-made, of another address or container", async (t) => {
  const vpc = { local: [localPort(5)] };
  t.same(sortPorts(vpc, undefined, 1_450).missing, vpc.local);
  const as = (port: AttachedPort) => sortPorts(vpc, model(before, UNDERLAY, [port]), 1_450);
  t.same(as(attached(5)), { attached: [attached(5)], missing: [] });
  t.same(as({ ...attached(5), mark: { ...attached(5).mark, address: ip("10.0.0.6") } }), { attached: [], missing: vpc.local });
  t.same(as(attached(6)), { attached: [], missing: vpc.local });
});

import t from "tap";
import { formatIp, type PeerId } from "../../../src/base/index.ts";
import { findUnderlay } from "../../../src/vpc/drivers/underlay.ts";
import { gatewayMac, macOf, passingAddress, TUNNEL_CIDR, tunnelAddress, vpcMtu } from "../../../src/vpc/index.ts";
import { countVxlan, ip, makeVpc, probe, received, Scene, type TestContainer, UNDERLAY_MTU, vxlanSent, watch } from "./harness.ts";

const VPC_MTU = UNDERLAY_MTU - 50;
let scene: Scene;
t.before(async () => {
  scene = await Scene.open(["one", "two", "three"]);
  for (const host of scene.hosts) await countVxlan(host);
});
t.teardown(() => scene.close());

/** One or two containers on each host, the same addresses whatever the VPC. */
async function fill(vpc: ReturnType<typeof makeVpc>, perHost: number): Promise<readonly TestContainer[]> {
  const containers: TestContainer[] = [];
  for (const [at, host] of scene.hosts.entries()) {
    for (let n = 0; n < perHost; n += 1) containers.push(await scene.start(host, vpc, `10.0.${at}.${10 + n}`));
  }
  await scene.followAll();
  return containers;
}

const addresses = (containers: readonly TestContainer[]) => containers.map(({ address }) => address);

const vpc = makeVpc();
let containers: readonly TestContainer[] = [];

t.test("every pair of containers on three hosts, both ways, with packets as large as they may be", async (t) => {
  containers = await fill(vpc, 2);
  for (const container of containers) await watch(container, addresses(containers));
  for (const from of containers) {
    t.same(await probe(from, [...addresses(containers), vpc.gateway]), [], `all from ${formatIp(from.address)}`);
    t.same(await probe(from, addresses(containers), VPC_MTU), []);
    t.match((await from.run("ip neigh show 10.0.0.1")).stdout, gatewayMac(vpc), "one gateway everywhere");
  }
  const [from, ...others] = containers;
  if (from === undefined) throw new TypeError("no container");
  const tooLarge = await probe(from, addresses(others), VPC_MTU + 1);
  t.same(
    tooLarge,
    others.map(({ address }) => `refused ${formatIp(address)}`),
  );
  for (const host of scene.hosts)
    t.same(await host.overlay.converge(() => scene.network(host)), { changed: [], missing: [], failed: [] }, "nothing is left to do");
});

t.test("what nobody has is sent to nobody", async (t) => {
  const [from] = containers;
  if (from === undefined) throw new TypeError("no container");
  const before = await Promise.all(scene.hosts.map(vxlanSent));
  const neighbours = await Promise.all(containers.slice(1, 2).map(received));
  t.same(await probe(from, [ip("10.0.7.7")]), ["lost 10.0.7.7"]);
  await from.run("ip neigh replace 10.0.7.8 lladdr 02:00:00:00:07:08 dev eth0; ip route add 224.0.0.0/4 dev eth0");
  t.same(await probe(from, [ip("10.0.7.8"), ip("224.0.0.251"), ip("239.1.2.3")]), ["lost 10.0.7.8", "lost 224.0.0.251", "lost 239.1.2.3"]);
  await from.run(
    `perl -e 'use Socket; socket(S, PF_INET, SOCK_DGRAM, 17); setsockopt(S, SOL_SOCKET, SO_BROADCAST, 1); send(S, "x", 0, sockaddr_in(67, INADDR_BROADCAST)) or die'`,
  );
  t.same(await Promise.all(scene.hosts.map(vxlanSent)), before, "no packet left a host");
  t.same(await Promise.all(containers.slice(1, 2).map(received)), neighbours, "none reached a container beside it");
});

t.test("two VPCs of the same addresses on the same hosts never meet", async (t) => {
  const twin = makeVpc();
  const twins = await fill(twin, 2);
  for (const container of twins) await watch(container, addresses(twins));
  for (const from of containers) t.same(await probe(from, addresses(containers)), []);
  for (const container of twins) t.same(await received(container), { ip: 0, strange: 0 }, "no packet came across");
  const mine = await Promise.all(containers.map(received));
  for (const from of twins) t.same(await probe(from, addresses(twins)), []);
  t.same(await Promise.all(containers.map(received)), mine, "nor the other way");
  t.ok(mine.every(({ ip: packets, strange }) => packets > 0 && strange === 0));
  const [host] = scene.hosts;
  t.not(formatIp(host?.overlay.transitOf(vpc.id) ?? ip("::")), formatIp(host?.overlay.transitOf(twin.id) ?? ip("::")), "the host tells them apart");
  for (const container of twins) {
    scene.drop(container);
    await container.host.overlay.detach(container.id);
  }
  t.same(await probe(containers[0] as TestContainer, addresses(containers)), [], "the others go on");
});

t.test("a VPC reaches its host by its transit, and the world by it", async (t) => {
  for (const host of scene.hosts) {
    t.equal(host.overlay.transits().size, 1);
    const own = host.overlay.transitOf(vpc.id) ?? ip("::");
    t.match(await host.run(`busybox ping -c 1 -W 2 ${formatIp(own)}`), / 0% packet loss/);
    t.match(await host.inVpc(vpc.id, "busybox ping -c 1 -W 2 100.127.240.1"), / 0% packet loss/);
    // Without a firewall nothing translates addresses: only the way there shows.
    t.match(await host.inVpc(vpc.id, "ip route get 192.0.2.1 from 10.0.0.10 iif br0"), /via 100.127.240.1 dev up0/);
  }
});

t.test("a host passes packets on with its passing address, and gets the answers", async (t) => {
  const [one, two] = [scene.host(0), scene.host(1)];
  const own = passingAddress(one.address);
  const passing = [{ address: own, host: one.address }];
  const network = () => ({ ...scene.network(two), vpcs: scene.network(two).vpcs.map((each) => ({ ...each, passing })) });
  await two.overlay.follow(network);
  t.same(await two.overlay.converge(network), { changed: [], missing: [], failed: [] });
  // What else the firewall does: this host sends with that address, and takes the answers for its own.
  const takes = `ether daddr ${macOf(vpc.id, own)} ether daddr set ${gatewayMac(vpc)} meta pkttype set host accept`;
  await one.inVpc(
    vpc.id,
    `ip addr add ${formatIp(own)}/32 dev br0; nft 'table bridge probe { chain in { type filter hook prerouting priority -300; ${takes}; }; }'`,
  );
  t.match(await one.inVpc(vpc.id, `busybox ping -c 1 -W 2 -I ${formatIp(own)} 10.0.1.10`), / 0% packet loss/);
  await one.inVpc(vpc.id, "nft delete table bridge probe");
  await one.overlay.converge(() => scene.network(one));
  t.same((await two.overlay.follow(() => scene.network(two))).changed, [vpc.id]);
});

t.test("a host has another address: found by its ways, and followed by the others", async (t) => {
  const [one, two, three] = scene.hosts;
  if (one === undefined || two === undefined || three === undefined) throw new TypeError("no hosts");
  const before = await findUnderlay(two.shell, [one.address, three.address]);
  t.same(before, { address: ip("172.31.0.2"), mtu: UNDERLAY_MTU, devices: ["eth0"], others: [] });
  t.equal((await findUnderlay(two.shell, [ip("172.31.0.1"), ip("fd00::9")]))?.mtu, UNDERLAY_MTU, "a way that is not there says nothing");
  await two.run(
    "ip addr add 172.31.0.22/24 dev eth0; ip addr del 172.31.0.2/24 dev eth0; ip addr replace 172.31.0.22/24 dev eth0; ip route replace default via 172.31.0.254",
  );
  t.match(await findUnderlay(two.shell, []), { address: ip("172.31.0.22") }, "without others by the way to the world");
  two.address = ip("172.31.0.22");
  await scene.followAll();
  for (const from of containers) t.same(await probe(from, addresses(containers)), []);
});

t.test("two hosts reach each other through a tunnel, and a third beside it", async (t) => {
  // This kernel may have no WireGuard: the tunnel's addresses are on the wire itself. npm run test:vm has the real one.
  for (const host of scene.hosts.slice(0, 2)) {
    host.tunnel = tunnelAddress(host.name as PeerId);
    await host.run(`ip addr add ${formatIp(host.tunnel)}/${TUNNEL_CIDR.bits} dev eth0 nodad`);
    const table = "table inet ways { counter tunnel { }; counter beside { }; chain out { type filter hook output priority 0; udp dport 4789 meta nfproto";
    await host.run(`nft '${table} ipv6 counter name tunnel; udp dport 4789 meta nfproto ipv4 counter name beside; }; }'`);
  }
  for (const host of scene.hosts) {
    const { missing, failed } = await host.overlay.follow(() => scene.network(host));
    t.same([missing.length, failed], [2, []], "ports have another MTU");
  }
  for (const container of containers) await scene.attach(container);
  const largest = vpcMtu(scene.underlay(scene.host(2)));
  t.equal(largest, UNDERLAY_MTU - 80 - 70, "of the third host's too");
  const [first, beside, inTunnel, , far] = containers;
  if (first === undefined || beside === undefined || inTunnel === undefined || far === undefined) throw new TypeError("no containers");
  const sent = async () => (await scene.host(0).run("nft list table inet ways")).match(/packets \d+/g);
  const [tunnelBefore, besideBefore] = (await sent()) ?? [];
  t.same(await probe(first, [inTunnel.address]), []);
  const [tunnelAfter, besideAfter] = (await sent()) ?? [];
  t.not(tunnelAfter, tunnelBefore);
  t.equal(besideAfter, besideBefore, "nothing of it beside the tunnel");
  t.same(await probe(first, [far.address]), []);
  t.same((await sent())?.[0], tunnelAfter, "the third is reached as before");
  for (const from of containers) t.same(await probe(from, addresses(containers), largest), []);
  t.same(await probe(first, [beside.address], largest + 1), ["refused 10.0.0.11"]);
  for (const host of scene.hosts) t.same(await host.overlay.converge(() => scene.network(host)), { changed: [], missing: [], failed: [] });
});

t.test("with its last container a VPC is gone", async (t) => {
  for (const container of containers) {
    scene.drop(container);
    await container.host.overlay.detach(container.id);
    t.notMatch((await container.run("ip -br link")).stdout, /eth0/);
  }
  for (const host of scene.hosts) {
    t.same(await host.pins(), []);
    t.notMatch(await host.run("ip -br link"), /cc-|vx0|br0/);
    t.equal(host.overlay.transitOf(vpc.id), undefined);
  }
});

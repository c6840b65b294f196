import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { macOf, portName, transitName } from "../../../src/vpc/index.ts";
import { makeVpc, probe, Scene, type TestContainer, type TestHost } from "./harness.ts";

/** What somebody does by hand, and what shows of it: every one is put right by one look. */
const vpc = makeVpc();
let scene: Scene;
let host: TestHost;
let here: TestContainer;
let beside: TestContainer;
let there: TestContainer;
t.before(async () => {
  scene = await Scene.open(["one", "two"]);
  host = scene.host(0);
  here = await scene.start(host, vpc, "10.0.0.10");
  beside = await scene.start(host, vpc, "10.0.0.11");
  there = await scene.start(scene.host(1), vpc, "10.0.1.10");
  await scene.followAll();
});
t.teardown(() => scene.close());

const everybody = () => [vpc.gateway, beside.address, there.address];
const mend = () => host.overlay.converge(() => scene.network(host));
const mac = ({ address }: TestContainer) => macOf(vpc.id, address);

t.test("what breaks the traffic, all of it at once", async (t) => {
  t.same(await probe(here, everybody()), []);
  await host.inVpc(
    vpc.id,
    [
      `bridge fdb del ${mac(there)} dev vx0 self`,
      `bridge fdb del ${mac(there)} dev vx0 master`,
      `ip link set ${portName(beside.id)} nomaster`,
      `ip neigh replace ${formatIp(here.address)} lladdr 02:00:00:00:00:01 dev br0 nud permanent`,
      "ip route del default",
      "ip addr del 10.0.0.1/16 dev br0",
      "ip link set up0 down",
      "echo 0 >/proc/sys/net/ipv4/ip_forward",
      "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables",
    ].join("\n"),
  );
  await host.run(
    `echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/conf/${transitName(vpc.id)}/route_localnet; ip addr flush dev ${transitName(vpc.id)}`,
  );
  t.same((await probe(here, everybody())).length, 3);
  const transit = host.overlay.transitOf(vpc.id);
  t.same(await mend(), { changed: [vpc.id], missing: [], failed: [] });
  t.same(host.overlay.transitOf(vpc.id), transit, "as rules and names know it");
  t.same(await probe(here, everybody()), []);
  t.match(await host.inVpc(vpc.id, "busybox ping -c 1 -W 2 100.127.240.1"), / 0% packet loss/);
  t.equal((await host.inVpc(vpc.id, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/bridge/bridge-nf-call-iptables")).trim(), "1\n0");
  t.equal((await host.run(`cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/${transitName(vpc.id)}/route_localnet`)).trim(), "1\n1");
  t.same(await mend(), { changed: [], missing: [], failed: [] });
});

t.test("what is too much", async (t) => {
  await host.inVpc(
    vpc.id,
    [
      "ip link add stray0 type veth peer name stray1",
      "ip link set stray0 master br0",
      "ip link set stray0 up",
      "bridge fdb add 02:00:00:00:00:77 dev stray0 master static",
      "ip addr add 10.0.0.66/16 dev br0",
      "ip addr add 192.0.2.1/24 dev br0",
      "ip route add 198.51.100.0/24 via 192.0.2.9",
      "ip neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 dev br0 nud permanent",
      "bridge fdb append 00:00:00:00:00:00 dev vx0 self permanent dst 172.31.0.2",
      `bridge fdb append ${mac(there)} dev vx0 self permanent dst 172.31.0.77`,
      "bridge fdb add 02:00:00:00:00:78 dev vx0 master static",
      "ip link set vx0 type bridge_slave learning on flood on",
    ].join("\n"),
  );
  await host.run("ip link add cc-aaaaaaaaaaa type veth peer name other; ip link add cc-bbb type bridge; ip link add mine type veth peer name mine2");
  t.same(await mend(), { changed: [vpc.id], missing: [], failed: [] });
  t.same(await mend(), { changed: [], missing: [], failed: [] });
  t.notMatch(
    await host.inVpc(vpc.id, "ip -br link; ip addr; ip route; ip neigh; bridge fdb; bridge -d link show dev vx0"),
    /stray|10\.0\.0\.66|192\.0\.2|198\.51|00:00:00:00:00:7|172\.31\.0\.77|learning on/,
  );
  t.match(await host.run("ip -br link"), /cc-bbb[\s\S]*mine/, "what is not ours stays");
  t.notMatch(await host.run("ip -br link"), /cc-aaaaaaaaaaa|other/);
  t.same(await probe(here, everybody()), []);
});

t.test("devices that were deleted, or made by somebody else", async (t) => {
  await host.inVpc(vpc.id, "ip link del vx0; ip link add vx0 type vxlan id 9 dstport 4789; ip link set vx0 master br0; ip link set vx0 up");
  t.same(await mend(), { changed: [vpc.id], missing: [], failed: [] });
  t.same(await probe(here, everybody()), []);
  await host.inVpc(vpc.id, "ip link del br0");
  await host.run(`ip link del ${transitName(vpc.id)}`);
  t.same(await mend(), { changed: [vpc.id], missing: [], failed: [] });
  t.same(await probe(here, everybody()), []);
  t.match(await host.inVpc(vpc.id, "busybox ping -c 1 -W 2 100.127.240.1"), / 0% packet loss/);
  await host.inVpc(vpc.id, `ip link del ${portName(here.id)}`);
  t.same(await mend(), { changed: [vpc.id], missing: [{ vpc: vpc.id, port: { container: here.id, address: here.address } }], failed: [] });
  await scene.attach(here);
  t.same(await probe(here, everybody()), []);
  t.same(await mend(), { changed: [], missing: [], failed: [] });
});

t.test("few looks at a time: everything has its turn", async (t) => {
  const others = [await scene.start(host, makeVpc(), "10.0.0.10"), await scene.start(host, makeVpc(), "10.0.0.10")];
  const all = [vpc, ...others.map((other) => other.vpc)];
  await mend();
  for (const { id } of all) await host.inVpc(id, "ip link set br0 mtu 1400");
  const changed: string[] = [];
  for (const _ of all) changed.push(...(await host.overlay.converge(() => scene.network(host), undefined, 1)).changed);
  t.same(changed.toSorted(), all.map(({ id }) => id).toSorted());
  t.same(await mend(), { changed: [], missing: [], failed: [] });
  for (const other of others) {
    scene.drop(other);
    await host.overlay.detach(other.id);
  }
});

t.test("the whole namespace was let go of", async (t) => {
  await scene.run(`umount -l ${host.overlay.namespaceOf(vpc.id)}`);
  const { changed, missing, failed } = await mend();
  t.same([changed, missing.map(({ port }) => port.container).toSorted(), failed], [[vpc.id], [here.id, beside.id].toSorted(), []]);
  await scene.attach(here);
  await scene.attach(beside);
  t.same(await probe(here, everybody()), []);
  t.same(await mend(), { changed: [], missing: [], failed: [] });
});

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { portRequest } from "../../../src/vpc/drivers/overlay/scripts.ts";
import { portName, vpcMtu } from "../../../src/vpc/index.ts";
import { attachLines } from "../../../src/vpc/overlay-port.ts";
import { ip, makeVpc, newContainer, probe, Scene, type TestContainer, type TestHost, UNDERLAY_MTU } from "./harness.ts";

let scene: Scene;
let host: TestHost;
t.before(async () => {
  scene = await Scene.open(["one"]);
  host = scene.host(0);
});
t.teardown(() => scene.close());

const nothing = { changed: [], missing: [], failed: [] };
const portIndex = async ({ vpc, id }: TestContainer): Promise<string> => (await host.inVpc(vpc.id, `ip -o link show ${portName(id)} | cut -d: -f1`)).trim();

t.test("two first ones at once make one namespace", async (t) => {
  const vpc = makeVpc();
  const [first, second] = [await scene.makeContainer(host, vpc, "10.0.0.10"), await scene.makeContainer(host, vpc, "10.0.0.11")];
  await Promise.all([scene.attach(first), scene.attach(second)]);
  t.same(await probe(first, [second.address, vpc.gateway]), []);
  t.same(await host.pins(), [vpc.id]);
  t.equal((await readFile("/proc/self/mountinfo", "utf8")).split("\n").filter((line) => line.includes(`/vpc/${vpc.id}/net `)).length, 1);
  t.same(await host.overlay.converge(() => scene.network(host)), nothing);
  for (const one of [first, second]) {
    scene.drop(one);
    await host.overlay.detach(one.id);
  }
  t.same(await host.pins(), []);
});

t.test("our own program makes a port as ip and bridge do, and says what the kernel refuses", async (t) => {
  const vpc = makeVpc();
  const one = await scene.makeContainer(host, vpc, "10.0.0.10");
  const namespace = Number((await one.run("stat -Lc %i /proc/self/ns/net")).stdout);
  await host.overlay.ensureVpc(scene.underlay(host), scene.vpcAt(host, vpc));
  const lines = attachLines(vpc, { container: one.id, address: one.address, namespace }, vpcMtu(scene.underlay(host)));
  const request = portRequest(join(host.runDir, "vpc"), { vpc: vpc.id, namespacePath: one.namespacePath, lines });
  t.same(await host.program.ask(request), { exitCode: 0, stdout: "", stderr: "" });
  t.same(await probe(one, [vpc.gateway]), []);
  t.match(await host.program.ask(request), { exitCode: 1, stdout: /^link add eth0 .*: File exists$/m });
  // What it made is, to the last flag, what a look at it wants.
  await host.open();
  t.same(await host.overlay.converge(() => scene.network(host)), nothing);
  scene.drop(one);
  await host.overlay.detach(one.id);
});

t.test("a port that is right stays, of the next peer too; another start of the container gets a new one", async (t) => {
  const vpc = makeVpc();
  const [one, other] = [await scene.start(host, vpc, "10.0.0.10"), await scene.start(host, vpc, "10.0.0.11")];
  const had = await portIndex(one);
  await scene.attach(one);
  await host.open();
  t.equal(formatIp(host.overlay.transitOf(vpc.id) ?? ip("::")), "100.127.240.2");
  await scene.attach(one);
  t.equal(await portIndex(one), had, "attached three times, made once");
  await host.inVpc(vpc.id, `ip link set ${portName(one.id)} nomaster`);
  await scene.attach(one);
  t.equal(await portIndex(one), had, "broken, it is mended");
  t.same(await probe(one, [other.address]), []);

  const again = await scene.makeContainer(host, vpc, "10.0.0.10");
  const restarted = { ...again, id: one.id };
  scene.drop(again);
  await scene.attach(restarted);
  t.not(await portIndex(one), had);
  t.notMatch((await one.run("ip -br link")).stdout, /eth0/, "the earlier start has none");
  t.same(await probe(restarted, [other.address]), []);
  t.same(await host.overlay.converge(() => scene.network(host)), nothing);
  scene.drop(one);
  scene.drop(other);
  t.same((await host.overlay.converge(() => scene.network(host))).changed, [vpc.id], "state names neither any more");
  t.same(await host.pins(), []);
  t.notMatch((await restarted.run("ip -br link")).stdout, /eth0/);
});

t.test("what is half-made in the container's namespace is made anew, and what is no namespace is refused", async (t) => {
  const vpc = makeVpc();
  const one = await scene.makeContainer(host, vpc, "10.0.0.10");
  await host.overlay.ensureVpc(scene.underlay(host), scene.vpcAt(host, vpc));
  t.same((await host.overlay.converge(() => scene.network(host))).missing, [{ vpc: vpc.id, port: { container: one.id, address: one.address } }]);
  await one.run(`ip link add eth0 type veth peer name ${portName(one.id)} netns ${host.overlay.namespaceOf(vpc.id)}`);
  await scene.attach(one);
  t.same(await probe(one, [vpc.gateway]), []);
  await t.rejects(scene.attach({ ...one, namespacePath: `${scene.folder}/none` }), { code: "NOT_FOUND" });
  await t.rejects(scene.attach({ ...one, namespacePath: host.netns }), { code: "CONFLICT", message: /the host's own/ });
  t.match(await host.run("ip -br link show eth0"), /eth0/);
  t.same(await host.overlay.converge(() => scene.network(host)), nothing);
  await host.overlay.detach(newContainer());
  scene.drop(one);
  await scene.run(`umount ${one.namespacePath}`);
  await host.overlay.detach(one.id);
  t.same(await host.pins(), [], "its device had gone with its namespace");
});

t.test("the container's side: no IPv6, its MTU, one way out", async (t) => {
  const vpc = makeVpc("10.9.0.0/29");
  const one = await scene.start(host, vpc, "10.9.0.6");
  t.match((await one.run("ip -d addr show eth0")).stdout, new RegExp(`mtu ${UNDERLAY_MTU - 50}[\\s\\S]*inet 10.9.0.6/29`));
  t.notMatch((await one.run("ip addr show eth0")).stdout, /inet6/);
  t.equal((await one.run("ip route show default")).stdout.trim(), "default via 10.9.0.1 dev eth0");
  // It is dropped by its port: the hardware address is another's.
  await one.run("ip link set eth0 address 02:00:00:00:00:99");
  t.same(await probe(one, [vpc.gateway]), ["lost 10.9.0.1"], "a strange hardware address gets nowhere");
  scene.drop(one);
  await host.overlay.detach(one.id, true);
  t.same(await host.pins(), [vpc.id], "kept, for what else needs it");
  t.same((await host.overlay.follow(() => scene.network(host))).changed, [vpc.id]);
  t.same(await host.pins(), []);
});

t.test("the transit range is used up", async (t) => {
  const full = await scene.openWith(host, "100.127.240.0/30");
  const [first, second] = [makeVpc(), makeVpc()];
  const network = () => ({ underlay: scene.underlay(host), vpcs: [first, second].map((vpc) => scene.vpcAt(host, vpc)) });
  const { changed, failed } = await full.converge(network);
  t.same([changed, failed.map(({ vpc, error }) => [vpc, error.code])], [[first.id], [[second.id, "NO_ROOM"]]]);
  await t.rejects(full.ensureVpc(scene.underlay(host), scene.vpcAt(host, second)), { code: "NO_ROOM" });
  await full.follow(() => ({ underlay: scene.underlay(host), vpcs: [] }));
  await full.ensureVpc(scene.underlay(host), scene.vpcAt(host, second));
  t.same([...full.transits().values()].map(formatIp), ["100.127.240.2"], "what was given up is given again");
  await full.follow(() => ({ underlay: scene.underlay(host), vpcs: [] }));
  await full.close();
  await t.rejects(full.detach(newContainer()), { code: "CANCELLED" });
});

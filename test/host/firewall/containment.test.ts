import t from "tap";
import type { FirewallDriver } from "../../../src/firewall/index.ts";
import { transitName, UPLINK } from "../../../src/vpc/index.ts";
import { echoReply, ethernet } from "./frames.ts";
import { publish, stateOf, VPCS, VXLAN_PORT, WORLD } from "./scene.ts";
import { type Namespace, SILENCE, Topology } from "./topology.ts";

const [H1, H2] = ["172.31.0.1", "172.31.0.2"];
const TRANSIT_HOST = "100.127.240.1";

let topology: Topology;
let driver: FirewallDriver;
t.before(async () => {
  topology = await Topology.make();
  driver = topology.driver();
  // As a peer's API, on every address of both hosts; names at port 53; the machine outside is the world and a cloud's metadata service.
  for (const host of ["h1", "h2"] as const) await topology.serve(host, "tcp", 7443, `api-${host}`);
  await topology.serve("h1", "tcp", 53, "names");
  await topology.serve("h1", "udp", 53, "names");
  await topology.must("out", "ip", "addr", "add", "169.254.169.254/32", "dev", "lo");
  await topology.serve("out", "tcp", 80);
  for (const name of ["web", "db", "far", "twin"] as const) await topology.serve(name, "tcp", 80);
  await topology.serve("web", "udp", 9053);
});
t.teardown(() => topology?.close());

t.test("a VPC is open inside, across hosts, and to the world", async (t) => {
  t.same(await driver.apply(stateOf()), []);
  t.same(await topology.driver("h2").apply(stateOf({ host: "h2" })), []);
  await topology.expect(
    t,
    [
      ["web", "10.7.0.3", 80],
      ["web", "10.7.0.4", 80],
      ["far", "10.7.0.2", 80],
      ["twin", "10.7.0.3", 80],
      ["web", WORLD, 80],
      ["far", WORLD, 80],
      ["twin", WORLD, 80],
    ],
    ["db 10.7.0.2", "far 10.7.0.2", "web 10.7.0.4", "(unreachable)", `out ${H1}`, `out ${H2}`, `out ${H1}`],
  );
  t.same(await Promise.all([topology.ping("web", "10.7.0.1"), topology.ping("web", "10.7.0.4"), topology.ping("web", WORLD)]), [true, true, true]);
});

t.test("names are answered at the gateway, told apart by VPC, whatever is published", async (t) => {
  t.same(await driver.apply(stateOf({ published: [publish("web", 53, { protocol: "udp", port: 9053 })] })), []);
  await topology.expect(
    t,
    [
      ["web", "10.7.0.1", 53, "udp"],
      ["web", "10.7.0.1", 53],
      ["twin", "10.7.0.1", 53, "udp"],
      ["twin", "10.7.0.1", 53],
      ["out", H1, 53, "udp"],
    ],
    ["names 100.127.240.2", "names 100.127.240.2", "names 100.127.240.3", "names 100.127.240.3", "web 172.31.0.254"],
  );
});

t.test("names are for containers: nobody outside is answered, whatever way he has to their server", async (t) => {
  t.same(await driver.apply(stateOf()), []);
  await topology.must("out", "ip", "route", "add", `${TRANSIT_HOST}/32`, "via", H1);
  await topology.expect(
    t,
    [
      ["out", TRANSIT_HOST, 53],
      ["out", TRANSIT_HOST, 53, "udp"],
      ["h1", TRANSIT_HOST, 53],
    ],
    [SILENCE, SILENCE, `names ${H1}`],
    "but the host itself",
  );
  t.ok(((await driver.dropped()).find(({ reason }) => reason === "names_from_outside")?.packets ?? 0) >= 2);
});

t.test("no host, no other host, no metadata service answers a container", async (t) => {
  t.equal(await topology.call("h1", "169.254.169.254", 80), `out ${H1}`, "the host itself is answered");
  t.equal(await topology.call("h1", H2, 7443), `api-h2 ${H1}`);
  const closed = [H1, H2, TRANSIT_HOST, "10.7.0.1", "100.127.240.2", "169.254.169.254", "127.0.0.2"];
  await topology.expect(
    t,
    closed.map((address) => ["web", address, address === "169.254.169.254" ? 80 : 7443] as const),
    [...closed.slice(1).map(() => SILENCE), "(refused)"],
    "loopback is the container's own",
  );
  t.same(await Promise.all([H1, H2, TRANSIT_HOST].map((address) => topology.ping("twin", address))), [false, false, false]);
  const counts = Object.fromEntries(
    (await driver.dropped()).filter(({ place }) => place.kind !== "vpc" || place.vpc.startsWith("none")).map(({ reason, packets }) => [reason, packets]),
  );
  for (const reason of ["vpc_to_host", "vpc_to_closed", "gateway_service"]) t.ok((counts[reason] ?? 0) > 0, reason);
});

t.test("another's DNAT on the host leads no container to a service of the host", async (t) => {
  const owner = `table ip owner {
  chain prerouting {
    type nat hook prerouting priority -100
    ip daddr ${H1} tcp dport 8085 dnat to ${WORLD}:80
  }
  chain postrouting {
    type nat hook postrouting priority 100
    oifname "eth0" masquerade
  }
}
`;
  t.match(await topology.nft("h1", owner), { code: 0 });
  await topology.expect(
    t,
    [
      ["h2", H1, 8085],
      ["web", H1, 8085],
    ],
    [`out ${H1}`, SILENCE],
  );
  await topology.must("h1", "nft", "delete", "table", "ip", "owner");
});

t.test("VXLAN is taken from neighbours only, and takes no room of the host's table of connections", async (t) => {
  const strangers = async (): Promise<number> => (await driver.dropped()).find(({ reason }) => reason === "vxlan_from_stranger")?.packets ?? 0;
  t.equal(await strangers(), 0);
  t.equal(await topology.call("web", "10.7.0.4", 80), "far 10.7.0.2");
  t.notMatch(await topology.must("h1", "cat", "/proc/net/nf_conntrack"), new RegExp(`dport=${VXLAN_PORT}`));
  await topology.expect(t, [["out", H1, VXLAN_PORT, "udp"]], [SILENCE]);
  t.ok((await strangers()) > 0);
});

t.test("what fits no connection leaves no VPC, and is answered by no host", async (t) => {
  const device = transitName(VPCS.one.id);
  const macOf = async (namespace: Namespace, name: string): Promise<string> =>
    /link\/ether (\S+)/.exec(await topology.must(namespace, "ip", "link", "show", name))?.[1] ?? "";
  const [to, from] = [await macOf("h1", device), await macOf("one@h1", UPLINK)];
  const replies = async (namespace: Namespace): Promise<string> => /Icmp: \d.*/.exec(await topology.must(namespace, "cat", "/proc/net/snmp"))?.[0] ?? "";
  const before = await Promise.all([replies("out"), replies("h1")]);
  const frames = [WORLD, H1].map((address) => ethernet(to, from, 0x0800, echoReply("100.127.240.2", address)));
  await topology.sendFrames("one@h1", frames, UPLINK);
  const counts = Object.fromEntries((await driver.dropped()).map(({ reason, packets }) => [reason, packets]));
  t.equal(counts["vpc_invalid"], 1, "to the world");
  t.same(await Promise.all([replies("out"), replies("h1")]), before);
});

t.test("what leaves a VPC with an address that is not its own goes nowhere", async (t) => {
  await topology.must("one@h1", "nft", "flush", "chain", "inet", "cc", "postrouting");
  await topology.expect(t, [["web", WORLD, 80]], [SILENCE]);
  t.ok(((await driver.dropped()).find(({ reason }) => reason === "vpc_wrong_source")?.packets ?? 0) > 0);
  t.match(await driver.check(), [{ kind: "vpc" }]);
  t.same(await driver.apply(stateOf()), []);
  t.equal(await topology.call("web", WORLD, 80), `out ${H1}`);
});

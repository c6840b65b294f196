import t from "tap";
import { BRIDGE_COUNTERS } from "../../../src/firewall/vpc-tables.ts";
import { arp, BROADCAST, ethernet, routerAdvertisement, udp } from "./frames.ts";
import { macOfContainer, macOfGateway, stateOf, VPCS } from "./scene.ts";
import { Topology } from "./topology.ts";

const WEB = { mac: macOfContainer("web"), ip: "10.7.0.2" };
const DB = { mac: macOfContainer("db"), ip: "10.7.0.3" };
const GATEWAY = { mac: macOfGateway("one"), ip: "10.7.0.1" };
const STRANGER = "02:00:00:00:00:99";
const [IP, ARP, IPV6] = [0x0800, 0x0806, 0x86dd];

const port = (number: number) => ({ ip: WEB.ip, port: number });
const toDb = { ip: DB.ip, port: 9 };
const datagramFrom = (ip: string) => udp({ ip, port: 1000 }, toDb);

/** What `web` sends, by what becomes of it. */
const FRAMES: Readonly<Record<string, readonly Uint8Array[]>> = {
  arrived: [ethernet(DB.mac, WEB.mac, IP, datagramFrom(WEB.ip)), ethernet(DB.mac, WEB.mac, ARP, arp("reply", WEB, DB))],
  false_mac: [
    ethernet(DB.mac, STRANGER, IP, datagramFrom(WEB.ip)),
    ethernet(DB.mac, DB.mac, IP, datagramFrom(WEB.ip)),
    // As the other is in every respect.
    ethernet(DB.mac, GATEWAY.mac, ARP, arp("reply", GATEWAY, DB)),
    ethernet(GATEWAY.mac, DB.mac, IP, udp({ ip: DB.ip, port: 1000 }, { ip: "198.51.100.9", port: 9 })),
    ethernet(DB.mac, STRANGER, IPV6, routerAdvertisement()),
  ],
  false_address: [DB.ip, GATEWAY.ip, "10.7.0.4", "10.7.0.200", "198.51.100.1", "127.0.0.1", "0.0.0.0"].map((ip) =>
    ethernet(DB.mac, WEB.mac, IP, datagramFrom(ip)),
  ),
  false_arp: [
    ...[GATEWAY.ip, DB.ip, "10.7.0.4", "10.7.0.200"].flatMap((ip) => [
      ethernet(DB.mac, WEB.mac, ARP, arp("reply", { mac: WEB.mac, ip }, DB)),
      ethernet(BROADCAST, WEB.mac, ARP, arp("request", { mac: WEB.mac, ip }, { mac: BROADCAST, ip })),
    ]),
    ethernet(DB.mac, WEB.mac, ARP, arp("reply", { mac: GATEWAY.mac, ip: WEB.ip }, DB)),
    ethernet(DB.mac, WEB.mac, ARP, arp("reply", { mac: STRANGER, ip: GATEWAY.ip }, DB)),
  ],
  sent_dhcp: [
    ethernet(BROADCAST, WEB.mac, IP, udp({ ip: "0.0.0.0", port: 68 }, { ip: "255.255.255.255", port: 67 })),
    ethernet(DB.mac, WEB.mac, IP, udp(port(67), { ip: DB.ip, port: 68 })),
  ],
  sent_ipv6: [ethernet("33:33:00:00:00:01", WEB.mac, IPV6, routerAdvertisement()), ethernet(DB.mac, WEB.mac, IPV6, routerAdvertisement())],
  sent_broadcast: [
    ethernet(BROADCAST, WEB.mac, IP, udp(port(1000), { ip: "255.255.255.255", port: 9 })),
    ethernet("01:00:5e:00:00:fb", WEB.mac, IP, udp(port(5353), { ip: "224.0.0.251", port: 5353 })),
  ],
  other_ethertype: [
    ethernet(DB.mac, WEB.mac, 0x88b5, [1, 2, 3]),
    // A VLAN's tag before a packet that would be fine, and a length in place of a type.
    ethernet(DB.mac, WEB.mac, 0x8100, [0, 5, 8, 0, ...datagramFrom(WEB.ip)]),
    ethernet(DB.mac, WEB.mac, 40, [0x42, 0x42, 3]),
  ],
};

let topology: Topology;
t.before(async () => {
  topology = await Topology.make();
});
t.teardown(() => topology?.close());

t.test("what a container may not send is dropped and counted by kind; what it may send arrives", async (t) => {
  const driver = topology.driver();
  t.same(await driver.apply(stateOf()), []);
  // Else it would ask for the sender of what may arrive, and count the answer.
  await topology.must("db", "ip", "neigh", "replace", WEB.ip, "lladdr", WEB.mac, "dev", "eth0", "nud", "permanent");
  const before = await topology.received("db");
  await topology.sendFrames("web", Object.values(FRAMES).flat());
  const counts = (await driver.dropped()).filter(
    ({ place, reason }) => place.kind === "vpc" && place.vpc === VPCS.one.id && BRIDGE_COUNTERS.some((name) => name === reason),
  );
  const arrived = (await topology.received("db")) - before;
  t.same(
    { ...Object.fromEntries(counts.map(({ reason, packets }) => [reason, packets])), arrived },
    { ...Object.fromEntries(Object.entries(FRAMES).map(([kind, frames]) => [kind, frames.length])), overlay_not_ip: 0 },
  );
  t.notMatch(await topology.must("db", "ip", "neigh"), /10\.7\.0\.(1|4|200) /, "nobody was told an address of others");
  await topology.serve("db", "tcp", 80);
  t.equal(await topology.call("web", DB.ip, 80), `db ${WEB.ip}`, "and the two still talk");
});

t.test("without the rules these frames arrive: the test can tell", async (t) => {
  await topology.must("one@h1", "nft", "delete", "table", "bridge", "cc");
  const before = await topology.received("db");
  const unicast = Object.values(FRAMES)
    .flat()
    .filter((frame) => Buffer.from(frame.subarray(0, 6)).toString("hex") === DB.mac.replaceAll(":", ""));
  await topology.sendFrames("web", unicast);
  t.ok((await topology.received("db")) >= before + unicast.length - 2, `${unicast.length} sent`);
});

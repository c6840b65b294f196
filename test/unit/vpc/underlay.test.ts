import t from "tap";
import { parseWays, underlayOf } from "../../../src/vpc/index.ts";
import { ip } from "./overlay-fixture.ts";

const LINKS = `[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"mtu":65536},{"ifindex":2,"ifname":"eth0","mtu":1500},{"ifindex":3,"ifname":"eth1","mtu":9000}]`;
const route = (dst: string, dev: string, prefsrc: string, more = ""): string =>
  `[{"dst":"${dst}","dev":"${dev}","prefsrc":"${prefsrc}","flags":[],"uid":0,"cache":[]${more}}]`;

t.test("the ways to other hosts as ip tells them", async (t) => {
  const ways = parseWays(
    [
      route("172.31.0.2", "eth0", "172.31.0.1"),
      "RTNETLINK answers: Network is unreachable",
      `[{"dst":"10.9.0.1","gateway":"172.31.0.9","dev":"eth1","prefsrc":"172.31.0.1","flags":[],"uid":0,"cache":[],"metrics":[{"mtu":1300}]}]`,
      `[{"type":"local","dst":"172.31.0.1","dev":"lo","prefsrc":"172.31.0.1","flags":[],"uid":0,"cache":["local"]}]`,
      route("fd00::2", "eth1", "fd00::1"),
      route("172.31.0.3", "eth0", "172.31.0.1", `,"expires":590,"metrics":[{"mtu":1280}]`),
      route("172.31.0.4", "gone0", "172.31.0.1"),
      LINKS,
      `[{"dst":"172.31.0.5","dev":"eth`,
    ].join("\n"),
  );
  t.same(ways, [
    { to: ip("172.31.0.2"), source: ip("172.31.0.1"), device: "eth0", mtu: 1_500 },
    { to: ip("10.9.0.1"), source: ip("172.31.0.1"), device: "eth1", mtu: 1_300 },
    { to: ip("fd00::2"), source: ip("fd00::1"), device: "eth1", mtu: 9_000 },
    { to: ip("172.31.0.3"), source: ip("172.31.0.1"), device: "eth0", mtu: 1_500 },
  ]);
});

t.test("one address by which the host is known, and the least MTU", async (t) => {
  const way = (to: string, source: string, device: string, mtu: number) => ({ to: ip(to), source: ip(source), device, mtu });
  t.equal(underlayOf([]), undefined);
  t.same(
    underlayOf([way("172.31.0.2", "172.31.0.1", "eth0", 1_500), way("172.31.0.3", "172.31.0.1", "eth0", 1_500), way("10.0.0.2", "10.0.0.1", "eth1", 1_400)]),
    {
      address: ip("172.31.0.1"),
      mtu: 1_400,
      devices: ["eth0", "eth1"],
      others: [ip("10.0.0.1")],
    },
  );
  t.match(
    underlayOf([way("172.31.0.2", "172.31.0.1", "eth0", 1_500), way("10.0.0.2", "10.0.0.1", "eth1", 1_500)]),
    { address: ip("10.0.0.1") },
    "of equals the lowest",
  );
});

import t from "tap";
import type { FirewallDriver } from "../../../src/firewall/index.ts";
import { HOSTS, ip, publish, stateOf } from "./scene.ts";
import { SILENCE, Topology } from "./topology.ts";

const H1 = "172.31.0.1";
const H2 = "172.31.0.2";
const PUBLISHED = [
  publish("web", 8080),
  publish("twin", 8081),
  // One port of the host for two containers of one VPC, at two of its addresses.
  publish("web", 8082, { at: HOSTS.h1 }),
  publish("db", 8082, { at: ip("127.0.0.1") }),
  publish("db", 8083, { at: ip("127.0.0.1") }),
  publish("web", 9053, { protocol: "udp", port: 53 }),
  // Of a container that the other host has.
  publish("far", 8090),
  publish("far", 9090, { protocol: "udp", port: 53 }),
];

let topology: Topology;
let driver: FirewallDriver;
t.before(async () => {
  topology = await Topology.make();
  driver = topology.driver();
  for (const name of ["web", "db", "far", "twin"] as const) await topology.serve(name, "tcp", 80);
  for (const name of ["web", "far"] as const) await topology.serve(name, "udp", 53);
});
t.teardown(() => topology?.close());

t.test("published ports are reached from everywhere, and each leads to its own container", async (t) => {
  t.same(await driver.apply(stateOf({ published: PUBLISHED })), []);
  t.same(await topology.driver("h2").apply(stateOf({ host: "h2", published: [publish("far", 8090)] })), []);

  await topology.expect(
    t,
    [
      ["out", H1, 8080],
      ["out", H1, 8081],
      ["out", H1, 8082],
      ["out", H1, 9053, "udp"],
      ["h2", H1, 8080],
    ],
    ["web 172.31.0.254", "twin 172.31.0.254", "web 172.31.0.254", "web 172.31.0.254", "web 172.31.0.2"],
    "from outside, the client's address kept; of two VPCs with the same addresses each is itself",
  );
  await topology.expect(
    t,
    [
      ["h1", "127.0.0.1", 8080],
      ["h1", H1, 8080],
      ["h1", "127.0.0.1", 8081],
      ["h1", "127.0.0.1", 8082],
      ["h1", H1, 8082],
      ["h1", "127.0.0.1", 8083],
      ["h1", "127.0.0.1", 9053, "udp"],
    ],
    ["web 100.127.240.1", "web 172.31.0.1", "twin 100.127.240.1", "db 100.127.240.1", "web 172.31.0.1", "db 100.127.240.1", "web 100.127.240.1"],
    "from the host itself, by loopback and by its own address",
  );
  await topology.expect(
    t,
    [
      ["web", H1, 8080],
      ["db", H1, 8080],
      ["db", H1, 9053, "udp"],
      ["twin", H1, 8080],
      ["web", H1, 8081],
    ],
    ["web 100.127.240.1", "web 100.127.240.1", "web 100.127.240.1", "web 100.127.240.1", "twin 100.127.240.1"],
    "from the container itself, its neighbour, and another VPC",
  );
});

const PASSED = ["far 252.31.0.1"];

t.test("a port of a container on another host is passed on, and its answers come back", async (t) => {
  await topology.expect(
    t,
    [
      ["out", H1, 8090],
      ["out", H2, 8090],
      ["h1", "127.0.0.1", 8090],
      ["h1", H1, 8090],
      ["web", H1, 8090],
      ["twin", H1, 8090],
      ["out", H1, 9090, "udp"],
    ],
    [...PASSED, "far 172.31.0.254", ...PASSED, ...PASSED, ...PASSED, ...PASSED, ...PASSED],
    "with an address that stands for the host in between",
  );
});

t.test("nothing but what is published, at the address where it is published", async (t) => {
  await topology.must("out", "ip", "route", "add", "100.127.240.0/20", "via", H1);
  await topology.expect(
    t,
    [
      ["out", H1, 8083],
      ["out", H1, 80],
      ["out", "100.127.240.2", 8080],
      ["out", "100.127.240.2", 8083],
      ["twin", "100.127.240.2", 8080],
      ["web", H1, 8083],
      ["web", "127.0.0.1", 8080],
    ],
    ["(refused)", "(refused)", SILENCE, SILENCE, SILENCE, SILENCE, "(refused)"],
  );
  const host = Object.fromEntries((await driver.dropped()).filter(({ place }) => place.kind === "host").map(({ reason, packets }) => [reason, packets]));
  t.ok((host["forwarded_to_vpc"] ?? 0) > 0, "whoever routes to a VPC past what is published is counted");
  t.ok((host["vpc_to_closed"] ?? 0) > 0, "and so is one VPC that calls another");
});

t.test("a change leads new connections elsewhere, also of a client that has been sending all along", async (t) => {
  const later = publish("db", 9054, { protocol: "udp", port: 54 });
  await topology.serve("db", "udp", 54);
  const many = Array.from({ length: 200 }, (_, at) => publish("db", 10_000 + at, { protocol: "udp", port: 54 }));
  for (const others of [many, []]) {
    // Unanswered, and from the same port as what follows.
    const send = () => topology.run("out", ["socat", "-t", "1", "-T", "5", "-", `UDP4:${H1}:9054,sourceport=${40_000 + others.length}`], "hello\n");
    t.equal((await send()).stdout, "");
    t.same(await driver.apply(stateOf({ published: [...PUBLISHED, later, ...others] })), []);
    t.match((await send()).stdout, /^db 172\.31\.0\.254/);
    t.same(await driver.apply(stateOf({ published: PUBLISHED })), []);
  }
  t.same(await driver.apply(stateOf({ published: PUBLISHED.map((entry) => (entry.hostPort === 8080 ? publish("db", 8080) : entry)) })), []);
  await topology.expect(
    t,
    [
      ["out", H1, 8080],
      ["out", H1, 8081],
      ["out", H1, 9054, "udp"],
    ],
    ["db 172.31.0.254", "twin 172.31.0.254", "(refused)"],
  );
});

t.test("what is no longer published is closed, and without VPCs nothing of ours is left", async (t) => {
  t.same(await driver.apply(stateOf()), []);
  await topology.expect(
    t,
    [
      ["out", H1, 8080],
      ["h1", "127.0.0.1", 8080],
      ["web", "10.7.0.3", 80],
    ],
    ["(refused)", "(refused)", "db 10.7.0.2"],
  );
  t.same(await driver.apply({ ...stateOf(), vpcs: [] }), []);
  t.equal(await topology.must("h1", "nft", "list", "tables"), "");
  t.same(await driver.check(), []);
  t.same(await driver.dropped(), []);
});

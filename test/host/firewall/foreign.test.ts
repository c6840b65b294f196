import t from "tap";
import type { FirewallDriver } from "../../../src/firewall/index.ts";
import { publish, stateOf, VXLAN_PORT, WORLD } from "./scene.ts";
import { SILENCE, Topology } from "./topology.ts";

const H1 = "172.31.0.1";
const RANGE = "100.127.240.0/20";
const state = stateOf({ published: [publish("web", 8080), publish("twin", 8081)] });

/** As ufw, firewalld and Docker leave a host: what is not allowed is dropped, also what only passes through. */
const owner = (input: readonly string[], forward: readonly string[]): string => `table inet owner
delete table inet owner
table inet owner {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
${input.map((line) => `    ${line}\n`).join("")}  }
  chain forward {
    type filter hook forward priority 0; policy drop;
${forward.map((line) => `    ${line}\n`).join("")}  }
}
`;

let topology: Topology;
let driver: FirewallDriver;
t.before(async () => {
  topology = await Topology.make();
  driver = topology.driver();
  await topology.serve("h1", "udp", 53, "names");
  await topology.serve("out", "tcp", 80);
  for (const name of ["web", "far", "twin"] as const) await topology.serve(name, "tcp", 80);
});
t.teardown(() => topology?.close());

const CALLS = [
  ["out", H1, 8080],
  ["out", H1, 8081],
  ["web", H1, 8081],
  ["web", WORLD, 80],
  ["web", "10.7.0.1", 53, "udp"],
  ["far", "10.7.0.2", 80],
  ["h1", "127.0.0.1", 8080],
  ["h1", H1, 8080],
] as const;

t.test("a ruleset that drops what it does not know keeps its say, and is not touched", async (t) => {
  t.match(await topology.nft("h1", owner([], [])), { code: 0 });
  const before = await topology.must("h1", "nft", "list", "table", "inet", "owner");
  t.same(await topology.driver("h2").apply(stateOf({ host: "h2" })), []);
  t.same(await driver.apply(state), []);
  await topology.expect(
    t,
    CALLS,
    [...CALLS.slice(0, 6).map(() => SILENCE), "web 100.127.240.1", `web ${H1}`],
    "only the host itself, whose packets the owner's rules let out, reaches what is published",
  );
  t.equal(await topology.must("h1", "nft", "list", "table", "inet", "owner"), before);
});

t.test("what README says lets through what it says", async (t) => {
  const input = [`ip saddr ${RANGE} udp dport 53 accept`, `ip saddr ${RANGE} tcp dport 53 accept`, `ip saddr 172.31.0.0/24 udp dport ${VXLAN_PORT} accept`];
  const forward = [`ip saddr ${RANGE} accept`, `ip daddr ${RANGE} accept`];
  t.match(await topology.nft("h1", owner(input, forward)), { code: 0 });
  await topology.expect(t, CALLS, [
    "web 172.31.0.254",
    "twin 172.31.0.254",
    "twin 100.127.240.1",
    `out ${H1}`,
    "names 100.127.240.2",
    "web 10.7.0.4",
    "web 100.127.240.1",
    `web ${H1}`,
  ]);
  t.match(await topology.nft("h1", owner(input, [`ip daddr ${RANGE} tcp dport 8080 drop`, ...forward])), { code: 0 });
  await topology.expect(t, CALLS.slice(0, 2), [SILENCE, "twin 172.31.0.254"], "a published port is closed by its number");
  await topology.must("h1", "nft", "delete", "table", "inet", "owner");
});

t.test("the owner's DNAT of a port comes before a published one", async (t) => {
  const dnat = `table ip owner {
  chain prerouting {
    type nat hook prerouting priority -100
    tcp dport 8080 dnat to ${WORLD}:80
  }
  chain postrouting {
    type nat hook postrouting priority 100
    oifname "eth0" masquerade
  }
}
`;
  t.match(await topology.nft("h1", dnat), { code: 0 });
  await topology.expect(
    t,
    [
      ["h2", H1, 8080],
      ["h2", H1, 8081],
    ],
    [`out ${H1}`, "twin 172.31.0.2"],
  );
  await topology.must("h1", "nft", "delete", "table", "ip", "owner");
  t.equal(await topology.call("h2", H1, 8080), "web 172.31.0.2");
});

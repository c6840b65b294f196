import fc from "fast-check";
import t from "tap";
import { addressAt, type FirewallRuleId, formatIp, type VpcId } from "../../../src/base/index.ts";
import { type FirewallState, placeName, type Ruleset, rulesetsOf, rulesetText } from "../../../src/firewall/index.ts";
import { handedPorts } from "../../../src/firewall/published.ts";
import { changeText } from "../../../src/firewall/table.ts";
import { anyState, idOf, largeState, portOf } from "./states.ts";

const textOf = (state: FirewallState): string =>
  rulesetsOf(state)
    .map((ruleset) => `${placeName(ruleset.place)}\n${rulesetText(ruleset)}`)
    .join("\n");

/** The same state, its lists in another order. */
function shuffled(state: FirewallState, chance: fc.GeneratorValue): FirewallState {
  const mixed = <T>(list: readonly T[]): T[] => chance(fc.shuffledSubarray<T>, [...list], { minLength: list.length, maxLength: list.length });
  return {
    ...state,
    underlay: { ...state.underlay, neighbours: mixed(state.underlay.neighbours), hosts: mixed(state.underlay.hosts) },
    published: mixed(state.published),
    publishedElsewhere: mixed(state.publishedElsewhere ?? []),
    vpcs: mixed(state.vpcs).map((vpc) => ({ ...vpc, ports: mixed(vpc.ports), members: mixed(vpc.members), rules: mixed(vpc.rules) })),
  };
}

const rulesetAt = (state: FirewallState, name: string): Ruleset => {
  const found = rulesetsOf(state).find(({ place }) => placeName(place) === name);
  if (found === undefined) throw new TypeError(`no ruleset for ${name}`);
  return found;
};

t.test("the same state gives the same bytes, in whatever order it comes", (t) => {
  fc.assert(
    fc.property(anyState, fc.gen(), (state, chance) => textOf(state) === textOf(shuffled(state, chance))),
    { numRuns: 60 },
  );
  t.pass();
  t.end();
});

t.test("nothing is to be changed between equal states, and every key of a map is there once", (t) => {
  fc.assert(
    fc.property(anyState, fc.gen(), (state, chance) => {
      const [before, after] = [rulesetsOf(state), rulesetsOf(shuffled(state, chance))];
      return before.length === after.length && before.every(({ tables }, at) => changeText(tables, after[at]?.tables ?? []) === "");
    }),
    { numRuns: 40 },
  );
  t.pass();
  t.end();
});

t.test("each published port has a port of its own between host and VPC, the host's wherever it can", (t) => {
  fc.assert(
    fc.property(anyState, (state) => {
      const handed = handedPorts(state);
      const ways = handed.map(({ vpc, protocol, transitPort }) => `${vpc} ${protocol} ${transitPort}`);
      const claims = handed.map(({ at, protocol, hostPort }) => `${at === undefined ? "any" : formatIp(at)} ${protocol} ${hostPort}`);
      const wanted = state.published.filter(({ vpc }) => state.vpcs.some(({ id }) => id === vpc));
      return (
        new Set(ways).size === ways.length &&
        new Set(claims).size === claims.length &&
        claims.length === new Set(wanted.map(({ at, protocol, hostPort }) => `${at === undefined ? "any" : formatIp(at)} ${protocol} ${hostPort}`)).size &&
        handed.every(({ vpc, protocol, hostPort }) => ways.includes(`${vpc} ${protocol} ${hostPort}`))
      );
    }),
    { numRuns: 200 },
  );
  t.pass();
  t.end();
});

t.test("what belongs into the encrypted tunnel is taken from its device and sent to it alone, and nothing else is", async (t) => {
  const host = textOf(largeState({ ports: 1, published: 0, rules: 0 }));
  t.match(host, /hook prerouting priority -300; policy accept;\s+udp dport 4788 goto from_host\s/);
  t.match(host, /ip6 saddr fd6b:914e:a3d7::\/48 iifname != "ccwg0" counter name "vxlan_from_stranger" drop\s+ip6 saddr @neighbours6 notrack accept/);
  t.match(host, /hook output priority -300; policy accept;\s+udp dport 4788 goto to_host\s/);
  t.match(host, /ip6 daddr fd6b:914e:a3d7::\/48 oifname != "ccwg0" counter name "vxlan_in_clear" drop\s+ip6 daddr @neighbours6 notrack accept/);
  t.match(host, /udp dport 4788 goto to_vxlan\s[\s\S]*iifname "ccwg0" goto from_tunnel/);
  t.match(host, /chain from_tunnel \{\s+meta l4proto ipv6-icmp accept\s+counter name "tunnel_not_vxlan" drop/);
  t.match(host, /hook forward priority -1; policy accept;\s+iifname "ccwg0" counter name "tunnel_not_vxlan" drop/);
});

t.test("of two that claim one port, one is led to, the same on every look", (t) => {
  const state = largeState({ ports: 2, published: 2, rules: 0 });
  const [one, two] = state.published;
  if (one === undefined || two === undefined) throw new TypeError();
  const clash = [one, { ...two, hostPort: one.hostPort, protocol: one.protocol }];
  const led = (published: FirewallState["published"]): readonly string[] => handedPorts({ ...state, published }).map(({ address }) => formatIp(address));
  t.same(led(clash), ["10.7.0.2"]);
  t.same(led(clash.toReversed()), ["10.7.0.2"]);
  const elsewhere = { ...one, vpc: idOf<VpcId>("n", 7) };
  t.same(led([elsewhere]), [], "of a VPC that is not on this host: nothing to lead to");
  t.end();
});

t.test("a host without VPCs, and a container that no rule concerns, hold nothing of ours", (t) => {
  const state = largeState({ ports: 1, published: 1, rules: 0 });
  t.same(rulesetsOf({ ...state, vpcs: [] }), [{ place: { kind: "host" }, tables: [] }]);
  t.same(rulesetAt(state, `container ${idOf("c", 0)}`).tables, []);
  t.same(
    rulesetsOf(state).map(({ place }) => place.kind),
    ["container", "vpc", "host"],
    "inside first",
  );
  t.end();
});

t.test("one more of anything is a few lines, however much is there", (t) => {
  const state = largeState({ ports: 50, published: 1_000, rules: 1_000 });
  const change = (after: FirewallState): readonly string[] => {
    const old = new Map(rulesetsOf(state).map((ruleset) => [placeName(ruleset.place), ruleset.tables]));
    return rulesetsOf(after).map(({ place, tables }) => changeText(old.get(placeName(place)) ?? [], tables));
  };
  const [vpc] = state.vpcs;
  if (vpc === undefined) throw new TypeError();

  const [published] = state.published;
  if (published === undefined) throw new TypeError();
  const one = change({ ...state, published: [...state.published, { ...published, hostPort: 40_000, protocol: "tcp" }] });
  t.same(
    one.filter((text) => text !== ""),
    ["add element inet cc published { tcp . 40000 : 10.7.0.2 . 80 }\n", "add element inet cc published { tcp . 40000 : 100.127.240.2 . 40000 }\n"],
  );
  const led = change({ ...state, published: state.published.map((entry) => (entry === published ? { ...entry, port: 81 } : entry)) });
  t.same(
    led.filter((text) => text !== ""),
    ["delete element inet cc published { tcp . 1000 }\nadd element inet cc published { tcp . 1000 : 10.7.0.2 . 81 }\n"],
    "led elsewhere in one transaction",
  );

  const port = portOf(vpc.id, 60);
  const withPort = { ...vpc, ports: [...vpc.ports, port] };
  const attached = change({ ...state, vpcs: [{ ...withPort, rules: [] }] }).at(-2) ?? "";
  t.equal(
    attached,
    [
      "add element inet cc here { 10.7.0.62 }",
      `add element bridge cc ports { "${port.device}" . ${port.mac} . 10.7.0.62 }`,
      `add element bridge cc macs { "${port.device}" . ${port.mac} }`,
      "",
    ].join("\n"),
  );

  const rule = { ...vpc.rules[0], id: idOf<FirewallRuleId>("f", 5_000) } as (typeof vpc.rules)[number];
  const texts = change({ ...state, vpcs: [{ ...vpc, rules: [...vpc.rules, rule] }] });
  t.equal(texts.filter((text) => text !== "").length, 50, "each container that it concerns");
  t.ok(
    texts.every((text) => text.split("\n").length <= 36),
    `at most a chain anew: ${texts[0]?.split("\n").length}`,
  );
  t.end();
});

t.test("the texts", (t) => {
  const state = largeState({ ports: 1, published: 1, rules: 0 });
  const [vpc] = state.vpcs;
  if (vpc === undefined) throw new TypeError();
  const [first] = state.published;
  if (first === undefined) throw new TypeError();
  const passed = { ...first, hostPort: 9_000, address: addressAt({ base: vpc.gateway, bits: 24 }, 99n) };
  const bridgeOf = (published: FirewallState["published"]): string => {
    const tables = rulesetAt({ ...state, published }, `vpc ${vpc.id}`).tables;
    return rulesetText({ place: { kind: "vpc", vpc: vpc.id }, tables: tables.filter(({ family }) => family === "bridge") });
  };
  t.notMatch(bridgeOf([first]), /pkttype set/, "frames for the host's own address are taken only where it passes ports on");
  t.match(bridgeOf([passed]), /iifname "vx\*" goto from_overlay[\s\S]*ether daddr set .* meta pkttype set host accept/);
  t.match(
    rulesetText(rulesetAt(state, `vpc ${vpc.id}`)),
    /hook prerouting priority -300; policy accept;\n +iifname "br0" ip daddr 10\.7\.0\.1 meta l4proto \{ tcp, udp \} th dport 53 limit rate over .* drop/,
    "questions of a VPC are few enough for the others' to find room, before they take any in the table of connections",
  );
  t.match(
    rulesetText(rulesetAt(state, "host")),
    /^table inet cc\ndelete table inet cc\ntable inet cc \{\n/,
    "one transaction puts it in place of what is there",
  );
  t.end();
});

import t from "tap";
import { type FirewallRuleId, type Logger, silentLogger } from "../../../src/base/index.ts";
import { contentText } from "../../../src/firewall/drivers/nft/listing.ts";
import { type FirewallDriver, type FirewallRule, placeName } from "../../../src/firewall/index.ts";
import { CONTAINERS, publish, stateOf, VPCS } from "./scene.ts";
import { type Namespace, Topology } from "./topology.ts";

const H1 = "172.31.0.1";
const RULES: readonly FirewallRule[] = [
  {
    id: "faaaaaaaaaaaaaaaaaaaa" as FirewallRuleId,
    vpc: VPCS.one.id,
    target: { app: "db" },
    action: "deny",
    direction: "in",
    protocol: "tcp",
    ports: [],
    other: { kind: "any" },
    log: false,
  },
];
const state = stateOf({ published: [publish("web", 8080), publish("db", 8081)], rules: RULES });
const smaller = stateOf({ published: [publish("web", 8080)], rules: RULES });

let topology: Topology;
let driver: FirewallDriver;
t.before(async () => {
  topology = await Topology.make();
  driver = topology.driver();
  await topology.serve("web", "tcp", 80);
  t.same(await driver.apply(state), []);
});
t.teardown(() => topology?.close());

/** Everything of ours in these namespaces. */
async function held(): Promise<readonly string[]> {
  const places: readonly Namespace[] = ["h1", "one@h1", "two@h1", "web", "db"];
  return Promise.all(places.map(async (place) => contentText(await topology.must(place, "nft", "-j", "list", "ruleset"))));
}
const changed = async (): Promise<readonly string[]> => (await driver.check()).map(placeName).toSorted();

t.test("what nobody changed is as it was, whatever was counted and whatever others do on the host", async (t) => {
  t.same(await changed(), []);
  t.equal(await topology.call("out", H1, 8080), "web 172.31.0.254");
  await topology.must("h1", "nft", "add", "table", "inet", "others");
  await topology.must("h1", "nft", "add", "chain", "inet", "others", "theirs");
  t.same(await changed(), [], "tables of others");
  t.same(await driver.apply(smaller), []);
  await topology.must("h1", "nft", "delete", "table", "inet", "others");
  t.same(await changed(), [], "also after a change of our own");
  t.same(await driver.apply(state), []);
  t.same(await changed(), []);
});

t.test("every change by hand is found, and the next apply puts it right", async (t) => {
  const before = await held();
  const damages: readonly (readonly [Namespace, string, string])[] = [
    ["h1", "flush ruleset\n", "host"],
    ["h1", "delete element inet cc published { tcp . 8080 }\n", "host"],
    ["h1", "delete element inet cc published { tcp . 8080 }\nadd element inet cc published { tcp . 8080 : 100.127.240.3 . 8080 }\n", "host"],
    ["h1", "add element inet cc neighbours { 192.0.2.1 }\n", "host"],
    ["h1", "flush chain inet cc from_vpc_address\n", "host"],
    ["h1", "insert rule inet cc input_from_vpc accept\n", "host"],
    ["one@h1", "flush ruleset\n", `vpc ${VPCS.one.id}`],
    ["one@h1", "flush chain bridge cc from_container\n", `vpc ${VPCS.one.id}`],
    ["two@h1", "flush set bridge cc ports\n", `vpc ${VPCS.two.id}`],
    ["db", "delete table inet cc\n", `container ${CONTAINERS.db.id}`],
  ];
  for (const [namespace, text, place] of damages) {
    t.match(await topology.nft(namespace, text), { code: 0 }, text);
    t.same(await changed(), [place], text);
    t.same(await driver.apply(state), []);
    t.same(await held(), before, `${namespace} holds again what it should`);
    t.same(await changed(), []);
  }
  t.equal(await topology.call("out", H1, 8080), "web 172.31.0.254");
});

t.test("a change that the kernel refuses, since something was changed in between, is made as a whole", async (t) => {
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (_fields, message) => warnings.push(message) };
  const own = topology.driver("h1", logger);
  t.same(await own.apply(state), []);
  const before = await held();
  await topology.nft("h1", "flush map inet cc published\n");
  t.same(await own.apply(smaller), [], "elements that are gone cannot be deleted");
  t.match(warnings, [/put there anew/]);
  t.same(await own.apply(state), []);
  t.same(await held(), before);
  t.same((await own.check()).map(placeName), []);
});

t.test("a namespace that is not there fails alone; another one under its path is a new place", async (t) => {
  t.same((await changed()).length, 3, "the other process was at work in the VPCs and a container");
  t.same(await driver.apply(state), []);
  const before = await held();
  await topology.remove("db");
  t.match(await driver.apply(smaller), [{ place: { kind: "container", container: CONTAINERS.db.id }, message: /is not there/ }]);
  t.notMatch(await topology.must("h1", "nft", "list", "map", "inet", "cc", "published"), /8081/, "everywhere else the change was made");
  await topology.add("db");
  t.same(await driver.apply(state), []);
  t.same(await held(), before);
  await topology.remove("db");
  await topology.add("db");
  t.same(await driver.apply(state), [], "nobody has said that it went");
  t.same(await held(), before);
  t.same(await changed(), []);
});

t.test("what comes after the first look is taken for fresh, and the next check finds what was not, or was changed meanwhile", async (t) => {
  t.same(await driver.apply(state), []);
  const before = await held();
  const late = topology.driver();
  t.same(await late.apply({ ...state, vpcs: [], published: [] }), []);
  await topology.nft("web", "table inet cc { chain input { type filter hook input priority 0; policy drop; }; }\n");
  t.same(await late.apply(state), []);
  await topology.nft("db", "flush ruleset\n");
  t.same(await late.check(), [], "nobody is accused of what was never known");
  t.same(await late.apply(state), []);
  t.same(await held(), before);
  t.same(await late.check(), []);
  await topology.nft("db", "flush ruleset\n");
  t.same((await late.check()).map(placeName), [`container ${CONTAINERS.db.id}`], "from then on it is known");
  t.same(await late.apply(state), []);
  t.same(await held(), before);
});

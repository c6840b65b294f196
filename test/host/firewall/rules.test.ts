import t from "tap";
import type { FirewallRuleId } from "../../../src/base/index.ts";
import { type FirewallDriver, type FirewallRule, type RuleWords, ruleFromWords } from "../../../src/firewall/index.ts";
import { CONTAINERS, OUTSIDE, publish, stateOf, VPCS, WORLD } from "./scene.ts";
import { SILENCE, Topology } from "./topology.ts";

const H1 = "172.31.0.1";
const PUBLISHED = [publish("db", 8080), publish("web", 8081)];
const DB = { app: "db" };
const WEB = { app: "web" };

let made = 0;
function rule(words: Partial<RuleWords>): FirewallRule {
  made += 1;
  const id = `f${"abcdefghijklmnopqrstuvwxyz".charAt(made).repeat(20)}` as FirewallRuleId;
  const result = ruleFromWords(id, VPCS.one.id, { action: "deny", direction: "in", protocol: "any", ports: [], target: {}, log: false, ...words });
  if (!result.ok) throw new TypeError(result.message);
  return result.value;
}

let topology: Topology;
let driver: FirewallDriver;
let far: FirewallDriver;
t.before(async () => {
  topology = await Topology.make();
  driver = topology.driver();
  far = topology.driver("h2");
  for (const name of ["web", "db", "far"] as const) await topology.serve(name, "tcp", 80);
  for (const port of [81, 8085]) await topology.serve("db", "tcp", port);
  await topology.serve("db", "udp", 80);
  await topology.serve("out", "tcp", 80);
  await topology.serve("h1", "tcp", 53, "names");
});
t.teardown(() => topology?.close());

async function given(...rules: readonly FirewallRule[]): Promise<void> {
  t.same(await driver.apply(stateOf({ published: PUBLISHED, rules })), []);
  t.same(await far.apply(stateOf({ host: "h2", rules })), []);
}

t.test("denied to the whole VPC, allowed by labels: answers to what one opens oneself pass", async (t) => {
  const shut = rule({ log: true });
  await given(shut, rule({ action: "allow", target: DB, protocol: "tcp", ports: ["80", "8080-8090"], labels: WEB }));
  await topology.expect(
    t,
    [
      ["web", "10.7.0.3", 80],
      ["far", "10.7.0.3", 80],
      ["web", "10.7.0.3", 8085],
      ["web", "10.7.0.3", 81],
      ["web", "10.7.0.3", 80, "udp"],
      ["db", "10.7.0.2", 80],
      ["db", "10.7.0.4", 80],
      ["out", H1, 8080],
      ["db", WORLD, 80],
      ["db", "10.7.0.1", 53],
    ],
    ["db 10.7.0.2", "db 10.7.0.4", "db 10.7.0.2", SILENCE, SILENCE, SILENCE, SILENCE, SILENCE, `out ${H1}`, "names 100.127.240.2"],
  );
  t.equal(await topology.ping("web", "10.7.0.3"), false);
  const met = (await driver.logged()).filter(({ container }) => container === CONTAINERS.db.id);
  for (const entry of [
    { rule: shut.id, address: "10.7.0.2", protocol: "tcp", port: 81 },
    { rule: shut.id, address: "10.7.0.2", protocol: "udp", port: 80 },
    { rule: shut.id, address: "172.31.0.254", protocol: "tcp", port: 80 },
    { rule: shut.id, address: "10.7.0.2", protocol: "icmp", port: undefined },
  ]) {
    t.ok(
      met.some(
        (one) => one.packets > 0 && one.rule === entry.rule && one.address === entry.address && one.protocol === entry.protocol && one.port === entry.port,
      ),
      JSON.stringify(entry),
    );
  }
  t.same(
    met.filter(({ address, protocol, port }) => address === "10.7.0.4" || (address === "10.7.0.2" && protocol === "tcp" && port === 80)),
    [],
    "what another rule allowed before is not logged",
  );
});

t.test("published traffic obeys the container's rules, by its port and the client's address", async (t) => {
  await given(rule({}), rule({ action: "allow", target: DB, protocol: "tcp", ports: ["80"], cidr: "172.31.0.0/24" }));
  await topology.expect(
    t,
    [
      ["out", H1, 8080],
      ["out", H1, 8081],
      ["web", "10.7.0.3", 80],
    ],
    ["db 172.31.0.254", SILENCE, SILENCE],
  );
  await given(rule({ target: WEB, cidr: "172.31.0.254" }));
  await topology.expect(
    t,
    [
      ["out", H1, 8081],
      ["h1", H1, 8081],
      ["db", "10.7.0.2", 80],
    ],
    [SILENCE, "web 172.31.0.1", "web 10.7.0.3"],
  );
});

t.test("on one level denied before allowed, labels before the VPC", async (t) => {
  await given(rule({ action: "allow", target: DB }), rule({ target: DB, protocol: "tcp", ports: ["81"] }), rule({ protocol: "tcp" }));
  await topology.expect(
    t,
    [
      ["web", "10.7.0.3", 80],
      ["web", "10.7.0.3", 81],
      ["db", "10.7.0.2", 80],
    ],
    ["db 10.7.0.2", SILENCE, SILENCE],
  );
  t.equal(await topology.ping("db", "10.7.0.2"), true, "another protocol");
});

t.test("out: whoever may not call hears so at once, and others are called", async (t) => {
  await given(
    rule({ direction: "out", target: WEB, protocol: "tcp", ports: ["80"], cidr: WORLD }),
    rule({ direction: "out", target: WEB, protocol: "udp", labels: DB }),
    rule({ direction: "out", target: { tier: "front" }, protocol: "icmp", log: true }),
  );
  await topology.expect(
    t,
    [
      ["web", WORLD, 80],
      ["far", WORLD, 80],
      ["web", OUTSIDE, 80],
      ["db", WORLD, 80],
      ["web", "10.7.0.3", 80],
      ["web", "10.7.0.3", 80, "udp"],
    ],
    ["(refused)", "(refused)", `out ${H1}`, `out ${H1}`, "db 10.7.0.2", "(unreachable)"],
  );
  t.same(await Promise.all([topology.ping("web", "10.7.0.3"), topology.ping("far", "10.7.0.3")]), [false, true]);
  t.match(await driver.logged(), [{ container: CONTAINERS.web.id, address: "10.7.0.3", protocol: "icmp", port: undefined }]);
  await given(rule({ direction: "out" }));
  await topology.expect(
    t,
    [
      ["web", OUTSIDE, 80],
      ["web", "10.7.0.3", 80],
      ["web", "10.7.0.1", 53],
    ],
    ["(refused)", "(refused)", "names 100.127.240.2"],
    "names resolve all the same",
  );
  t.equal(await topology.call("out", H1, 8081), "web 172.31.0.254", "and answers to callers pass");
});

t.test("a container without rules has no table, and rules that went are gone, also for the next process", async (t) => {
  await given();
  t.equal(await topology.must("web", "nft", "list", "tables"), "");
  await given(rule({ target: WEB }));
  await topology.expect(t, [["db", "10.7.0.2", 80]], [SILENCE]);
  t.same(await topology.driver().apply(stateOf({ published: PUBLISHED })), []);
  t.equal(await topology.call("db", "10.7.0.2", 80), "web 10.7.0.3");
  t.equal(await topology.must("web", "nft", "list", "tables"), "");
});

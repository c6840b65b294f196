import fc from "fast-check";
import t from "tap";
import type { ContainerId, FirewallRuleId, VpcId } from "../../../src/base/index.ts";
import {
  type FirewallRule,
  type LoggedTraffic,
  newlyLogged,
  RULE_LIMITS,
  type RuleWords,
  ruleFromWords,
  rulesetsOf,
  rulesetText,
  rulesFor,
} from "../../../src/firewall/index.ts";
import { anyState, idOf, largeState } from "./states.ts";

const VPC = idOf<VpcId>("n", 0);
const words: RuleWords = { action: "deny", direction: "in", protocol: "any", ports: [], target: {}, log: false };
const made = (given: Partial<RuleWords>, n = 0): FirewallRule => {
  const result = ruleFromWords(idOf<FirewallRuleId>("f", n), VPC, { ...words, ...given });
  if (!result.ok) throw new TypeError(result.message);
  return result.value;
};
const refusal = (given: Partial<RuleWords>): string => {
  const result = ruleFromWords(idOf<FirewallRuleId>("f", 0), VPC, { ...words, ...given });
  return result.ok ? "(none)" : `${result.code} ${result.message}`;
};

t.test("labels before the whole VPC, denied before allowed", (t) => {
  const rules = [
    made({ action: "allow" }, 1),
    made({ action: "deny" }, 2),
    made({ action: "allow", target: { app: "web" } }, 3),
    made({ action: "deny", target: { app: "web" } }, 4),
    made({ action: "deny", target: { app: "db" } }, 5),
    made({ action: "deny", target: { app: "web", tier: "back" } }, 6),
  ];
  const ids = (labels: Record<string, string>) => rulesFor({ labels }, rules).map(({ id }) => rules.findIndex((rule) => rule.id === id) + 1);
  t.same(ids({ app: "web" }), [4, 3, 2, 1]);
  t.same(ids({ app: "web", tier: "back" }), [4, 6, 3, 2, 1]);
  t.same(ids({}), [2, 1]);
  t.same(ids({ toString: "x" }), [2, 1], "no label that every object has");
  fc.assert(
    fc.property(anyState, fc.gen(), ({ vpcs }, chance) =>
      vpcs.every(({ ports, rules: all }) => {
        const mixed = chance(fc.shuffledSubarray<FirewallRule>, [...all], { minLength: all.length });
        return ports.every((port) => {
          const [one, other] = [rulesFor(port, all), rulesFor(port, mixed)];
          return one.length === other.length && one.every((rule, at) => rule === other[at]);
        });
      }),
    ),
    { numRuns: 30 },
  );
  t.end();
});

t.test("words become a rule, or a sentence that says why not", (t) => {
  t.same(made({ action: "allow", direction: "out", protocol: "tcp", ports: ["443", "80", "8000-8100", "8050-8200", "81"], cidr: "192.0.2.0/24", log: true }), {
    id: idOf("f", 0),
    vpc: VPC,
    target: {},
    action: "allow",
    direction: "out",
    protocol: "tcp",
    ports: [
      { first: 80, last: 81 },
      { first: 443, last: 443 },
      { first: 8000, last: 8200 },
    ],
    other: { kind: "cidr", cidr: { base: { family: 4, value: 0xc0000200n }, bits: 24 } },
    log: true,
  });
  t.match(made({ cidr: "192.0.2.7" }).other, { kind: "cidr", cidr: { bits: 32 } }, "one address");
  t.same(made({ labels: { app: "web" } }).other, { kind: "labels", labels: { app: "web" } });
  t.same(made({}).other, { kind: "any" });
  const cases: readonly (readonly [Partial<RuleWords>, RegExp])[] = [
    [{ action: "permit" }, /"permit" is no action of a rule: allow or deny/],
    [{ direction: "both" }, /in or out/],
    [{ protocol: "sctp" }, /tcp, udp, icmp or any/],
    [{ protocol: "any", ports: ["80"] }, /has no ports/],
    [{ protocol: "icmp", ports: ["80"] }, /has no ports/],
    ...["0", "65536", "-1", "80-", "x", "1.5", "123456", ""].map((port): readonly [Partial<RuleWords>, RegExp] => [
      { protocol: "tcp", ports: [port] },
      /is no port/,
    ]),
    [{ protocol: "tcp", ports: ["90-80"] }, /80-90 is meant/],
    [{ protocol: "tcp", ports: new Array<string>(RULE_LIMITS.portsMax + 1).fill("80") }, /at most 64/],
    [{ cidr: "192.0.2.7/24" }, /its network is 192\.0\.2\.0\/24/],
    [{ cidr: "web" }, /is no CIDR/],
    [{ cidr: "2001:db8::/32" }, /no IPv6 yet/],
    [{ cidr: "::1" }, /no IPv6 yet/],
    [{ cidr: "192.0.2.0/24", labels: { app: "web" } }, /not both/],
    [{ labels: {} }, /names no label/],
    [{ target: { "a b": "x" } }, /"a b" is not a label/],
    [{ target: { "": "x" } }, /is not a label/],
    [{ labels: { app: "a\u0007" } }, /control characters/],
    [{ labels: { app: "x".repeat(257) } }, /more than 256 bytes/],
    [{ target: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`k${n}`, ""])) }, /at most 16 labels/],
    [{ action: '"; flush ruleset\n' }, /is no action/],
  ];
  for (const [given, message] of cases) t.match(refusal(given), new RegExp(`^BAD_REQUEST .*${message.source}`), JSON.stringify(given).slice(0, 60));
  t.end();
});

t.test("the text of a container's rules", (t) => {
  const state = largeState({ ports: 2, published: 0, rules: 0 });
  const textFor = (...rules: readonly FirewallRule[]): string => {
    const vpcs = state.vpcs.map((vpc) => ({ ...vpc, members: vpc.members.map((member) => ({ ...member, labels: { app: "web" } })), rules }));
    const [first] = rulesetsOf({ ...state, vpcs });
    return first === undefined ? "" : rulesetText(first);
  };
  const deny = made({ protocol: "tcp", ports: ["22", "80-90"], labels: { app: "web" }, log: true }, 1);
  const allow = made({ action: "allow", direction: "out", protocol: "icmp", cidr: "192.0.2.0/24" }, 2);
  const set = /set (label_[a-z2-7]{16})/.exec(textFor(deny))?.[1];
  t.equal(
    textFor(deny, allow),
    `table inet cc
delete table inet cc
table inet cc {
  set ${set} {
    type ipv4_addr
    elements = {
      10.7.0.2,
      10.7.0.3
    }
  }
  set log_${deny.id} {
    type ipv4_addr . inet_proto . inet_service
    flags dynamic,timeout
    timeout 10m
    size 256
  }
  chain input {
    type filter hook input priority 0; policy accept;
    ct state established,related accept
    iifname "lo" accept
    jump in_vpc_deny
  }
  chain in_vpc_deny {
    tcp dport { 22, 80-90 } ip saddr @${set} update @log_${deny.id} { ip saddr . meta l4proto . th dport counter }
    tcp dport { 22, 80-90 } ip saddr @${set} drop
  }
  chain output {
    type filter hook output priority 0; policy accept;
    ct state established,related accept
    oifname "lo" accept
    ip daddr 10.7.0.1 meta l4proto { tcp, udp } th dport 53 accept
    jump out_vpc_allow
  }
  chain out_vpc_allow {
    meta l4proto icmp ip daddr 192.0.2.0/24 accept
  }
}
`,
  );
  t.equal(textFor(made({ cidr: "0.0.0.0/0" })).match(/ip saddr/), null, "everything is everything");
  t.match(textFor(made({ direction: "out" })), /chain refuse \{\n.*tcp reset[\s\S]*goto refuse/, "who may not call out hears so");
  t.end();
});

t.test("what was logged is told once", (t) => {
  const entry = (port: number, packets: number): LoggedTraffic => ({
    container: idOf<ContainerId>("c", 0),
    rule: idOf<FirewallRuleId>("f", 0),
    address: "192.0.2.7",
    protocol: "tcp",
    port,
    packets,
  });
  t.same(newlyLogged([], [entry(22, 3)]), [entry(22, 3)]);
  t.same(newlyLogged([entry(22, 3)], [entry(22, 3)]), []);
  t.same(newlyLogged([entry(22, 3)], [entry(22, 5), entry(23, 1)]), [entry(22, 2), entry(23, 1)]);
  t.same(newlyLogged([entry(22, 3)], [entry(22, 1)]), [entry(22, 1)], "forgotten in between");
  t.end();
});

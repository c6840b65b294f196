import { createHash } from "node:crypto";
import { base32, type FirewallRuleId, formatCidr, formatIp } from "../base/index.ts";
import { carries, type FirewallRule, type Labels, labelsText, levelOf, type PortRange, rulesFor } from "./rule.ts";
import type { VpcFirewall } from "./state.ts";
import { type ChainPlan, compareTexts, type SetPlan, setElements, type TablePlan } from "./table.ts";

/** A change of one rule puts a chain of at most so many rules anew; a longer one is split. */
const RULES_A_CHAIN_MAX = 32;
/** Other sides that a logging rule tells apart; met by more, it still decides, and only their number is not told. */
const LOGGED_MAX = 256;
const LOGGED_FOR = "10m";

const LEVELS = ["label_deny", "label_allow", "vpc_deny", "vpc_allow"] as const;
const DIRECTIONS = ["in", "out"] as const;

/** Sets that the kernel itself fills: what a logging rule met. By protocol and port, and for protocols without ports. */
export const LOG_SET = /^log(_other)?_(f[a-z2-7]{20})$/;
const logSet = (id: FirewallRuleId): string => `log_${id}`;
const otherLogSet = (id: FirewallRuleId): string => `log_other_${id}`;

/** The table in the namespace of a container with these labels: none where no rule concerns it, so that nothing there is tracked for nothing. */
export function containerTables(labels: Labels, vpc: VpcFirewall): readonly TablePlan[] {
  const rules = rulesFor({ labels }, vpc.rules);
  if (rules.length === 0) return [];
  const refused = rules.some(({ direction, action }) => direction === "out" && action === "deny");
  return [
    {
      family: "inet",
      counters: [],
      sets: [...labelSets(rules, vpc), ...logSets(rules)],
      chains: [...(refused ? [REFUSE] : []), ...DIRECTIONS.flatMap((direction) => directionChains(direction, rules, vpc))],
    },
  ];
}

/** A program that may not call out hears so at once; whoever calls in hears nothing. */
const REFUSE: ChainPlan = { name: "refuse", rules: ["meta l4proto tcp reject with tcp reset", "reject with icmpx admin-prohibited"] };

function directionChains(direction: "in" | "out", all: readonly FirewallRule[], vpc: VpcFirewall): readonly ChainPlan[] {
  const rules = all.filter((rule) => rule.direction === direction);
  if (rules.length === 0) return [];
  const levels = LEVELS.flatMap((name, level) => {
    const those = rules.filter((rule) => levelOf(rule) === level);
    return those.length === 0 ? [] : [{ name: `${direction}_${name}`, rules: those }];
  });
  const isIn = direction === "in";
  const open = isIn
    ? ["ct state established,related accept", 'iifname "lo" accept']
    : // Names resolve whatever is denied: a container that is to reach one address must find it.
      ["ct state established,related accept", 'oifname "lo" accept', `ip daddr ${formatIp(vpc.gateway)} meta l4proto { tcp, udp } th dport 53 accept`];
  const hook = `type filter hook ${isIn ? "input" : "output"} priority 0; policy accept;`;
  return [
    { name: isIn ? "input" : "output", hook, rules: [...open, ...levels.map(({ name }) => `jump ${name}`)] },
    ...levels.flatMap((level) => levelChains(level.name, hashed(level.rules), 0)),
  ];
}

type HashedRule = { readonly rule: FirewallRule; readonly hash: string };

const hashed = (rules: readonly FirewallRule[]): readonly HashedRule[] =>
  rules.map((rule) => ({ rule, hash: createHash("sha256").update(rule.id).digest("hex") }));

/** The rules of a level: one chain, or a tree of chains by the digits of the rules' hashes. */
function levelChains(name: string, rules: readonly HashedRule[], depth: number): readonly ChainPlan[] {
  if (rules.length <= RULES_A_CHAIN_MAX) return [{ name, rules: rules.flatMap(({ rule }) => ruleLines(rule)) }];
  const branches = [...Map.groupBy(rules, ({ hash }) => hash.charAt(depth))].sort(([a], [b]) => compareTexts(a, b));
  return [
    { name, rules: branches.map(([digit]) => `jump ${name}_${digit}`) },
    ...branches.flatMap(([digit, those]) => levelChains(`${name}_${digit}`, those, depth + 1)),
  ];
}

function ruleLines(rule: FirewallRule): readonly string[] {
  const match = [protocolMatch(rule), otherMatch(rule)].filter((part) => part !== "");
  const verdict = rule.action === "allow" ? "accept" : rule.direction === "in" ? "drop" : "goto refuse";
  // On lines of their own: a set that is full ends its line, and must not keep the verdict from being given.
  return [...(rule.log ? logLines(rule, match) : []), [...match, verdict].join(" ")];
}

function logLines(rule: FirewallRule, match: readonly string[]): readonly string[] {
  const other = rule.direction === "in" ? "ip saddr" : "ip daddr";
  const withPort = `update @${logSet(rule.id)} { ${other} . meta l4proto . th dport counter }`;
  const without = `update @${otherLogSet(rule.id)} { ${other} . meta l4proto counter }`;
  if (rule.protocol === "icmp") return [[...match, without].join(" ")];
  if (rule.protocol !== "any") return [[...match, withPort].join(" ")];
  return [[...match, "meta l4proto { tcp, udp }", withPort].join(" "), [...match, "meta l4proto != { tcp, udp }", without].join(" ")];
}

function protocolMatch({ protocol, ports }: FirewallRule): string {
  if (protocol === "any") return "";
  if (ports.length === 0) return `meta l4proto ${protocol}`;
  const [only, ...more] = ports.map(portText);
  return `${protocol} dport ${only !== undefined && more.length === 0 ? only : `{ ${[only, ...more].join(", ")} }`}`;
}

const portText = ({ first, last }: PortRange): string => (first === last ? String(first) : `${first}-${last}`);

function otherMatch({ direction, other }: FirewallRule): string {
  const address = direction === "in" ? "ip saddr" : "ip daddr";
  if (other.kind === "any" || (other.kind === "cidr" && other.cidr.bits === 0)) return "";
  return other.kind === "cidr" ? `${address} ${formatCidr(other.cidr)}` : `${address} @${labelSet(other.labels)}`;
}

/** One set for all rules that name the same labels, and one name for it on every host. */
function labelSet(labels: Labels): string {
  return `label_${base32(createHash("sha256").update(labelsText(labels)).digest()).slice(0, 16)}`;
}

function labelSets(rules: readonly FirewallRule[], { members }: VpcFirewall): readonly SetPlan[] {
  const wanted = new Map<string, Labels>();
  for (const { other } of rules) if (other.kind === "labels") wanted.set(labelSet(other.labels), other.labels);
  return [...wanted]
    .sort(([a], [b]) => compareTexts(a, b))
    .map(([name, labels]) => ({
      name,
      kind: "set",
      spec: ["type ipv4_addr"],
      elements: setElements(members.filter((member) => carries(member.labels, labels)).map(({ address }) => formatIp(address))),
    }));
}

function logSets(rules: readonly FirewallRule[]): readonly SetPlan[] {
  const filled = ["flags dynamic,timeout", `timeout ${LOGGED_FOR}`, `size ${LOGGED_MAX}`];
  return rules
    .filter(({ log }) => log)
    .flatMap(({ id, protocol }) => [
      ...(protocol === "icmp" ? [] : [{ name: logSet(id), spec: ["type ipv4_addr . inet_proto . inet_service", ...filled] }]),
      ...(protocol === "any" || protocol === "icmp" ? [{ name: otherLogSet(id), spec: ["type ipv4_addr . inet_proto", ...filled] }] : []),
    ])
    .map((set) => ({ ...set, kind: "set", elements: new Map() }));
}

import { type Cidr, type FirewallRuleId, ok, parseCidr, parseIp, type Result, refuse, type VpcId, widthOf } from "../base/index.ts";
import type { FirewallRule, Labels, OtherSide, PortRange } from "./rule.ts";

/** What a user said, word by word. Nothing of it is trusted yet. */
export type RuleWords = {
  readonly action: string;
  readonly direction: string;
  readonly protocol: string;
  /** `80`, `8000-8100`. */
  readonly ports: readonly string[];
  readonly target: Readonly<Record<string, string>>;
  /** At most one of the two; both absent: whatever it is. */
  readonly cidr?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly log: boolean;
};

export const RULE_LIMITS = {
  portsMax: 64,
  labelsMax: 16,
  /** Of one VPC. Each container that they concern holds all of them. */
  rulesMax: 1_000,
  labelKeyCharactersMax: 128,
  labelValueBytesMax: 256,
} as const;

const PORT_MAX = 65_535;
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/;
const CONTROL = /[\u0000-\u001f\u007f]/;

/** A rule as it is stored, or why it is none. */
export function ruleFromWords(id: FirewallRuleId, vpc: VpcId, words: RuleWords): Result<FirewallRule> {
  const { action, direction, protocol, log } = words;
  if (action !== "allow" && action !== "deny") return refuse("BAD_REQUEST", `"${shown(action)}" is no action of a rule: allow or deny`);
  if (direction !== "in" && direction !== "out") return refuse("BAD_REQUEST", `"${shown(direction)}" is no direction: in or out, as the container sees it`);
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "icmp" && protocol !== "any") {
    return refuse("BAD_REQUEST", `"${shown(protocol)}" is no protocol of a rule: tcp, udp, icmp or any`);
  }
  if (words.ports.length > 0 && protocol !== "tcp" && protocol !== "udp") {
    return refuse("BAD_REQUEST", `a rule for ${protocol} has no ports: give the protocol, tcp or udp, or leave the ports out`);
  }
  const ports = portsFromWords(words.ports);
  if (!ports.ok) return ports;
  const target = labelsFromWords(words.target);
  if (!target.ok) return target;
  const other = otherFromWords(words);
  if (!other.ok) return other;
  return ok({ id, vpc, target: target.value, action, direction, protocol, ports: ports.value, other: other.value, log });
}

/** Disjoint and ascending, neighbours joined: so there is one spelling of what was meant. */
function portsFromWords(words: readonly string[]): Result<readonly PortRange[]> {
  if (words.length > RULE_LIMITS.portsMax) return refuse("BAD_REQUEST", `a rule has at most ${RULE_LIMITS.portsMax} ports and ranges, not ${words.length}`);
  const ranges: PortRange[] = [];
  for (const word of words) {
    const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(word) ?? [];
    const range = { first: Number(first), last: Number(last) };
    if (first === undefined || range.first < 1 || range.last > PORT_MAX) {
      return refuse("BAD_REQUEST", `"${shown(word)}" is no port: 1 to ${PORT_MAX}, or a range like 8000-8100`);
    }
    if (range.first > range.last) return refuse("BAD_REQUEST", `the range ${word} ends before it begins; ${range.last}-${range.first} is meant, perhaps`);
    ranges.push(range);
  }
  return ok(joined(ranges.sort((a, b) => a.first - b.first)));
}

function joined(ascending: readonly PortRange[]): readonly PortRange[] {
  const ranges: PortRange[] = [];
  for (const range of ascending) {
    const before = ranges.at(-1);
    if (before === undefined || range.first > before.last + 1) ranges.push(range);
    else ranges[ranges.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
  }
  return ranges;
}

function otherFromWords({ cidr, labels }: RuleWords): Result<OtherSide> {
  if (cidr !== undefined && labels !== undefined) {
    return refuse("BAD_REQUEST", "the other side of a rule is a CIDR or labels, not both: make it two rules");
  }
  if (cidr !== undefined) {
    const parsed = cidrFromWord(cidr);
    return parsed.ok ? ok({ kind: "cidr", cidr: parsed.value }) : parsed;
  }
  if (labels === undefined) return ok({ kind: "any" });
  const parsed = labelsFromWords(labels);
  if (!parsed.ok) return parsed;
  if (Object.keys(parsed.value).length === 0) return refuse("BAD_REQUEST", "the other side of the rule names no label; leave it out for any");
  return ok({ kind: "labels", labels: parsed.value });
}

function cidrFromWord(word: string): Result<Cidr> {
  const address = parseIp(word);
  const parsed = address === undefined ? parseCidr(shown(word)) : ok({ base: address, bits: widthOf(address) });
  if (parsed.ok && parsed.value.base.family === 6) return refuse("BAD_REQUEST", `${shown(word)}: VPCs have no IPv6 yet, so rules have none either`);
  return parsed;
}

function labelsFromWords(labels: Readonly<Record<string, string>>): Result<Labels> {
  const entries = Object.entries(labels);
  if (entries.length > RULE_LIMITS.labelsMax) return refuse("BAD_REQUEST", `a rule names at most ${RULE_LIMITS.labelsMax} labels, not ${entries.length}`);
  for (const [key, value] of entries) {
    if (!LABEL_KEY.test(key) || key.length > RULE_LIMITS.labelKeyCharactersMax) {
      return refuse("BAD_REQUEST", `"${shown(key)}" is not a label; use letters, digits and . _ / -, at most ${RULE_LIMITS.labelKeyCharactersMax} of them`);
    }
    if (Buffer.byteLength(value) > RULE_LIMITS.labelValueBytesMax || CONTROL.test(value)) {
      return refuse("BAD_REQUEST", `the value of the label ${key} has control characters or more than ${RULE_LIMITS.labelValueBytesMax} bytes`);
    }
  }
  return ok({ ...labels });
}

/** What a user typed, fit for a message. */
const shown = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 64);

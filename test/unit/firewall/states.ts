import fc from "fast-check";
import { addressAt, type ContainerId, type FirewallRuleId, formatIp, type Ip, parseCidr, type VpcId } from "../../../src/base/index.ts";
import type { FirewallRule, FirewallState, PublishedPort, VpcFirewall } from "../../../src/firewall/index.ts";
import { macOf } from "../../../src/vpc/index.ts";

const block = (text: string) => {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new TypeError(parsed.message);
  return parsed.value;
};
const RANGE = block("100.127.240.0/20");
const VPC = block("10.7.0.0/16");
const UNDERLAY = block("172.31.0.0/24");

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
/** The n-th id of a kind. */
export const idOf = <T extends string>(kind: string, n: number): T =>
  `${kind}${[...String(n).padStart(20, "0")].map((digit) => ALPHABET[Number(digit)]).join("")}` as T;

const LABELS = [{}, { app: "web" }, { app: "db" }, { app: "web", tier: "front" }] as const;
const labels = fc.constantFrom(...LABELS);

/** A container of the VPC: its number gives its id and address. */
export function portOf(vpc: VpcId, n: number, carried: Readonly<Record<string, string>> = {}): VpcFirewall["ports"][number] {
  const address = addressAt(VPC, BigInt(n + 2));
  const container = idOf<ContainerId>("c", n);
  return { container, device: `p${container.slice(-13)}`, mac: macOf(vpc, address), address, labels: carried };
}

const otherSide: fc.Arbitrary<FirewallRule["other"]> = fc.oneof(
  fc.constant({ kind: "any" } as const),
  fc.constantFrom("10.7.0.0/24", "192.0.2.0/24", "192.0.2.7/32", "0.0.0.0/0").map((text) => ({ kind: "cidr", cidr: block(text) }) as const),
  fc.constantFrom(LABELS[1], LABELS[2]).map((named) => ({ kind: "labels", labels: named }) as const),
);

const ruleOf = (vpc: VpcId): fc.Arbitrary<FirewallRule> =>
  fc
    .record({
      n: fc.nat(999),
      target: labels,
      action: fc.constantFrom("allow", "deny"),
      direction: fc.constantFrom("in", "out"),
      protocol: fc.constantFrom("tcp", "udp", "icmp", "any"),
      ports: fc.constantFrom(
        [],
        [{ first: 80, last: 80 }],
        [
          { first: 22, last: 22 },
          { first: 8000, last: 8100 },
        ],
      ),
      other: otherSide,
      log: fc.boolean(),
    })
    .map(({ n, ports, ...rule }) => ({
      ...rule,
      id: idOf<FirewallRuleId>("f", n),
      vpc,
      ports: rule.protocol === "tcp" || rule.protocol === "udp" ? ports : [],
    }));

const vpcOf = (n: number): fc.Arbitrary<VpcFirewall> => {
  const id = idOf<VpcId>("n", n);
  return fc
    .record({
      ports: fc.uniqueArray(fc.record({ n: fc.nat(12), carried: labels }), { selector: (port) => port.n, maxLength: 6 }),
      remote: fc.uniqueArray(fc.record({ n: fc.integer({ min: 20, max: 30 }), carried: labels }), { selector: (port) => port.n, maxLength: 4 }),
      rules: fc.uniqueArray(ruleOf(id), { selector: (rule) => rule.id, maxLength: 60 }),
      transit: fc.constantFrom(2n, 3n),
    })
    .map(({ ports, remote, rules, transit }) => {
      const here = ports.map((port) => portOf(id, port.n, port.carried));
      return {
        id,
        gateway: addressAt(VPC, 1n),
        hostDevice: `cc-${id.slice(-11)}`,
        transit: addressAt(RANGE, BigInt(10 * n) + transit),
        ports: here,
        members: [...here, ...remote.map((port) => portOf(id, port.n, port.carried))].map(({ address, labels: carried }) => ({ address, labels: carried })),
        rules,
      };
    });
};

const publishedPort: fc.Arbitrary<PublishedPort> = fc
  .record({
    at: fc.constantFrom(undefined, 1n, 9n),
    hostPort: fc.constantFrom(80, 443, 8080, 65_535),
    protocol: fc.constantFrom("tcp", "udp"),
    vpc: fc.constantFrom(0, 1, 2),
    address: fc.nat(24),
    port: fc.constantFrom(80, 8080),
  })
  .map(({ at, vpc, address, ...rest }) => ({
    ...rest,
    ...(at === undefined ? {} : { at: addressAt(UNDERLAY, at) }),
    vpc: idOf<VpcId>("n", vpc),
    address: addressAt(VPC, BigInt(address + 2)),
  }));

/** Anything that state might say, also what it should not: two containers that claim one port of the host. */
export const anyState: fc.Arbitrary<FirewallState> = fc
  .record({
    vpcs: fc.subarray([0, 1, 2]).chain((numbers) => fc.tuple(...numbers.map(vpcOf))),
    published: fc.array(publishedPort, { maxLength: 12 }),
    elsewhere: fc.array(fc.record({ n: fc.integer({ min: 1, max: 9 }), hostPort: fc.constantFrom(80, 443), protocol: fc.constantFrom("tcp", "udp") })),
    hosts: fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
  })
  .map(({ vpcs, published, elsewhere, hosts }) => {
    const addresses: readonly Ip[] = hosts.map((n) => addressAt(UNDERLAY, BigInt(n)));
    const [own = addressAt(UNDERLAY, 1n)] = addresses;
    return {
      transit: { range: RANGE, host: addressAt(RANGE, 1n) },
      underlay: { own, vxlanPort: 4788, neighbours: addresses.slice(1), hosts: addresses },
      vpcs,
      published,
      publishedElsewhere: elsewhere.map(({ n, ...port }) => ({ ...port, host: addressAt(UNDERLAY, BigInt(n)) })),
    };
  });

/** A VPC with so many containers, published ports and rules. */
export function largeState(sizes: { readonly ports: number; readonly published: number; readonly rules: number }): FirewallState {
  const id = idOf<VpcId>("n", 0);
  const count = <T>(length: number, make: (n: number) => T): T[] => Array.from({ length }, (_, n) => make(n));
  const ports = count(sizes.ports, (n) => portOf(id, n));
  return {
    transit: { range: RANGE, host: addressAt(RANGE, 1n) },
    underlay: {
      own: addressAt(UNDERLAY, 1n),
      vxlanPort: 4788,
      neighbours: [addressAt(UNDERLAY, 2n)],
      hosts: count(2, (n) => addressAt(UNDERLAY, BigInt(n + 1))),
    },
    vpcs: [
      {
        id,
        gateway: addressAt(VPC, 1n),
        hostDevice: `cc-${id.slice(-11)}`,
        transit: addressAt(RANGE, 2n),
        ports,
        members: ports.map(({ address, labels: carried }) => ({ address, labels: carried })),
        rules: count(sizes.rules, (n) => ({
          id: idOf<FirewallRuleId>("f", n),
          vpc: id,
          target: {},
          action: "deny",
          direction: "in",
          protocol: "tcp",
          ports: [{ first: n + 1, last: n + 1 }],
          other: { kind: "cidr", cidr: block(`${formatIp(addressAt(block("192.0.0.0/16"), BigInt(n)))}/32`) },
          log: false,
        })),
      },
    ],
    published: count(sizes.published, (n) => ({
      hostPort: n + 1_000,
      protocol: n % 2 === 0 ? "tcp" : "udp",
      vpc: id,
      address: ports[n % ports.length]?.address ?? addressAt(VPC, 2n),
      port: 80,
    })),
  };
}

import fc from "fast-check";
import t from "tap";
import {
  addressAt,
  compareIps,
  containsCidr,
  containsIp,
  formatCidr,
  formatIp,
  type Ip,
  overlaps,
  parseCidr,
  parseIp,
  sizeOf,
} from "../../../src/base/index.ts";

const ip = (text: string): Ip => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};
const cidr = (text: string) => {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(parsed.message);
  return parsed.value;
};

t.test("addresses: both families, one text each", async (t) => {
  for (const [text, canonical] of [
    ["10.7.0.1", "10.7.0.1"],
    ["255.255.255.255", "255.255.255.255"],
    ["0.0.0.0", "0.0.0.0"],
    ["::", "::"],
    ["::1", "::1"],
    ["FE80:0:0:0:0:0:0:1", "fe80::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::ffff:10.7.0.1", "::ffff:a07:1"],
    ["1::", "1::"],
  ] as const)
    t.equal(formatIp(ip(text)), canonical, text);
  for (const bad of ["", "10.7.0", "10.7.0.256", "10.7.0.01", "10.7.0.1/8", "fe80::1%eth0", ":::", "host"]) t.equal(parseIp(bad), undefined, bad);
});

t.test("addresses: text and back give the same, in the same order", async () => {
  const some = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((value): Ip => ({ family: 4, value })),
    fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((value): Ip => ({ family: 6, value })),
  );
  fc.assert(
    fc.property(some, some, (a, b) => {
      const again = ip(formatIp(a));
      return again.family === a.family && again.value === a.value && Math.sign(compareIps(a, b)) === -Math.sign(compareIps(b, a));
    }),
  );
});

t.test("CIDRs: what is none is refused, and what was meant is named", async (t) => {
  t.equal(formatCidr(cidr("10.7.0.0/16")), "10.7.0.0/16");
  t.equal(formatCidr(cidr("fd00::/8")), "fd00::/8");
  for (const bad of ["10.7.0.0", "10.7.0.0/33", "10.7.0.0/-1", "10.7.0.0/1 ", "/8", "fd00::/129", "10.7.0.0/016x"])
    t.match(parseCidr(bad), { ok: false, code: "BAD_REQUEST" }, bad);
  t.match(parseCidr("10.7.0.1/16"), { ok: false, message: /its network is 10\.7\.0\.0\/16/ });
});

t.test("CIDRs: size, places, containment", async (t) => {
  const net = cidr("10.7.0.0/29");
  t.equal(sizeOf(net), 8n);
  t.equal(formatIp(addressAt(net, 7n)), "10.7.0.7");
  t.throws(() => addressAt(net, 8n), RangeError);
  t.ok(containsIp(net, ip("10.7.0.7")));
  t.notOk(containsIp(net, ip("10.7.0.8")));
  t.notOk(containsIp(cidr("0.0.0.0/0"), ip("::1")));
  t.ok(containsCidr(cidr("10.0.0.0/8"), net));
  t.notOk(containsCidr(net, cidr("10.0.0.0/8")));
  t.ok(overlaps(net, cidr("10.0.0.0/8")) && overlaps(cidr("10.0.0.0/8"), net));
  t.notOk(overlaps(net, cidr("10.7.0.8/29")));
});

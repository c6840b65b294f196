import fc from "fast-check";
import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { defaultGateway, routeTo } from "../../../src/ports/drivers/default-route.ts";
import { parseBook } from "../../../src/ports/drivers/mapping-file.ts";
import { isPublicAddress, reachedFromOutside } from "../../../src/ports/index.ts";
import { ip } from "./fake-router.ts";

t.test("the default gateway, as ip prints routes", async (t) => {
  const gateway = (routes: object[]): string | undefined => {
    const found = defaultGateway(JSON.stringify(routes));
    return found && formatIp(found);
  };
  t.equal(defaultGateway(""), undefined);
  t.equal(gateway([]), undefined);
  t.equal(gateway([{ dst: "default", gateway: "192.168.1.1", dev: "eth0", flags: [] }]), "192.168.1.1");
  t.equal(
    gateway([
      { dst: "default", dev: "tun0" },
      { dst: "default", gateway: "192.168.1.1", metric: 100 },
    ]),
    "192.168.1.1",
    "a tunnel has no router on it",
  );
  t.equal(
    gateway([
      { dst: "default", gateway: "10.0.0.1", metric: 600 },
      { dst: "default", gateway: "192.168.1.1", metric: 100 },
    ]),
    "192.168.1.1",
  );
  t.equal(gateway([{ dst: "10.0.0.0/8", gateway: "10.0.0.1" }]), undefined);
  t.equal(gateway([{ dst: "default", gateway: "fe80::1" }]), "fe80::1");
  const way = [{ dst: "192.168.1.1", dev: "eth0", prefsrc: "192.168.1.5", uid: 0 }];
  t.same(routeTo(ip("192.168.1.1"), JSON.stringify(way)), { gateway: ip("192.168.1.1"), local: ip("192.168.1.5"), device: "eth0" });
  t.equal(routeTo(ip("192.168.1.1"), ""), undefined, "the kernel knows no way to it");
});

t.test("a book of mappings is read whole or not at all", async (t) => {
  const mapping = {
    via: "upnp",
    protocol: "tcp",
    gateway: "192.168.1.1",
    internalAddress: "192.168.1.5",
    internalPort: 80,
    externalPort: 8080,
    preferredPort: 80,
  };
  const book = (more: object): string => JSON.stringify({ version: 1, mappings: [mapping, { ...mapping, ...more }] });
  t.match(parseBook(book({ via: "pcp" })), [{ ...mapping, gateway: ip("192.168.1.1"), internalAddress: ip("192.168.1.5") }, { via: "pcp" }]);
  t.same(parseBook('{"version":1,"mappings":[]}'), []);
  for (const text of ["", "null", "[]", '{"version":2,"mappings":[]}', '{"version":1}', book({}).slice(0, -5)]) t.equal(parseBook(text), undefined, text);
  for (const wrong of [
    { via: "nat-pmp" },
    { protocol: "sctp" },
    { gateway: "router" },
    { internalAddress: 5 },
    { internalPort: 0 },
    { externalPort: 70_000 },
    { preferredPort: 1.5 },
  ])
    t.equal(parseBook(book(wrong)), undefined, JSON.stringify(wrong));
  fc.assert(fc.property(fc.json(), (text) => parseBook(text) === undefined));
});

t.test("what the world can route to", async (t) => {
  for (const address of ["11.0.0.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "203.0.113.9"]) t.ok(isPublicAddress(ip(address)), address);
  for (const address of ["10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.1.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"])
    t.notOk(isPublicAddress(ip(address)), address);
});

t.test("who is reached from outside, by what he announces", async (t) => {
  const inside = ["/ip4/192.168.1.5/tcp/7440", "/ip4/127.0.0.1/tcp/7440", "/ip6/fd00::5/tcp/7440", "/ip6/fe80::1/tcp/7440", "/ip6/::1/tcp/7440"];
  t.notOk(reachedFromOutside([]));
  t.notOk(reachedFromOutside([...inside, "/ip4/nonsense/tcp/1", "/unix/x", "", "/ip4/100.64.3.4/tcp/1"]));
  for (const outside of ["/ip4/203.0.113.9/tcp/7440", "/ip6/2001:db8::5/tcp/7440", "/dns4/attic.example/tcp/7440", "/dns/attic/tcp/1"])
    t.ok(reachedFromOutside([...inside, outside]), outside);
});

import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import {
  bindHostPorts,
  findCollision,
  formatPublishedPort,
  type HostPort,
  PUBLISHED_PORTS_MAX,
  type PublishedPort,
  parsePublishedPort,
  parsePublishedPorts,
  type TakenPort,
} from "../../../src/ports/index.ts";
import { seeded } from "../placement/virtual-time.ts";

const parsed = (text: string): PublishedPort => {
  const port = parsePublishedPort(text);
  if (!port.ok) throw new Error(port.message);
  return port.value;
};
const anAddress = fc.option(
  fc.integer({ min: 0x0100_0000, max: 0xdfff_ffff }).map((value) => ({ family: 4 as const, value: BigInt(value) })),
  { nil: undefined },
);
const aPort = fc.integer({ min: 1, max: 65_535 });
const aProtocol = fc.constantFrom("tcp" as const, "udp" as const);
const aPublishing: fc.Arbitrary<PublishedPort> = fc
  .tuple(anAddress, fc.option(aPort, { nil: undefined }), aPort, aProtocol)
  .map(([hostAddress, hostPort, containerPort, protocol]) => ({ hostAddress, hostPort, containerPort, protocol }));

t.test("every form that a user may write, and its one text", async (t) => {
  for (const [text, canonical] of [
    ["80", "80/tcp"],
    ["8080:80", "8080:80/tcp"],
    ["53/udp", "53/udp"],
    ["8053:53/UDP", "8053:53/udp"],
    ["127.0.0.1:80", "127.0.0.1:80/tcp"],
    ["127.0.0.1::80", "127.0.0.1:80/tcp"],
    ["192.168.1.5:8080:80/tcp", "192.168.1.5:8080:80/tcp"],
    ["0.0.0.0:8080:80", "8080:80/tcp"],
    ["65535:1", "65535:1/tcp"],
  ] as const)
    t.equal(formatPublishedPort(parsed(text)), canonical, text);
});

t.test("what is not understood is refused in one line that says what was written and what would do", async (t) => {
  for (const [text, why] of [
    ["", /"" is no port/],
    ["http", /"http" is no port/],
    ["0", /1 to 65535/],
    ["0:80", /leave the host's port out/],
    ["080:80", /"080" is no port/],
    ["65536", /no port/],
    ["80/sctp", /tcp or udp/],
    ["80/tcp/udp", /tcp or udp/],
    ["8000-8010:80", /ranges of ports/],
    ["80-90", /ranges of ports/],
    ["[::1]:8080:80", /IPv6/],
    ["::1:8080:80", /IPv6/],
    ["localhost:8080:80", /no IPv4 address/],
    ["224.0.0.1:8080:80", /no address that a host can have/],
    ["255.255.255.255:80", /no address that a host can have/],
    ["1.2.3:80", /no IPv4 address/],
    [":80", /nothing stands before the colon/],
    ["8080:", /"" is no port/],
    ["1.2.3.4:8080:80:90", /IPv6/],
    ["٨٠", /no port/],
  ] as const) {
    const refused = parsePublishedPort(text);
    t.match(refused, { ok: false, code: "BAD_REQUEST", message: why }, text);
    t.notOk(!refused.ok && refused.message.includes("\n"));
  }
});

t.test("what is formatted is parsed to the same; nothing makes it throw", async (t) => {
  fc.assert(fc.property(aPublishing, (port) => assert.deepEqual(parsePublishedPort(formatPublishedPort(port)), { ok: true, value: port })));
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."0123456789.:/-[]tcpud"), maxLength: 24 }), (text) => typeof parsePublishedPort(text).ok === "boolean"),
  );
  t.pass("for all of them");
});

t.test("one container: nothing twice, and no two for one port of the host", async (t) => {
  const all = (...texts: string[]) => parsePublishedPorts(texts);
  t.ok(all().ok);
  t.ok(all("80", "8080:80", "8081:80", "8080:80/udp").ok, "one port of the container may be reached by several");
  t.ok(all("127.0.0.1:8080:80", "192.168.1.5:8080:80").ok);
  t.ok(all("80", "127.0.0.1:80").ok, "two that are chosen");
  for (const [first, second] of [
    ["80", "80/tcp"],
    ["8080:80", "8080:81"],
    ["8080:80", "127.0.0.1:8080:90"],
    ["127.0.0.1:8080:80", "0.0.0.0:8080:80"],
  ] as const)
    t.match(all(first, second), { ok: false, code: "BAD_REQUEST", message: /same port of the host/ }, `${first} ${second}`);
  t.match(all("80", "bad"), { ok: false, message: /"bad"/ });
  t.notOk(all(...Array.from({ length: PUBLISHED_PORTS_MAX + 1 }, (_, at) => String(at + 1))).ok);
});

t.test("on every host of a zone: no address that one host alone has", async (t) => {
  t.ok(parsePublishedPorts(["8080:80", "0.0.0.0:81:80", "127.0.0.1:82:80"], true).ok);
  t.match(parsePublishedPorts(["192.168.1.5:8080:80"], true), { ok: false, code: "BAD_REQUEST", message: /one host has 192\.168\.1\.5/ });
});

t.test("two publishings collide exactly where a packet could be meant for both", async (t) => {
  const few = fc.constantFrom(undefined, { family: 4 as const, value: 5n }, { family: 4 as const, value: 6n });
  const port = fc.record({ hostAddress: few, hostPort: fc.integer({ min: 1, max: 3 }), protocol: aProtocol });
  const takes = (a: HostPort, packet: HostPort): boolean => {
    return (
      a.protocol === packet.protocol && a.hostPort === packet.hostPort && (a.hostAddress === undefined || a.hostAddress.value === packet.hostAddress?.value)
    );
  };
  fc.assert(
    fc.property(port, port, (a, b) => {
      const addresses = [a.hostAddress, b.hostAddress, { family: 4 as const, value: 1n }].filter((address) => address !== undefined);
      const packets = addresses.flatMap((hostAddress) => [a, b].map(({ hostPort, protocol }) => ({ hostAddress, hostPort, protocol })));
      t.equal(
        findCollision(a, [b]) !== undefined,
        packets.some((packet) => takes(a, packet) && takes(b, packet)),
      );
      assert.equal(findCollision(a, [b]) === undefined, findCollision(b, [a]) === undefined, "either way round");
    }),
  );
});

t.test("a host gives free ports to those that named none, and says who has what was named", async (t) => {
  const taken: TakenPort[] = [{ hostAddress: undefined, hostPort: 8080, protocol: "tcp", by: "container web" }];
  t.match(bindHostPorts([parsed("127.0.0.1:8080:80")], taken, seeded(1)), { ok: false, code: "IN_USE", message: /127\.0\.0\.1:8080\/tcp .* container web/ });
  t.ok(bindHostPorts([parsed("8080:80/udp")], taken, seeded(1)).ok);
  fc.assert(
    fc.property(fc.array(aPublishing, { maxLength: 20 }), fc.integer(), (ports, seed) => {
      const bound = bindHostPorts(ports, taken, seeded(seed));
      assert.deepEqual(bound, bindHostPorts(ports, taken, seeded(seed)), "the same chance, the same ports");
      if (!bound.ok) return;
      for (const [at, port] of bound.value.entries()) {
        assert.deepEqual({ ...port, hostPort: ports[at]?.hostPort }, ports[at]);
        if (ports[at]?.hostPort !== undefined) continue;
        assert.ok(port.hostPort >= 20_000 && port.hostPort <= 32_767, "never where outgoing connections get theirs");
        assert.equal(findCollision(port, [...taken, ...bound.value.filter((other) => other !== port)]), undefined);
      }
    }),
  );
});

t.test("the last free port is found, wherever the search begins, and none is said", async (t) => {
  const all: TakenPort[] = Array.from({ length: 12_768 }, (_, at) => ({ hostAddress: undefined, hostPort: 20_000 + at, protocol: "tcp", by: "x" }));
  for (const free of [0, 5_000, 12_767]) {
    const bound = bindHostPorts([parsed("80")], all.toSpliced(free, 1), seeded(free + 1));
    t.match(bound, { ok: true, value: [{ hostPort: 20_000 + free }] });
  }
  t.match(bindHostPorts([parsed("80")], all, seeded(1)), { ok: false, code: "NO_ROOM" });
  t.match(bindHostPorts([parsed("80/udp")], all, seeded(1)), { ok: true });
  const elsewhere = all.map((port) => ({ ...port, hostAddress: parsed("10.0.0.1:1:1").hostAddress }));
  t.match(bindHostPorts([parsed("10.0.0.2:80")], elsewhere, seeded(1)), { ok: true }, "another address of the host is another port");
  t.equal(formatIp(parsed("10.0.0.1:1:1").hostAddress ?? { family: 4, value: 0n }), "10.0.0.1");
});

import type { RecordType } from "dns-packet";
import fc from "fast-check";
import t, { type Test } from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { indexNames, type NameTable } from "../../../src/vpc/names.ts";
import { answer, GROUP_ADDRESSES_MAX } from "../../../src/vpc/names-answer.ts";
import { tableParts } from "../../../src/vpc/names-fit.ts";
import type { Transport } from "../../../src/vpc/names-message.ts";
import { seededRandom } from "../mesh/small-world.ts";
import { type Asked, containerId, type Given, ip, queryFor, type Read, readReply, tableOf } from "./dns-client.ts";

const NXDOMAIN = 3;
const random = seededRandom(1);

function askRaw(table: NameTable, packet: Buffer, via: Transport = "udp"): { readonly bytes: Buffer; readonly read: Read } | "forward" | "none" {
  const outcome = answer(indexNames(table), packet, via, random);
  return outcome.kind === "reply" ? { bytes: outcome.bytes, read: readReply(outcome.bytes) } : outcome.kind;
}

function ask(table: NameTable, name: string, type: RecordType = "A", asked: Asked = {}, via: Transport = "udp"): Read {
  const outcome = askRaw(table, queryFor(name, type, asked), via);
  if (typeof outcome === "string") throw new Error(`${name}: ${outcome}`);
  return outcome.read;
}

const isForwarded = (table: NameTable, name: string, type: RecordType = "A"): boolean => askRaw(table, queryFor(name, type)) === "forward";

const prod = tableOf("prod", {
  web: { address: "10.7.0.5", labels: { app: "shop", "com.example.tier": "front", note: "two words" } },
  web2: { address: "10.7.0.6", labels: { app: "Shop" } },
  db: { address: "10.7.3.9", labels: { app: "store" }, healthy: false },
});

function negative(t: Test, read: Read, rcode: number, soa: string, what: string): void {
  t.equal(read.rcode, rcode, `${what}: code`);
  t.same(read.data, [], `${what}: no record`);
  t.equal(read.soa, soa, `${what}: SOA`);
  t.equal(read.soaTtl, 1, `${what}: kept for a second`);
}

t.test("containers, by name and by id, whole and bare", async (t) => {
  for (const name of ["web.prod.cc.internal", "web", `${containerId(1_000)}.prod.cc.internal`, containerId(1_000)]) {
    const read = ask(prod, name);
    t.same(read.data, ["10.7.0.5"], name);
    t.same(read.ttls, [1]);
    t.equal(read.rcode, 0);
    t.match(read.packet, { flag_qr: true, flag_aa: true, flag_ra: true, flag_rd: true, flag_tc: false, flag_ad: false, id: 7 });
  }
  t.same(ask(prod, "db.prod.cc.internal").data, ["10.7.3.9"], "not healthy, and asked for by name");
  t.same(ask(prod, "web.prod.cc.internal", "A", { flags: 0 }).packet.flag_rd, false);
});

t.test("a name made twice is the older one's; the younger has its id, and its address leads to the id", async (t) => {
  const table = {
    ...prod,
    containers: [...prod.containers, { id: containerId(99), name: "web", labels: { app: "shop" }, address: ip("10.7.9.9"), healthy: true }],
  };
  t.same(ask(table, "web").data, ["10.7.0.5"]);
  t.same(ask(table, `${containerId(99)}.prod.cc.internal`).data, ["10.7.9.9"]);
  t.same(ask(table, "9.9.7.10.in-addr.arpa", "PTR").data, [`${containerId(99)}.prod.cc.internal`]);
  t.same([...ask(table, "shop.app").data].sort(), ["10.7.0.5", "10.7.0.6", "10.7.9.9"]);
});

t.test("nobody gets another's traffic by being called like its id", async (t) => {
  const table = tableOf("prod", { [containerId(1_001)]: { address: "10.7.0.1" }, web: { address: "10.7.0.2" } });
  t.same(ask(table, containerId(1_001)).data, ["10.7.0.2"]);
});

t.test("groups: healthy ones only, whole and bare, keys with dots by their whole name", async (t) => {
  for (const name of ["shop.app.prod.cc.internal", "shop.app", "SHOP.app"]) t.same([...ask(prod, name).data].sort(), ["10.7.0.5", "10.7.0.6"], name);
  t.same(ask(prod, "front.com.example.tier.prod.cc.internal").data, ["10.7.0.5"]);
  t.ok(isForwarded(prod, "front.com.example.tier"), "four labels: not hidden from the world");
  negative(t, ask(prod, "store.app.prod.cc.internal"), 0, "cc.internal", "none healthy");
  negative(t, ask(prod, "store.app"), 0, "store.app", "none healthy, bare: not asked of the world");
  t.ok(isForwarded(prod, "cart.app"), "no such label");
  t.same(ask(tableOf("prod", { a: { address: "10.7.0.5", labels: { t: "x", T: "X" } } }), "x.t").data, ["10.7.0.5"], "once, though two labels name it");
});

t.test("groups in random order: each comes first as often", async (t) => {
  const table = tableOf("prod", Object.fromEntries(Array.from({ length: 5 }, (_, at) => [`w${at}`, { address: `10.7.0.${at + 2}`, labels: { app: "w" } }])));
  const index = indexNames(table);
  const query = queryFor("w.app");
  const firsts = new Map<string, number>();
  for (let round = 0; round < 2_000; round += 1) {
    const outcome = answer(index, query, "udp", random);
    const { data } = readReply(outcome.kind === "reply" ? outcome.bytes : Buffer.alloc(0));
    if (new Set(data).size !== 5) t.fail(data.join(" "));
    firsts.set(data[0] ?? "", (firsts.get(data[0] ?? "") ?? 0) + 1);
  }
  for (const count of firsts.values()) t.ok(count > 300 && count < 500, `${count} of 2000`);
  t.equal(firsts.size, 5);
});

const crowd = (count: number): NameTable =>
  tableOf(
    "prod",
    Object.fromEntries(
      Array.from({ length: count }, (_, at): [string, Given] => [
        `w${at}`,
        { address: formatIp({ family: 4, value: ip("10.7.0.2").value + BigInt(at) }), labels: { app: "w" } },
      ]),
    ),
  );

t.test("large groups: as many as fit, cut only where more are needed, all over TCP", async (t) => {
  const sizes: readonly [Asked, number][] = [
    [{}, 512],
    [{ payloadBytes: 512 }, 512],
    [{ payloadBytes: 100 }, 512],
    [{ payloadBytes: 900 }, 900],
    [{ payloadBytes: 1_232 }, 1_232],
    [{ payloadBytes: 65_535 }, 1_232],
  ];
  for (const [asked, bytesMax] of sizes) {
    const room = Math.floor((bytesMax - 12 - 11 - (asked.payloadBytes === undefined ? 0 : 11)) / 16);
    for (const count of [room, room + 1, 500]) {
      const outcome = askRaw(crowd(count), queryFor("w.app", "A", asked));
      if (typeof outcome === "string") throw new Error(outcome);
      t.ok(outcome.bytes.length <= bytesMax, `${outcome.bytes.length} of ${bytesMax}`);
      t.equal(outcome.read.data.length, Math.min(room, count));
      t.equal(new Set(outcome.read.data).size, Math.min(room, count), "different ones");
      t.equal(outcome.read.packet.flag_tc, count > room);
    }
  }
  const whole = ask(crowd(500), "w.app", "A", {}, "tcp");
  t.equal(new Set(whole.data).size, 500);
  t.equal(whole.packet.flag_tc, false);
  t.equal(ask(crowd(GROUP_ADDRESSES_MAX + 100), "w.app", "A", {}, "tcp").data.length, GROUP_ADDRESSES_MAX);
});

t.test("what exists has no records of other types, and ANY gets what there is", async (t) => {
  for (const type of ["AAAA", "TXT", "MX", "PTR", "SOA"] as const) {
    negative(t, ask(prod, "web.prod.cc.internal", type), 0, "cc.internal", `${type} of a container`);
    negative(t, ask(prod, "shop.app", type), 0, "shop.app", `${type} of a bare group`);
  }
  negative(t, ask(prod, "web", "AAAA"), 0, "web", "AAAA of a bare name");
  negative(t, ask(prod, "5.0.7.10.in-addr.arpa", "A"), 0, "7.10.in-addr.arpa", "A of a reverse name");
  const any = queryFor("web");
  any.writeUInt16BE(255, any.length - 4);
  const outcome = askRaw(prod, any);
  t.same(typeof outcome === "string" ? outcome : outcome.read.data, ["10.7.0.5"]);
});

t.test("addresses of IPv6 are AAAA", async (t) => {
  const table = tableOf("prod", { web: { address: "fd00::7:1" } });
  t.same(ask(table, "web", "AAAA").data, ["fd00::7:1"]);
  t.same(ask(table, "web", "A").data, []);
});

t.test("what stands above names exists, what is not there does not", async (t) => {
  for (const name of ["prod.cc.internal", "app.prod.cc.internal", "example.tier.prod.cc.internal", "tier.prod.cc.internal", "cc.internal"])
    negative(t, ask(prod, name), 0, "cc.internal", name);
  const absent = ["nobody.prod.cc.internal", "cart.app.prod.cc.internal", "a.web.prod.cc.internal", "words.note.prod.cc.internal", "note.prod.cc.internal"];
  for (const name of [...absent, "web.test.cc.internal", "test.cc.internal", "www.example.com.prod.cc.internal"])
    negative(t, ask(prod, name), NXDOMAIN, "cc.internal", name);
  t.equal(ask(prod, "cc.internal", "SOA").packet.answers?.[0]?.type, "SOA");
  for (const name of ["nobody", "internal", "xcc.internal", "example.com", "www.example.com", "."]) t.ok(isForwarded(prod, name), name);
});

t.test("reverse: of the VPC's own addresses here, in use or not, of others elsewhere", async (t) => {
  t.same(ask(prod, "5.0.7.10.in-addr.arpa", "PTR").data, ["web.prod.cc.internal"]);
  t.same(ask(prod, "1.0.7.10.IN-ADDR.ARPA", "PTR").data, ["gateway.prod.cc.internal"]);
  for (const name of [
    "77.0.7.10.in-addr.arpa",
    "0.0.7.10.in-addr.arpa",
    "1.5.0.7.10.in-addr.arpa",
    "x.0.7.10.in-addr.arpa",
    "05.0.7.10.in-addr.arpa",
    "256.0.7.10.in-addr.arpa",
  ])
    negative(t, ask(prod, name, "PTR"), NXDOMAIN, "7.10.in-addr.arpa", name);
  negative(t, ask(prod, "0.7.10.in-addr.arpa", "PTR"), 0, "7.10.in-addr.arpa", "above addresses");
  t.equal(ask(prod, "7.10.in-addr.arpa", "SOA").packet.answers?.[0]?.type, "SOA");
  for (const name of ["5.0.8.10.in-addr.arpa", "10.in-addr.arpa", "in-addr.arpa", "8.8.8.8.in-addr.arpa", "1.0.0.127.in-addr.arpa", "x.8.10.in-addr.arpa"])
    t.ok(isForwarded(prod, name, "PTR"), name);
  const small = tableOf("lab", { one: { address: "192.168.4.18" } }, { cidr: "192.168.4.16/29" });
  t.same(ask(small, "18.4.168.192.in-addr.arpa", "PTR").data, ["one.lab.cc.internal"]);
  t.same(ask(small, "17.4.168.192.in-addr.arpa", "PTR").data, ["gateway.lab.cc.internal"]);
  negative(t, ask(small, "23.4.168.192.in-addr.arpa", "PTR"), NXDOMAIN, "4.168.192.in-addr.arpa", "the last of a /29");
  for (const name of ["15.4.168.192.in-addr.arpa", "24.4.168.192.in-addr.arpa", "4.168.192.in-addr.arpa"]) t.ok(isForwarded(small, name, "PTR"), name);
  const large = tableOf("wide", { one: { address: "10.200.3.4" } }, { cidr: "10.0.0.0/8" });
  t.same(ask(large, "4.3.200.10.in-addr.arpa", "PTR").data, ["one.wide.cc.internal"]);
  negative(t, ask(large, "9.9.9.10.in-addr.arpa", "PTR"), NXDOMAIN, "10.in-addr.arpa", "of a /8");
});

t.test("the gateway's name, also where a container has it", async (t) => {
  t.same(ask(prod, "gateway.prod.cc.internal").data, ["10.7.0.1"]);
  t.ok(isForwarded(prod, "gateway"), "bare, it may be the office's");
  const table = tableOf("prod", { gateway: { address: "10.7.0.9" }, "api-gateway": { address: "10.7.0.8" } });
  t.same(ask(table, "gateway").data, ["10.7.0.9"]);
  t.same(ask(table, "api-gateway").data, ["10.7.0.8"]);
  t.same(ask(table, "gateway.prod.cc.internal").data, ["10.7.0.9"]);
  t.same(ask(table, "_gateway.prod.cc.internal").data, ["10.7.0.1"]);
  t.same(ask(table, "1.0.7.10.in-addr.arpa", "PTR").data, ["_gateway.prod.cc.internal"]);
});

t.test("two VPCs with the same CIDR and the same names are two tables", async (t) => {
  const test = tableOf("test", { web: { address: "10.7.0.77" } }, { number: 2, source: "100.127.240.3" });
  t.same(ask(test, "web").data, ["10.7.0.77"]);
  t.equal(ask(test, "web.prod.cc.internal").rcode, NXDOMAIN);
  t.same(ask(test, "77.0.7.10.in-addr.arpa", "PTR").data, ["web.test.cc.internal"]);
});

t.test("any case is answered, and comes back as it was asked", async (t) => {
  const name = fc.constantFrom("web.prod.cc.internal", "shop.app", "web", "nobody.prod.cc.internal", "5.0.7.10.in-addr.arpa");
  const keepsCase = (plain: string, upper: readonly boolean[]): boolean => {
    const mixed = [...plain].map((letter, at) => (upper[at] === true ? letter.toUpperCase() : letter)).join("");
    const type = plain.endsWith("arpa") ? "PTR" : "A";
    const [asked, lower] = [ask(prod, mixed, type), ask(prod, plain, type)];
    const owners = (asked.packet.answers ?? []).every((record) => record.name === mixed);
    return asked.question === mixed && owners && asked.rcode === lower.rcode && asked.data.length === lower.data.length;
  };
  t.doesNotThrow(() => fc.assert(fc.property(name, fc.array(fc.boolean(), { minLength: 22, maxLength: 22 }), keepsCase)));
});

t.test("EDNS: spoken with who speaks it, options unheard, later versions refused", async (t) => {
  t.equal(ask(prod, "web").edns, undefined);
  t.same(ask(prod, "web", "A", { payloadBytes: 4_096 }).edns, { payloadBytes: 1_232, extendedRcode: 0, dnssecOk: false });
  t.same(ask(prod, "nobody.prod.cc.internal", "A", { payloadBytes: 512, dnssecOk: true }).edns, { payloadBytes: 1_232, extendedRcode: 0, dnssecOk: true });
  const later = queryFor("web", "A", { payloadBytes: 1_232 });
  later.writeUInt8(1, later.length - 5);
  const outcome = askRaw(prod, later);
  t.match(typeof outcome === "string" ? {} : outcome.read, { rcode: 0, edns: { extendedRcode: 1 }, data: [] }, "BADVERS");
});

t.test("what is not for us is refused as servers do", async (t) => {
  const rcodeOf = (packet: Buffer): number | string => {
    const outcome = askRaw(prod, packet);
    return typeof outcome === "string" ? outcome : outcome.read.rcode;
  };
  const changed = (change: (packet: Buffer) => void, name = "web"): Buffer => {
    const packet = queryFor(name);
    change(packet);
    return packet;
  };
  t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(0x2900, 2))), 4, "an update");
  t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(0, 4))), 1, "no question");
  t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(2, 4))), 1, "two questions");
  t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(1, 6))), 1, "with an answer");
  t.equal(rcodeOf(Buffer.concat([queryFor("web"), Buffer.from([0])])), 1, "with something behind it");
  t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(3, packet.length - 2), "version.bind")), 5, "another class");
  for (const transfer of [251, 252]) t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(transfer, packet.length - 4), "prod.cc.internal")), 5);
  const twice = Buffer.concat([queryFor("web", "A", { payloadBytes: 1_232 }), queryFor("web", "A", { payloadBytes: 1_232 }).subarray(-11)]);
  twice.writeUInt16BE(2, 10);
  t.equal(rcodeOf(twice), 1, "two EDNS records");
  t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(0xc00c, 12))), 1, "a name that points to itself");
  t.equal(rcodeOf(changed((packet) => packet.writeUInt16BE(0x8180, 2))), "none", "an answer");
  t.equal(rcodeOf(queryFor("web").subarray(0, 11)), "none", "less than a header");
});

t.test("a table goes in pieces of some size, and one that is too large loses its youngest", async (t) => {
  const partsOf = (table: NameTable, bytesMax: number) => [...tableParts(table, bytesMax)];
  const containersOf = (parts: ReturnType<typeof partsOf>) => parts.flatMap(({ table }) => table.containers);
  const table = crowd(5_000);
  const whole = partsOf(table, 10_000_000);
  t.same(containersOf(whole), table.containers);
  t.ok(whole.length > 3 && whole.every((part, at) => part.isFirst === (at === 0) && part.isLast === (at === whole.length - 1) && part.leftOut === 0));
  t.ok(whole.every(({ bytes }, at) => bytes - (whole[at - 1]?.bytes ?? 0) < 140_000));
  const bytes = whole.at(-1)?.bytes ?? 0;
  const half = partsOf(table, bytes / 2);
  const kept = containersOf(half);
  t.ok(Math.abs(kept.length - 2_500) <= 50, `${kept.length} kept`);
  t.same(kept, table.containers.slice(0, kept.length));
  t.equal(half.at(-1)?.leftOut, 5_000 - kept.length);
  t.ok((half.at(-1)?.bytes ?? 0) <= bytes / 2);
  t.match(partsOf(crowd(0), 1_000), [{ isFirst: true, isLast: true, leftOut: 0, bytes: 0 }], "an empty one is one piece");
  t.match(partsOf(crowd(2), 0), [{ isFirst: true, isLast: true, leftOut: 2 }], "no room for any");
});

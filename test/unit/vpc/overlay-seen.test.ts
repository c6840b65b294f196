import fc from "fast-check";
import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { macOf } from "../../../src/vpc/index.ts";
import { EMPTY_SIDE, sortPorts, wantedVpc } from "../../../src/vpc/overlay-model.ts";
import { formatMark, freeTransit, hostEndOf, isTransit, isTransitName, parseMark, portName, transitName } from "../../../src/vpc/overlay-names.ts";
import { planVpc } from "../../../src/vpc/overlay-plan.ts";
import { absentVpc, parseSeen, seenTransit, takenTransits, transitFor } from "../../../src/vpc/overlay-seen.ts";
import { address, be16, dump, ipv4Address, link, mac, neighbour, route, section, u8, u16 } from "./netlink-encoder.ts";
import { cidr, containerId, ip, localPort, network, remotePort, TRANSIT, UNDERLAY, vpcId } from "./overlay-fixture.ts";

const id = vpcId(1);
const end = transitName(id);
const port = portName(containerId(8));
const macOn = (text: string): string => macOf(id, ip(text));
const mark = { ...localPort(8), namespace: 4_026_532_001 };
const [UP0, VX0, BR0, PORT] = [7, 3, 4, 5];
const NOBODY = "82:02:ae:4a:03:09";
const flags = (proxy: number, suppress: number, locked: number) =>
  (
    [
      [8, 0],
      [9, 0],
      [27, 0],
      [30, 0],
      [10, proxy],
      [32, suppress],
      [39, locked],
    ] as const
  ).map(([type, value]) => [type, u8(value)] as const);

const VETHS = dump(
  link(2, true, [
    [3, end],
    [1, mac(macOn("100.127.240.1"))],
    [4, 1_450],
    [5, UP0],
    [37, 0],
    [20, id],
    [18, [[1, "veth"]]],
  ]),
  link(9, true, [
    [3, "veth12ab"],
    [4, 1_500],
    [5, 10],
    [18, [[1, "veth"]]],
  ]),
  link(11, true, [
    [3, "cc-aaaaaaaaaaa"],
    [4, 1_500],
    [18, [[1, "bridge"]]],
  ]),
);
const VETH_ADDRESSES = dump(ipv4Address(2, 32, "100.127.240.1", "100.127.240.2"), ipv4Address(9, 16, "172.17.0.1"));
const ports = { up0: UP0, vxlan: 4_789 };
const linksOf = (more: Partial<typeof ports> = {}): Buffer => {
  const { up0, vxlan } = { ...ports, ...more };
  return dump(
    link(1, false, [
      [3, "lo"],
      [4, 65_536],
      [1, Buffer.alloc(6)],
    ]),
    link(up0, true, [
      [3, "up0"],
      [1, mac(macOn("100.127.240.2"))],
      [4, 1_450],
      [5, 2],
      [37, 0],
      [18, [[1, "veth"]]],
    ]),
    link(VX0, true, [
      [3, "vx0"],
      [1, mac(NOBODY)],
      [4, 1_450],
      [10, BR0],
      [37, 0],
      [
        18,
        [
          [1, "vxlan"],
          [
            2,
            [
              [1, 77],
              [7, u8(0)],
              [15, be16(vxlan)],
            ],
          ],
          [4, "bridge"],
          [5, flags(0, 1, 0)],
        ],
      ],
    ]),
    link(BR0, true, [
      [3, "br0"],
      [1, mac(macOn("10.0.0.1"))],
      [4, 1_450],
      [
        18,
        [
          [1, "bridge"],
          [
            2,
            [
              [1, 0],
              [5, 0],
              [15, u8(1)],
              [23, u8(0)],
            ],
          ],
        ],
      ],
    ]),
    link(PORT, true, [
      [3, port],
      [1, mac("8e:3c:ef:47:be:74")],
      [4, 1_450],
      [5, 2],
      [10, BR0],
      [37, 1],
      [20, formatMark(mark)],
      [
        18,
        [
          [1, "veth"],
          [4, "bridge"],
          [5, flags(1, 0, 1)],
        ],
      ],
    ]),
  );
};
const ADDRESSES = dump(ipv4Address(UP0, 32, "100.127.240.2", "100.127.240.1"), ipv4Address(BR0, 16, "10.0.0.1"));
const ROUTES = dump(
  route({ bits: 0, protocol: 3, scope: 0 }, [
    [5, address("100.127.240.1")],
    [4, UP0],
  ]),
  route({ bits: 16, protocol: 2, scope: 253 }, [
    [1, address("10.0.0.0")],
    [7, address("10.0.0.1")],
    [4, BR0],
  ]),
  route({ bits: 32, protocol: 2, scope: 253 }, [
    [1, address("100.127.240.1")],
    [7, address("100.127.240.2")],
    [4, UP0],
  ]),
  route({ bits: 32, table: 255, protocol: 2, scope: 254, type: 2 }, [
    [1, address("10.0.0.1")],
    [4, BR0],
  ]),
);
const NEIGHBOURS = dump(
  neighbour(2, BR0, 0x80, 0, [
    [1, address("10.0.0.8")],
    [2, mac(macOn("10.0.0.8"))],
  ]),
  neighbour(2, BR0, 0x80, 0, [
    [1, address("10.0.0.9")],
    [2, mac(macOn("10.0.0.9"))],
  ]),
  neighbour(2, BR0, 0x02, 0, [
    [1, address("10.0.0.77")],
    [2, mac(NOBODY)],
  ]),
  neighbour(2, UP0, 0x80, 0, [
    [1, address("192.0.2.1")],
    [2, mac(NOBODY)],
  ]),
);
const FDB = dump(
  neighbour(7, BR0, 0x80, 2, [[2, mac("01:00:5e:00:00:01")]]),
  neighbour(7, VX0, 0x80, 0, [
    [2, mac(NOBODY)],
    [9, BR0],
  ]),
  neighbour(7, VX0, 0x40, 0, [
    [2, mac(macOn("10.0.0.9"))],
    [9, BR0],
  ]),
  neighbour(7, VX0, 0x80, 2, [
    [2, mac(macOn("10.0.0.9"))],
    [1, address("172.31.0.2")],
  ]),
  neighbour(7, BR0, 0x80, 0, [
    [2, mac(macOn("10.0.0.1"))],
    [9, BR0],
  ]),
  neighbour(7, PORT, 0x40, 0, [
    [2, mac(macOn("10.0.0.8"))],
    [9, BR0],
  ]),
);
const inside = (more: { readonly links?: Buffer; readonly fdb?: Buffer } = {}): Buffer =>
  section(id, ["ipv4/ip_forward 1", "ipv4/conf/all/rp_filter 1"], [more.links ?? linksOf(), ADDRESSES, ROUTES, NEIGHBOURS, more.fdb ?? FDB]);
const HOST = section("host", ["ipv4/ip_forward 1", `ipv4/conf/${end}/route_localnet 1`, `ipv6/conf/${end}/disable_ipv6 1`], [VETHS, VETH_ADDRESSES]);

const vpc = network({ local: [localPort(8)], remote: [remotePort(9, 2)] });
const wanted = wantedVpc(UNDERLAY, vpc, TRANSIT, [{ mark, mtu: 1_450 }]);

t.test("what the kernel says is what was wanted: nothing to do", async (t) => {
  const seen = parseSeen(Buffer.concat([HOST, inside()]));
  t.same([...(seen?.host.links.keys() ?? [])], [end], "others' devices are not ours to know");
  const model = seen?.vpcs.get(id);
  if (model === undefined) throw new TypeError("nothing was read");
  t.same(sortPorts(vpc, model, 1_450), { attached: [{ mark, mtu: 1_450 }], missing: [] });
  t.same(planVpc(id, true, model, wanted), []);
  t.equal(formatIp(seenTransit(TRANSIT.range, model) ?? ip("::")), "100.127.240.2");
});

t.test("two ends that do not belong together, entries of another kind", async (t) => {
  const apart = parseSeen(Buffer.concat([HOST, inside({ links: linksOf({ up0: 8, vxlan: 4_790 }) })]))?.vpcs.get(id);
  t.equal(apart?.inside.links.get("up0")?.place, "");
  t.equal(apart?.outside.links.get(end)?.place, "");
  t.equal(apart?.inside.links.get("vx0")?.fixed, "id 77 dstport 4790 nolearning");
  const far = macOn("10.0.0.9");
  const fdb = dump(
    neighbour(7, VX0, 0x80, 2, [
      [2, mac(far)],
      [1, address("172.31.0.2")],
    ]),
    neighbour(7, VX0, 0x80, 2, [
      [2, mac(far)],
      [1, address("fd00::3")],
      [6, be16(9)],
    ]),
    neighbour(7, PORT, 0x80, 0, [
      [2, mac(far)],
      [9, BR0],
    ]),
    neighbour(7, VX0, 0x40, 2, [
      [2, mac("02:00:00:00:00:01")],
      [1, address("172.31.0.2")],
    ]),
    neighbour(7, PORT, 0x40, 0, [
      [2, mac(far)],
      [9, BR0],
      [5, u16(1)],
    ]),
    neighbour(7, PORT, 0x02, 0, [
      [2, mac("02:00:00:00:00:02")],
      [9, BR0],
    ]),
  );
  const strange = parseSeen(Buffer.concat([HOST, inside({ fdb })]))?.vpcs.get(id);
  t.same(
    [...(strange?.vxlanFdb ?? [])],
    [
      [far, "172.31.0.2 and fd00::3 port 9"],
      ["02:00:00:00:00:01", "172.31.0.2 static"],
    ],
  );
  t.same(
    [...(strange?.bridgeFdb ?? [])],
    [
      [far, `${port} permanent`],
      ["02:00:00:00:00:02", `${port} dynamic`],
    ],
  );
});

t.test("what is cut off, or garbled, is not taken for what is", async (t) => {
  const file = Buffer.concat([HOST, inside()]);
  for (let length = 0; length < file.length; length += 41) {
    const seen = parseSeen(file.subarray(0, length));
    t.equal(seen?.vpcs.get(id), undefined, `cut off after ${length}`);
    if (length < HOST.length) t.equal(seen, undefined);
  }
  t.equal(parseSeen(section("host", [], [])), undefined, "it could not be entered");
  t.equal(parseSeen(Buffer.concat([HOST, section(id, [], [])]))?.vpcs.get(id), undefined);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }), (changes) => {
      const garbled = Buffer.from(file);
      for (const [at, byte] of changes) garbled[at] = byte;
      parseSeen(garbled);
    }),
    { numRuns: 2_000 },
  );
});

t.test("transits: each VPC its own, kept where it is", async (t) => {
  const range = cidr("100.127.240.0/29");
  t.equal(formatIp(hostEndOf(range)), "100.127.240.1");
  const side = (name: string, own: string) => ({ ...EMPTY_SIDE, addresses: new Map([[name, [`100.127.240.1 peer ${own}/32`]]]) });
  const [mine, theirs] = [side(end, "100.127.240.3"), side(transitName(vpcId(2)), "100.127.240.2")];
  const seen = { ...absentVpc(id, EMPTY_SIDE), outside: mine };
  t.equal(formatIp(transitFor(range, end, seen, takenTransits([mine, theirs])) ?? ip("::")), "100.127.240.3");
  t.equal(
    formatIp(transitFor(range, end, seen, takenTransits([side("cc-other", "100.127.240.3"), mine, theirs])) ?? ip("::")),
    "100.127.240.4",
    "it is another's",
  );
  t.equal(formatIp(transitFor(range, end, absentVpc(id, EMPTY_SIDE), takenTransits([theirs])) ?? ip("::")), "100.127.240.3");
  t.equal(formatIp(transitFor(cidr("100.127.241.0/29"), end, seen, new Map()) ?? ip("::")), "100.127.241.2", "the range is another one now");
  t.same(
    [1, 2, 6, 7].map((last) => isTransit(range, ip(`100.127.240.${last}`))),
    [false, true, true, false],
  );
  const all = new Set([2, 3, 4, 5, 6].map((last) => `100.127.240.${last}`));
  t.equal(freeTransit(range, all), undefined);
});

t.test("names, and marks that only we make", async (t) => {
  t.ok([end, port].every((name) => name.length < 16));
  t.ok(isTransitName(end));
  t.notOk(isTransitName("cc-lab"));
  t.same(parseMark(formatMark(mark)), mark);
  for (const strange of ["", "eth0 of web", "c/10.0.0.1/1", `${mark.container}/10.0.0/1`, `${mark.container}/10.0.0.1/x`, `${formatMark(mark)}/1`])
    t.equal(parseMark(strange), undefined);
});

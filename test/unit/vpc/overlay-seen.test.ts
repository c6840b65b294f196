import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { macOf } from "../../../src/vpc/index.ts";
import { EMPTY_SIDE, sortPorts, wantedVpc } from "../../../src/vpc/overlay-model.ts";
import { formatMark, freeTransit, hostEndOf, isTransit, isTransitName, parseMark, portName, transitName } from "../../../src/vpc/overlay-names.ts";
import { planVpc } from "../../../src/vpc/overlay-plan.ts";
import { absentVpc, parseSeen, seenTransit, takenTransits, transitFor } from "../../../src/vpc/overlay-seen.ts";
import { cidr, containerId, ip, localPort, network, remotePort, TRANSIT, UNDERLAY, vpcId } from "./overlay-fixture.ts";

const id = vpcId(1);
const end = transitName(id);
const port = portName(containerId(8));
const mac = (address: string): string => macOf(id, ip(address));
const mark = { ...localPort(8), namespace: 4_026_532_001 };
const flags = (more: string): string => `"learning":false,"flood":false,"mcast_flood":false,"bcast_flood":false,${more}`;

/** As iproute2 6.1 answers, without what nobody reads. */
const VETHS = `[{"ifindex":2,"link_index":7,"ifname":"${end}","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1450,"address":"${mac("100.127.240.1")}","link_netnsid":0,"linkinfo":{"info_kind":"veth"},"ifalias":"${id}","addr_info":[{"family":"inet","local":"100.127.240.1","address":"100.127.240.2","prefixlen":32,"scope":"global"},{"family":"inet6","local":"fe80::1","prefixlen":64}]},{"ifindex":9,"link_index":10,"ifname":"veth12ab","flags":["UP"],"mtu":1500,"linkinfo":{"info_kind":"veth"},"addr_info":[{"family":"inet","local":"172.17.0.1","prefixlen":16}]}]`;
const LINKS = [
  `{"ifindex":1,"ifname":"lo","flags":["LOOPBACK"],"mtu":65536,"address":"00:00:00:00:00:00","addr_info":[]}`,
  `{"ifindex":7,"link_index":2,"ifname":"up0","flags":["UP"],"mtu":1450,"address":"${mac("100.127.240.2")}","link_netnsid":0,"linkinfo":{"info_kind":"veth"},"addr_info":[{"family":"inet","local":"100.127.240.2","address":"100.127.240.1","prefixlen":32}]}`,
  `{"ifindex":3,"link_index":3,"ifname":"vx0","flags":["UP"],"mtu":1450,"master":"br0","address":"82:02:ae:4a:03:09","link_netnsid":0,"linkinfo":{"info_kind":"vxlan","info_data":{"id":77,"port":4789,"learning":false},"info_slave_kind":"bridge","info_slave_data":{${flags(`"proxy_arp":false,"neigh_suppress":true,"locked":false`)}}},"addr_info":[]}`,
  `{"ifindex":4,"ifname":"br0","flags":["UP"],"mtu":1450,"address":"${mac("10.0.0.1")}","linkinfo":{"info_kind":"bridge","info_data":{"forward_delay":0,"stp_state":0,"mcast_snooping":0,"gc_timer":299.96}},"addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":16}]}`,
  `{"ifindex":5,"link_index":2,"ifname":"${port}","flags":["UP"],"mtu":1450,"master":"br0","address":"8e:3c:ef:47:be:74","link_netnsid":1,"linkinfo":{"info_kind":"veth","info_slave_kind":"bridge","info_slave_data":{${flags(`"proxy_arp":true,"neigh_suppress":false,"locked":true`)}}},"ifalias":"${formatMark(mark)}","addr_info":[]}`,
];
const ROUTES = `[{"type":"unicast","dst":"default","gateway":"100.127.240.1","dev":"up0","protocol":"boot","scope":"global","flags":[]},{"type":"unicast","dst":"10.0.0.0/16","dev":"br0","protocol":"kernel","scope":"link","prefsrc":"10.0.0.1","flags":[]},{"type":"unicast","dst":"100.127.240.1","dev":"up0","protocol":"kernel","scope":"link","prefsrc":"100.127.240.2","flags":[]}]`;
const NEIGHBOURS = `[{"dst":"10.0.0.8","dev":"br0","lladdr":"${mac("10.0.0.8")}","state":["PERMANENT"]},{"dst":"10.0.0.9","dev":"br0","lladdr":"${mac("10.0.0.9")}","state":["PERMANENT"]},{"dst":"192.0.2.1","dev":"up0","lladdr":"02:00:00:00:00:01","state":["PERMANENT"]}]`;
const FDB = [
  `{"mac":"01:00:5e:00:00:01","ifname":"br0","flags":["self"],"state":"permanent"}`,
  `{"mac":"82:02:ae:4a:03:09","ifname":"vx0","flags":[],"master":"br0","state":"permanent"}`,
  `{"mac":"${mac("10.0.0.9")}","ifname":"vx0","flags":[],"master":"br0","state":"static"}`,
  `{"mac":"${mac("10.0.0.9")}","ifname":"vx0","dst":"172.31.0.2","linkNetNsId":0,"flags":["self"],"state":"permanent"}`,
  `{"mac":"${mac("10.0.0.1")}","ifname":"br0","flags":[],"master":"br0","state":"permanent"}`,
  `{"mac":"${mac("10.0.0.8")}","ifname":"${port}","flags":[],"master":"br0","state":"static"}`,
];
const SYSCTLS = ["ipv4/ip_forward 1", "ipv4/conf/all/rp_filter 1"];
const section = (more: { readonly links?: readonly string[]; readonly fdb?: readonly string[] } = {}): string =>
  [`@${id}`, ...SYSCTLS, `[${(more.links ?? LINKS).join(",")}]`, ROUTES, NEIGHBOURS, `[${(more.fdb ?? FDB).join(",")}]`].join("\n");
const HOST = ["ipv4/ip_forward 1", `ipv4/conf/${end}/route_localnet 1`, `ipv6/conf/${end}/disable_ipv6 1`, VETHS].join("\n");

const vpc = network({ local: [localPort(8)], remote: [remotePort(9, 2)] });
const wanted = wantedVpc(UNDERLAY, vpc, TRANSIT, [{ mark, mtu: 1_450 }]);

t.test("what the kernel says is what was wanted: nothing to do", async (t) => {
  const seen = parseSeen(`${HOST}\n${section()}\n`);
  t.same([...(seen?.host.links.keys() ?? [])], [end], "others' devices are not ours to know");
  const model = seen?.vpcs.get(id);
  if (model === undefined) throw new TypeError("nothing was read");
  t.same(sortPorts(vpc, model, 1_450), { attached: [{ mark, mtu: 1_450 }], missing: [] });
  t.same(planVpc(id, true, model, wanted), []);
  t.equal(formatIp(seenTransit(TRANSIT.range, model) ?? ip("::")), "100.127.240.2");
});

t.test("two ends that do not belong together, entries of another kind", async (t) => {
  const links = LINKS.map((link) => link.replace(`"ifindex":7`, `"ifindex":8`).replace(`"port":4789`, `"port":4790`));
  const apart = parseSeen(`${HOST}\n${section({ links })}\n`)?.vpcs.get(id);
  t.equal(apart?.inside.links.get("up0")?.place, "");
  t.equal(apart?.outside.links.get(end)?.place, "");
  t.equal(apart?.inside.links.get("vx0")?.fixed, "id 77 dstport 4790 nolearning");
  const far = mac("10.0.0.9");
  const fdb = [
    `{"mac":"${far}","ifname":"vx0","dst":"172.31.0.2","flags":["self"],"state":"permanent"}`,
    `{"mac":"${far}","ifname":"vx0","dst":"172.31.0.3","port":"9","flags":["self"],"state":"permanent"}`,
    `{"mac":"${far}","ifname":"${port}","flags":[],"master":"br0","state":"permanent"}`,
    `{"mac":"02:00:00:00:00:01","ifname":"vx0","dst":"172.31.0.2","flags":["self"],"state":"static"}`,
    `{"mac":"${far}","vlan":1,"ifname":"${port}","flags":[],"master":"br0","state":"static"}`,
  ];
  const strange = parseSeen(`${HOST}\n${section({ fdb })}\n`)?.vpcs.get(id);
  t.same(
    [...(strange?.vxlanFdb ?? [])],
    [
      [far, "172.31.0.2 and 172.31.0.3 port 9"],
      ["02:00:00:00:00:01", "172.31.0.2 static"],
    ],
  );
  t.same([...(strange?.bridgeFdb ?? [])], [[far, `${port} permanent`]]);
});

t.test("what is cut off is not taken for what is", async (t) => {
  const text = `${HOST}\n${section()}\n`;
  const ends = text.trimEnd().length;
  for (let length = 0; length < ends; length += 97) {
    const seen = parseSeen(text.slice(0, length));
    t.equal(seen?.vpcs.get(id), undefined);
    if (length < HOST.length) t.equal(seen, undefined);
  }
  t.not(parseSeen(text.slice(0, ends))?.vpcs.get(id), undefined);
  t.same(parseSeen("ipv4/ip_forward 0\n[]\n")?.host.links.size, 0, "a host without any");
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

import fc from "fast-check";
import t from "tap";
import { formatIp, type PeerId, parseIp } from "../../../src/base/index.ts";
import {
  encryptionOf,
  isTunnelAddress,
  isTunnelKey,
  isWideEnough,
  mtuBesideTunnel,
  type TunnelSide,
  tunnelAddress,
  tunnelMtu,
  vpcMtu,
  wayBetween,
} from "../../../src/vpc/index.ts";
import { KEY_FILE, parseTunnel, planTunnel, type TunnelPeer, type TunnelSeen, type TunnelWanted, tunnelAsMade } from "../../../src/vpc/tunnel-plan.ts";
import { ip, UNDERLAY } from "./overlay-fixture.ts";

const key = (seed: number): string => Buffer.alloc(32, seed).toString("base64");
const peerNamed = (seed: number): PeerId => `peer ${seed}` as PeerId;
const peer = (seed: number, more: Partial<TunnelPeer> = {}): TunnelPeer => ({
  publicKey: key(seed),
  host: ip(`172.31.0.${seed}`),
  port: 7_441,
  address: tunnelAddress(peerNamed(seed)),
  ...more,
});
const wanted = (peers: readonly TunnelPeer[], more: Partial<TunnelWanted> = {}): TunnelWanted => ({
  address: tunnelAddress(peerNamed(1)),
  mtu: 1_420,
  port: 7_441,
  publicKey: key(1),
  peers,
  ...more,
});
const at = (seed: number): string => formatIp(tunnelAddress(peerNamed(seed)));
const NOTHING = { before: [], sets: [], after: [] };

t.test("addresses follow from peers' ids, and are of the tunnel", async (t) => {
  t.equal(at(1), "fd6b:914e:a3d7:956b:9c62:bef4:c32d:8e16", "other hosts, and other versions, compute the same");
  t.ok(isTunnelAddress(tunnelAddress(peerNamed(1))));
  t.notOk(isTunnelAddress(ip("fd6b:914e:a3d8::1")));
  t.notOk(isTunnelAddress(ip("172.31.0.1")));
  t.not(at(1), at(2));
});

t.test("what a VPC may send fits into the tunnel, and beside it", async (t) => {
  for (const mtu of [1_500, 9_000, 1_400]) {
    const vpc = vpcMtu({ ...UNDERLAY, mtu: mtuBesideTunnel(mtu) });
    // Ethernet, IPv6, UDP and VXLAN around it.
    t.equal(vpc + 70, tunnelMtu(mtu));
  }
  t.equal(tunnelMtu(1_500), 1_420);
  t.ok(isWideEnough(1_360));
  t.notOk(isWideEnough(1_359), "IPv6 needs 1,280");
});

t.test("keys", async (t) => {
  t.ok(isTunnelKey(key(7)));
  for (const text of ["", "abc", `${key(7)}=`, key(7).slice(1), ` ${key(7)}`, `${key(7)}\n`, `${"A".repeat(42)}B=`])
    t.notOk(isTunnelKey(text), JSON.stringify(text));
});

const sides: fc.Arbitrary<TunnelSide> = fc.record({
  end: fc.constantFrom(undefined, { publicKey: key(1), port: 7_441 }),
  isRequired: fc.boolean(),
});

t.test("each pair of hosts by itself, and both come to the same answer", async (t) => {
  const end = { publicKey: key(1), port: 7_441 };
  const has = { end, isRequired: false };
  const lacks = { end: undefined, isRequired: false };
  t.equal(wayBetween(has, has), "tunnel");
  t.equal(wayBetween(has, lacks), "clear");
  t.equal(wayBetween(lacks, lacks), "clear");
  t.equal(wayBetween({ ...has, isRequired: true }, has), "tunnel");
  t.equal(wayBetween({ ...has, isRequired: true }, lacks), "none");
  t.equal(wayBetween(lacks, { ...lacks, isRequired: true }), "none");
  fc.assert(fc.property(sides, sides, (one, other) => wayBetween(one, other) === wayBetween(other, one)));
  fc.assert(fc.property(sides, sides, (one, other) => !(one.isRequired && wayBetween(one, other) === "clear")));
});

t.test("one word for all ways of a host", async (t) => {
  t.equal(encryptionOf(new Set()), "");
  t.equal(encryptionOf(new Set(["tunnel"])), "yes");
  t.equal(encryptionOf(new Set(["tunnel", "none"])), "yes");
  t.equal(encryptionOf(new Set(["tunnel", "clear"])), "partly");
  t.equal(encryptionOf(new Set(["clear", "none"])), "no");
  t.equal(encryptionOf(new Set(["none"])), "cut off");
});

t.test("a tunnel that is not here yet", async (t) => {
  t.same(planTunnel(undefined, wanted([peer(2), peer(3, { port: 51_820 })])), {
    before: ["link add ccwg0 mtu 1420 type wireguard"],
    sets: [
      `private-key ${KEY_FILE}`,
      "listen-port 7441",
      `peer ${key(2)} endpoint 172.31.0.2:7441 allowed-ips ${at(2)}/128 peer ${key(3)} endpoint 172.31.0.3:51820 allowed-ips ${at(3)}/128`,
    ],
    after: [`addr replace ${at(1)}/48 dev ccwg0 nodad`, "link set ccwg0 up"],
  });
  t.same(planTunnel(undefined, undefined), NOTHING);
});

t.test("nothing needs it any more", async (t) => {
  t.same(planTunnel(tunnelAsMade(wanted([peer(2)])), undefined), { ...NOTHING, before: ["link del ccwg0"] });
});

t.test("another host's address, key, removal", async (t) => {
  const seen = tunnelAsMade(wanted([peer(2), peer(3)]));
  t.same(planTunnel(seen, wanted([peer(2), peer(3)])), NOTHING);
  t.same(planTunnel(seen, wanted([peer(2, { host: ip("172.31.0.9") }), peer(3)])).sets, [`peer ${key(2)} endpoint 172.31.0.9:7441 allowed-ips ${at(2)}/128`]);
  t.same(planTunnel(seen, wanted([peer(2)])).sets, [`peer ${key(3)} remove`]);
  t.same(
    planTunnel(seen, wanted([peer(2, { publicKey: key(7) }), peer(3)])).sets,
    [`peer ${key(2)} remove peer ${key(7)} endpoint 172.31.0.2:7441 allowed-ips ${at(2)}/128`],
    "the old key goes first",
  );
  t.same(planTunnel(seen, wanted([peer(2, { host: ip("2001:db8::2") }), peer(3)])).sets, [
    `peer ${key(2)} endpoint [2001:db8::2]:7441 allowed-ips ${at(2)}/128`,
  ]);
});

t.test("what others broke", async (t) => {
  const good = tunnelAsMade(wanted([peer(2)]));
  const plan = (seen: TunnelSeen) => planTunnel(seen, wanted([peer(2)]));
  t.same(plan({ ...good, isUp: false }), { ...NOTHING, after: ["link set ccwg0 up"] });
  t.same(plan({ ...good, mtu: 1_280 }), { ...NOTHING, before: ["link set ccwg0 mtu 1420"] });
  t.same(plan({ ...good, addresses: ["fd00::1/64"] }).after, ["addr del fd00::1/64 dev ccwg0", `addr replace ${at(1)}/48 dev ccwg0 nodad`]);
  t.same(plan({ ...good, publicKey: "(none)", port: 1 }).sets, [`private-key ${KEY_FILE}`, "listen-port 7441"]);
  t.same(plan({ ...good, peers: new Map([[key(2), { endpoint: "(none)", allowed: "::/0" }]]) }).sets, [
    `peer ${key(2)} endpoint 172.31.0.2:7441 allowed-ips ${at(2)}/128`,
  ]);
  t.same(plan({ ...good, kind: "dummy" }), {
    ...planTunnel(undefined, wanted([peer(2)])),
    before: ["link del ccwg0", "link add ccwg0 mtu 1420 type wireguard"],
  });
});

t.test("keys that two hosts say they have, or that are this one's: one peer each, and no end of changes", async (t) => {
  const peers = [peer(2), peer(3, { publicKey: key(2) }), peer(4, { publicKey: key(1) })];
  t.same(planTunnel(undefined, wanted(peers)).sets.slice(2), [`peer ${key(2)} endpoint 172.31.0.2:7441 allowed-ips ${at(2)}/128`]);
  t.same(planTunnel(tunnelAsMade(wanted(peers)), wanted(peers)), NOTHING);
});

t.test("a large zone is set in parts", async (t) => {
  const peers = Array.from({ length: 150 }, (_, n) => peer(2, { publicKey: Buffer.alloc(32, `key ${n}`).toString("base64") }));
  const { sets } = planTunnel(tunnelAsMade(wanted([])), wanted(peers));
  t.same(
    sets.map((words) => words.split("peer ").length - 1),
    [64, 64, 22],
  );
});

t.test("what the kernel says is read as it was made", async (t) => {
  const made = wanted([peer(2)]);
  const links = JSON.stringify([
    {},
    {
      ifname: "ccwg0",
      flags: ["POINTOPOINT", "NOARP", "UP", "LOWER_UP"],
      mtu: 1_420,
      linkinfo: { info_kind: "wireguard" },
      addr_info: [
        { family: "inet6", local: at(1), prefixlen: 48, scope: "global" },
        { family: "inet6", local: "fe80::1", prefixlen: 64, scope: "link" },
      ],
    },
  ]);
  const dump = `${key(1)}\t7441\toff\n${key(2)}\t(none)\t172.31.0.2:7441\t${at(2)}/128\t1700000000\t180\t92\toff\n`;
  const seen = parseTunnel(links, dump);
  t.same(seen, tunnelAsMade(made));
  t.same(planTunnel(seen, made), NOTHING);
  t.equal(parseTunnel("", ""), undefined);
  t.equal(parseTunnel("[]", ""), undefined);
  t.same(parseTunnel(JSON.stringify([{ ifname: "ccwg0", flags: [], mtu: 1_500 }]), "")?.kind, "", "another kind of device");
  t.throws(() => parseTunnel("[{", ""), SyntaxError);
  t.ok(parseIp(at(2)));
});

import t from "tap";
import { OwnTunnel } from "../../../nodes/peer/network/own-tunnel.ts";
import type { Planned } from "../../../nodes/peer/network/plan.ts";
import { type Logger, type PeerId, silentLogger } from "../../../src/base/index.ts";
import { type Encryption, type OwnUnderlay, type TunnelDriver, tunnelAddress } from "../../../src/vpc/index.ts";
import { ip, network, UNDERLAY } from "../vpc/overlay-fixture.ts";

const SELF = "peer 1" as PeerId;
const wire = (mtu: number): OwnUnderlay => ({ address: ip("172.31.0.1"), mtu, devices: ["eth0"], others: [] });
const peer = { publicKey: "k", port: 7_441, host: ip("172.31.0.2"), address: tunnelAddress("peer 2" as PeerId) };
const planned = (more: Partial<Planned> = {}): Planned => ({
  network: { underlay: UNDERLAY, vpcs: [network()] },
  members: new Map(),
  tunnelPeers: [peer],
  cutOff: [],
  ...more,
});

function open(encryption: Encryption, driver: Partial<TunnelDriver> = {}) {
  const asked: unknown[] = [];
  const said: unknown[] = [];
  const note = (how: string) => async (wanted: unknown) => asked.push([how, wanted]) > 0;
  const full: TunnelDriver = { publicKey: "own", converge: note("look"), follow: note("follow"), ...driver };
  const log: Logger = { ...silentLogger, warn: (fields: unknown) => said.push(fields), error: (fields: unknown) => said.push(fields) };
  return { tunnel: new OwnTunnel({ driver: full, encryption, port: 7_441, log }), asked, said };
}

t.test("what others are told: a key where it is to be had and wanted, and less of the underlay then", async (t) => {
  const { tunnel } = open("auto");
  t.same(tunnel.side(wire(1_500)), { end: { publicKey: "own", port: 7_441 }, isRequired: false });
  t.equal(tunnel.beside(wire(1_500))?.mtu, 1_400);
  t.equal(tunnel.beside(undefined), undefined);
  t.same(tunnel.side(wire(1_300)), { end: undefined, isRequired: false }, "IPv6 does not fit");
  t.equal(tunnel.beside(wire(1_300))?.mtu, 1_300);
  t.equal(open("off").tunnel.side(wire(1_500)).end, undefined);
  const without = new OwnTunnel({ driver: undefined, encryption: "required", port: 7_441, log: silentLogger });
  t.same(without.side(wire(1_500)), { end: undefined, isRequired: true });
  await without.hold(SELF, wire(1_500), planned(), true);
});

t.test("it is there while a VPC is, and wanted", async (t) => {
  const { tunnel, asked } = open("auto");
  const wanted = { address: tunnelAddress(SELF), mtu: 1_420, port: 7_441, peers: [peer] };
  await tunnel.hold(SELF, wire(1_500), planned(), true);
  await tunnel.hold(SELF, wire(1_500), planned(), false);
  await tunnel.hold(SELF, wire(1_500), planned({ network: { underlay: UNDERLAY, vpcs: [] } }), false);
  t.same(asked, [
    ["look", wanted],
    ["follow", wanted],
    ["follow", undefined],
  ]);
  const off = open("off");
  await off.tunnel.hold(SELF, wire(1_500), planned(), true);
  t.same(off.asked, [["look", undefined]], "what an earlier start has made is taken down");
});

t.test("who cannot be reached is named once; a failure is no fault of the others", async (t) => {
  const { tunnel, said } = open("required");
  for (const cutOff of [["attic"], ["attic"], [], ["attic"]]) await tunnel.hold(SELF, wire(1_500), planned({ cutOff }), false);
  t.same(said, [{ hosts: "attic" }, { hosts: "attic" }]);
  const broken = open("auto", { follow: () => Promise.reject(new Error("no")) });
  await broken.tunnel.hold(SELF, wire(1_500), planned(), false);
  t.equal(broken.said.length, 1);
});

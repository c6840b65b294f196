import t from "tap";
import type { ContainerId, PeerId, VpcId } from "../../../src/base/index.ts";
import type { ContainerView, VpcView } from "../../../src/state/index.ts";
import { type ActiveMember, hostNetwork } from "../../../src/vpc/index.ts";
import { cidr, containerId, ip, UNDERLAY, vpcId } from "./overlay-fixture.ts";

const vpc = vpcId(1);
const far = "far" as PeerId;
const member: ActiveMember = {
  container: { id: containerId(9) } as ContainerView,
  place: { vpc, address: ip("10.0.0.9"), holder: far } as ActiveMember["place"],
};
const members = new Map<VpcId, readonly ActiveMember[]>([[vpc, [member]]]);
const view = (gone: boolean): VpcView => ({ id: vpc, name: "shop", cidr: cidr("10.0.0.0/16"), vni: 77, gone, createdAtMs: 1 }) as VpcView;
const known = (more: Partial<Parameters<typeof hostNetwork>[0]> = {}) => ({
  self: "own" as PeerId,
  vpcs: [view(false)],
  joined: new Map(),
  passing: new Set<VpcId>(),
  passingHosts: [],
  kept: new Map(),
  underlay: UNDERLAY,
  wayTo: () => ip("172.31.0.2"),
  ...more,
});

t.test("a VPC that is kept is there without anybody, and goes with its deletion", async (t) => {
  t.same(hostNetwork(known(), members).vpcs, []);
  const kept = new Map([[vpc, 5]]);
  t.match(hostNetwork(known({ kept }), members).vpcs, [{ id: vpc, vni: 77, local: [], remote: [] }]);
  t.same(hostNetwork(known({ kept }), members).vpcs[0]?.remote, [], "of other hosts' containers it knows none");
  t.same(hostNetwork(known({ kept, vpcs: [view(true)] }), members).vpcs, []);
  t.same(hostNetwork(known({ kept, vpcs: [] }), members).vpcs, [], "nor is one that nobody knows kept");
  const joined = new Map([[containerId(2) as ContainerId, { vpc, name: "shop", cidr: cidr("10.0.0.0/16"), vni: 77, address: ip("10.0.0.2") }]]);
  t.match(hostNetwork(known({ kept, joined }), members).vpcs, [{ local: [{ address: ip("10.0.0.2") }], remote: [{ address: ip("10.0.0.9"), peer: far }] }]);
  t.match(hostNetwork(known({ kept, passing: new Set([vpc]) }), members).vpcs, [{ local: [], remote: [{ peer: far }] }]);
});

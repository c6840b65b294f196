import fc from "fast-check";
import t from "tap";
import { formatIp, type PeerId } from "../../../src/base/index.ts";
import { isTunnelAddress, macOf, tunnelAddress, type Underlay, type VpcNetwork, vpcMtu } from "../../../src/vpc/index.ts";
import { type AttachedPort, EMPTY_SIDE, sortPorts, wantedVpc } from "../../../src/vpc/overlay-model.ts";
import { portName, transitName } from "../../../src/vpc/overlay-names.ts";
import { planRemoval, planVpc } from "../../../src/vpc/overlay-plan.ts";
import { attachLines } from "../../../src/vpc/overlay-port.ts";
import { absentVpc } from "../../../src/vpc/overlay-seen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { differences, ip, localPort, network, remotePort, TRANSIT, tunnelPort, vpcId } from "./overlay-fixture.ts";

const id = vpcId(1);
const end = transitName(id);
const LINK = { kind: "veth", fixed: "", place: "", options: {}, mac: "02:00:00:00:00:07", mtu: 1_500, alias: "", master: undefined, flags: {}, up: false };

const underlays: fc.Arbitrary<Underlay> = fc.record(
  {
    mtu: fc.constantFrom(1_500, 9_000),
    vxlanPort: fc.constantFrom(4_789, 8_472),
    neighbours: fc.constant([]),
    local: fc.constantFrom(ip("172.31.0.1"), ip("172.31.0.8")),
    tunnel: fc.constantFrom(tunnelAddress("peer 1" as PeerId), tunnelAddress("peer 8" as PeerId)),
  },
  { requiredKeys: ["mtu", "vxlanPort", "neighbours"] },
);
/** Of an address either a port here or one of another host. */
const networks: fc.Arbitrary<VpcNetwork> = fc
  .record({
    vni: fc.constantFrom(77, 78),
    ports: fc.uniqueArray(fc.record({ last: fc.integer({ min: 2, max: 12 }), host: fc.integer({ min: 1, max: 5 }) }), { selector: ({ last }) => last }),
  })
  .map(({ vni, ports }) =>
    network({
      vni,
      local: ports.filter(({ host }) => host === 1).map(({ last }) => localPort(last)),
      // Of some hosts in the tunnel: the fifth's address is the second's, which has one by now.
      remote: ports.filter(({ host }) => host > 1).map(({ last, host }) => (host > 3 ? tunnelPort(last, host === 5 ? 2 : host) : remotePort(last, host))),
    }),
  );

const portOf = (last: number, mtu: number): AttachedPort => ({ mark: { ...localPort(last), namespace: 4_000 + last }, mtu });

/** A host on which the VPC is as `vpc` says, its ports attached. */
function working(underlay: Underlay, vpc: VpcNetwork): FakeKernel {
  const kernel = new FakeKernel(id);
  kernel.apply(planVpc(id, false, absentVpc(id, EMPTY_SIDE), wantedVpc(underlay, vpc, TRANSIT, [])));
  for (const { container, address } of vpc.local) {
    const lines = attachLines(vpc, { container, address, namespace: 4_000 + Number(address.value & 255n) }, vpcMtu(underlay));
    kernel.inside.set(portName(container), { ...LINK, mtu: vpcMtu(underlay) });
    kernel.apply([
      { at: "vpc", tool: "ip", lines: lines.vpc },
      { at: "vpc", tool: "bridge", lines: lines.fdb },
    ]);
  }
  return kernel;
}

/** What may happen to it by hand. `pick` chooses among what is there. */
type Harm = { readonly what: number; readonly pick: number };
const harms: fc.Arbitrary<readonly Harm[]> = fc.array(fc.record({ what: fc.nat(17), pick: fc.nat(20) }), { maxLength: 6 });

/** Somebody moved it to another namespace. */
function loseUplink(kernel: FakeKernel): void {
  if (!kernel.inside.has("up0")) return;
  kernel.dropInside("up0");
  Object.assign(kernel.outside.get(end) ?? {}, { place: "" });
}

function harm(kernel: FakeKernel, { what, pick }: Harm): void {
  const some = <T>(items: Iterable<T>): T | undefined => [...items][pick % Math.max(1, [...items].length)];
  const device = some(kernel.inside.keys()) ?? "none";
  const link = kernel.inside.get(device);
  const entry = some(kernel.bridgeFdb.keys()) ?? "02:00:00:00:00:01";
  const far = some(kernel.vxlanFdb.keys()) ?? "02:00:00:00:00:01";
  const isFree = !kernel.inside.has(`stray${pick}`);
  const acts: readonly (() => unknown)[] = [
    () => device !== "up0" && kernel.dropInside(device),
    () => link?.master !== undefined && Object.assign(link, { master: undefined, flags: {} }) && kernel.dropPort(device),
    () => link && Object.assign(link, { up: false }),
    () => link && Object.assign(link, { mtu: 1_400 }),
    () => link?.master !== undefined && Object.assign(link, { flags: { ...link.flags, flood: true } }),
    () => kernel.bridgeFdb.delete(entry),
    () => kernel.inside.has("br0") && kernel.bridgeFdb.set(entry, "br0 permanent"),
    () => kernel.inside.has("vx0") && kernel.vxlanFdb.set(far, pick % 2 === 0 ? "172.31.0.9" : "172.31.0.2 and 172.31.0.9"),
    () => kernel.inside.has("vx1") && kernel.tunnelFdb.set(far, pick % 2 === 0 ? "fd00::9" : "fd00::2 and fd00::9"),
    () => kernel.inside.has("br0") && kernel.neighbours.set(`10.0.0.${pick}`, "02:00:00:00:00:01"),
    () => kernel.neighbours.delete(some(kernel.neighbours.keys()) ?? ""),
    () => isFree && kernel.inside.set(`stray${pick}`, { ...LINK, kind: "dummy" }),
    () =>
      isFree &&
      kernel.inside.has("br0") &&
      kernel.inside.set(`stray${pick}`, { ...LINK, master: "br0", up: true }) &&
      kernel.bridgeFdb.set("02:00:00:00:00:02", `stray${pick}`),
    () => kernel.sysctls.set(some(kernel.sysctls.keys()) ?? "", "7"),
    () => kernel.routes.splice(pick % Math.max(1, kernel.routes.length), 1),
    () =>
      kernel.inside.has("br0") &&
      kernel.addresses.set("br0", pick % 2 === 0 ? [] : [...new Set([`10.0.1.${pick}/16`, ...(kernel.addresses.get("br0") ?? [])])]),
    () => loseUplink(kernel),
    () => kernel.outsideAddresses.set(end, [`100.127.240.1 peer 100.127.240.${pick}/32`]),
  ];
  acts[what]?.();
}

t.test("whatever is there, the plan makes it what is wanted, and a second one is empty", async () => {
  fc.assert(
    fc.property(underlays, networks, underlays, networks, harms, (underlayBefore, before, underlay, vpc, all) => {
      const kernel = working(underlayBefore, before);
      for (const one of all) harm(kernel, one);
      const { attached } = sortPorts(vpc, kernel.model(), vpcMtu(underlay));
      const wanted = wantedVpc(underlay, vpc, TRANSIT, attached);
      kernel.apply(planVpc(id, true, kernel.model(), wanted));
      const left = differences(kernel.model(), wanted);
      if (left.length > 0) throw new Error(left.join("\n"));
      const second = planVpc(id, true, kernel.model(), wanted);
      if (second.length > 0) throw new Error(JSON.stringify(second));
    }),
    { numRuns: 500 },
  );
});

t.test("cut off after any line: the next plan ends in the same place", async () => {
  fc.assert(
    fc.property(underlays, networks, networks, harms, fc.nat(60), (underlay, before, vpc, all, lines) => {
      const kernel = working(underlay, before);
      for (const one of all) harm(kernel, one);
      const plan = () => {
        const wanted = wantedVpc(underlay, vpc, TRANSIT, sortPorts(vpc, kernel.model(), vpcMtu(underlay)).attached);
        return { wanted, plan: planVpc(id, true, kernel.model(), wanted) };
      };
      let left = lines;
      const cut = plan().plan.map((batch) => {
        const some = batch.lines.slice(0, left);
        left -= some.length;
        return { ...batch, lines: some };
      });
      kernel.apply(cut);
      const { wanted, plan: rest } = plan();
      kernel.apply(rest);
      const differ = differences(kernel.model(), wanted);
      if (differ.length > 0) throw new Error(differ.join("\n"));
    }),
    { numRuns: 500 },
  );
});

const isKnownFar = (kernel: FakeKernel, port: string, mac: string): boolean =>
  port === "vx0" ? kernel.vxlanFdb.has(mac) : port !== "vx1" || kernel.tunnelFdb.has(mac);

/** The addresses to which a frame from the bridge has its way. */
function reachable(kernel: FakeKernel, vpc: VpcNetwork): ReadonlySet<string> {
  const isUp = (name: string): boolean => kernel.inside.get(name)?.up === true && kernel.inside.get(name)?.master === "br0";
  const found = [...vpc.local, ...vpc.remote].filter(({ address }) => {
    const mac = macOf(id, address);
    const port = kernel.bridgeFdb.get(mac) ?? "";
    return kernel.inside.get("br0")?.up === true && isUp(port) && kernel.neighbours.get(formatIp(address)) === mac && isKnownFar(kernel, port, mac);
  });
  return new Set(found.map(({ address }) => formatIp(address)));
}

t.test("what stays is never out of reach, not even for a line", async () => {
  fc.assert(
    fc.property(underlays, networks, networks, (underlay, before, after) => {
      const vpc = { ...after, vni: before.vni };
      const kernel = working(underlay, before);
      const wanted = wantedVpc(underlay, vpc, TRANSIT, sortPorts(vpc, kernel.model(), vpcMtu(underlay)).attached);
      const key = ({ address, ...where }: object & { readonly address: (typeof vpc.local)[number]["address"] }): string =>
        `${formatIp(address)} ${JSON.stringify(Object.keys(where))}`;
      const isReached = (port: VpcNetwork["local" | "remote"][number]): boolean =>
        !("host" in port) || !isTunnelAddress(port.host) || underlay.tunnel !== undefined;
      const stay = new Set([...vpc.local, ...vpc.remote].filter(isReached).map(key));
      const both = [...before.local, ...before.remote]
        .filter(isReached)
        .filter((port) => stay.has(key(port)))
        .map(({ address }) => formatIp(address));
      kernel.apply(planVpc(id, true, kernel.model(), wanted), () => {
        const now = reachable(kernel, vpc);
        const lost = both.filter((address) => !now.has(address));
        if (lost.length > 0) throw new Error(`${lost.join(", ")} cannot be reached`);
        if (kernel.addresses.get("br0")?.length !== 1 || kernel.routes.length !== 3) throw new Error("the gateway is gone");
      });
    }),
    { numRuns: 500 },
  );
});

t.test("removed, nothing is left of it", async () => {
  fc.assert(
    fc.property(underlays, networks, harms, (underlay, vpc, all) => {
      const kernel = working(underlay, vpc);
      for (const one of all) harm(kernel, one);
      kernel.apply(planRemoval(true, kernel.model()));
      if (kernel.isPinned || kernel.inside.size > 0 || kernel.outside.size > 0) throw new Error("something is left");
    }),
    { numRuns: 200 },
  );
});

t.test("a plan for a VPC of its own family only: hosts that cannot be reached by it are left out", async (t) => {
  const wanted = wantedVpc({ mtu: 1_500, vxlanPort: 4_789, neighbours: [] }, network({ remote: [{ ...remotePort(9, 2), host: ip("fd00::2") }] }), TRANSIT, [
    portOf(5, 1_450),
  ]);
  t.same([wanted.vxlanFdb.size, wanted.bridgeFdb.size, wanted.neighbours.size], [0, 1, 1]);
});

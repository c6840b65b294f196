import t from "tap";
import { publishedPorts } from "../../../nodes/peer/network/published.ts";
import { formatIp, type Ip, type PeerId, parseIp } from "../../../src/base/index.ts";
import { type HostPort, PortBook } from "../../../src/ports/index.ts";
import { placeOf } from "../../../src/vpc/index.ts";
import { seeded } from "../placement/virtual-time.ts";
import { claims, creates, Desk, facts, idOf, MEMBERS, peerId, says, ZONE } from "../state/view-fixtures.ts";

const VPC = "naaaaaaaaaaaaaaaaaaaa";
const [SELF, NEAR, FAR] = [peerId("peer 1"), peerId("peer 2"), peerId("peer 3")];
const UNDERLAY: Readonly<Record<string, string>> = { [SELF]: "192.168.1.1", [NEAR]: "192.168.1.2", [FAR]: "192.168.1.3" };

type Published = { readonly name: string; readonly on: string; readonly port: number; readonly at?: string; readonly everywhere?: boolean };

/** A mesh of one zone where these containers run, each with one port of the host for its port 80. */
function mesh(...published: readonly Published[]) {
  const records = published.flatMap(({ name, on, port, at = "", everywhere = false }, n) => {
    const create = creates(name, { spec: { publish: ["80"], publishEverywhere: everywhere } });
    const network = { vpc: VPC, address: `10.7.0.${n + 2}`, ports: [{ hostAddress: at, hostPort: port, port: 80, protocol: "tcp" }] };
    return [create, claims(on, create, { network }), says(on, idOf(name), "running")];
  });
  const desk = new Desk().take(...MEMBERS, facts("peer 1", "attic"), facts("peer 2", "cellar"), facts("peer 3", "shed"), ...records);
  const active = desk.view.containers().flatMap((container) => {
    const place = placeOf(container);
    return place === undefined ? [] : [{ container, place }];
  });
  const look = (listening: readonly HostPort[] = [], neighbours: readonly PeerId[] = [NEAR, FAR]) => {
    const underlayOf = (peer: PeerId): Ip | undefined => parseIp(UNDERLAY[peer] ?? "");
    return publishedPorts(
      Map.groupBy(active, ({ place }) => place.vpc),
      { self: SELF, neighbours, listening: () => listening, underlayOf },
    );
  };
  const bind = (texts: readonly string[], everywhere: boolean, listening: readonly HostPort[] = []) =>
    new PortBook({ self: SELF, zone: ZONE, view: desk.view, random: seeded(1), listening: () => listening }).bind(texts, everywhere);
  return { look, bind };
}

const names = (ports: readonly { readonly container: { readonly name: string } }[]): string[] => ports.map(({ container }) => container.name).sort();
const places = (ports: readonly { readonly host: Ip; readonly hostPort: number }[]): string[] =>
  ports.map(({ host, hostPort }) => `${formatIp(host)}:${hostPort}`).sort();

t.test("on this host: its own, and those of its zone that are on every host; elsewhere: the others'", async (t) => {
  const { look } = mesh(
    { name: "own", on: "peer 1", port: 80 },
    { name: "theirs", on: "peer 2", port: 80 },
    { name: "all", on: "peer 2", port: 81, everywhere: true },
    { name: "mine-all", on: "peer 1", port: 82, everywhere: true },
  );
  const { here, left, elsewhere } = look();
  t.same(names(here), ["all", "mine-all", "own"]);
  t.same(left, []);
  t.same(places(elsewhere), ["192.168.1.2:80", "192.168.1.2:81", "192.168.1.2:82", "192.168.1.3:81", "192.168.1.3:82"]);
  t.same(names(look([], [FAR]).here), ["mine-all", "own"], "a host of another zone passes nothing on for this one");
});

t.test("at one address: elsewhere only where that is the one by which hosts know it", async (t) => {
  const { look } = mesh({ name: "known", on: "peer 2", port: 80, at: "192.168.1.2" }, { name: "loop", on: "peer 2", port: 81, at: "127.0.0.1" });
  t.same(places(look().elsewhere), ["192.168.1.2:80"]);
});

t.test("a program of this host keeps its port from others' containers, not from its own host's", async (t) => {
  const { look } = mesh({ name: "own", on: "peer 1", port: 80 }, { name: "all", on: "peer 2", port: 81, everywhere: true });
  const program = (hostPort: number): HostPort => ({ hostAddress: undefined, hostPort, protocol: "tcp" });
  const { here, left } = look([program(80), program(81)]);
  t.same([names(here), names(left)], [["own"], ["all"]]);
});

t.test("a port that is taken is refused with whoever has it, here or on any host of the zone", async (t) => {
  const { bind } = mesh(
    { name: "near", on: "peer 2", port: 80 },
    { name: "all", on: "peer 2", port: 81, everywhere: true },
    { name: "own", on: "peer 1", port: 82 },
  );
  t.match(bind(["80:80"], false), { ok: true }, "another host's port is no matter");
  t.match(bind(["80:80"], true), { ok: false, code: "IN_USE", message: /^port 80\/tcp is taken by container near on host cellar; / });
  t.match(bind(["81:80"], false), { ok: false, code: "IN_USE", message: /container all, which is published on every host of the zone/ });
  t.match(bind(["82:80"], true), { ok: false, code: "IN_USE", message: /taken by container own; / });
  const resolver: HostPort = { hostAddress: parseIp("127.0.0.53"), hostPort: 53, protocol: "udp" };
  const ours: HostPort = { hostAddress: parseIp("100.127.240.1"), hostPort: 53, protocol: "udp" };
  t.match(bind(["53:53/udp"], false, [resolver]), { ok: false, message: /a program of the host \(at 127\.0\.0\.53\)/ });
  t.match(bind(["53:53/udp"], false, [ours]), { ok: true }, "this host's name server for VPCs is in nobody's way");
});

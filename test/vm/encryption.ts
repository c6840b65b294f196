import { join } from "node:path";
import { formatIp } from "../../src/base/index.ts";
import { tunnelAddress, vpcMtu } from "../../src/vpc/index.ts";
import { probe, type Scene, type TestContainer, type TestVpc } from "../host/vpc/harness.ts";
import { capture, type Frames } from "./capture.ts";
import type { Containers } from "./containers.ts";
import { CLEAR, ENCRYPTED, type Mesh, REQUIRED, type Setting, WIREGUARD_PORT } from "./mesh.ts";
import { check, tell } from "./report.ts";
import { streamRate } from "./stream.ts";

const VXLAN_PORT = 4_789;
const SAID = { there: "Plaintext-of-one-container", back: "Answer-of-the-other-container" };

export class EncryptionChecks {
  readonly #scene: Scene;
  readonly #mesh: Mesh;
  readonly #vpc: TestVpc;
  readonly #containers: Containers;

  constructor(parts: { readonly scene: Scene; readonly mesh: Mesh; readonly vpc: TestVpc; readonly containers: Containers }) {
    this.#scene = parts.scene;
    this.#mesh = parts.mesh;
    this.#vpc = parts.vpc;
    this.#containers = parts.containers;
  }

  async #set(...settings: readonly Setting[]): Promise<void> {
    for (const [at, own] of this.#mesh.hosts.entries()) own.setting = settings[at] ?? CLEAR;
    await this.#mesh.follow();
  }

  async #captured(work: () => Promise<unknown>): Promise<Frames> {
    const listening = await capture(join(this.#scene.folder, "net-wire"), join(this.#scene.folder, "frames"));
    await work();
    return await listening.stop();
  }

  /** Two containers of the real runtime, on two hosts, say something to each other; gives whether both heard it. */
  async #talk(): Promise<boolean> {
    const server = await this.#containers.start(`echo ${SAID.back} | nc -l -p 9000`, { own: this.#mesh.host(0), address: "10.0.0.10" });
    const client = await this.#containers.start(`sleep 1; (echo ${SAID.there}; sleep 2) | nc 10.0.0.10 9000`, {
      own: this.#mesh.host(1),
      address: "10.0.1.10",
    });
    const [atClient, atServer] = [await this.#containers.finish(client), await this.#containers.finish(server)];
    return atServer.stdout.includes(SAID.there) && atClient.stdout.includes(SAID.back);
  }

  /** MB/s of one TCP stream between two containers. */
  async #throughput(): Promise<number> {
    const [server, client] = [
      await this.#containers.start("exec sleep 600", { own: this.#mesh.host(0), address: "10.0.0.10" }),
      await this.#containers.start("exec sleep 600", { own: this.#mesh.host(1), address: "10.0.1.10" }),
    ];
    const rate = await streamRate(this.#containers.namespaceOf(client), this.#containers.namespaceOf(server), "10.0.0.10");
    check("a stream goes through", rate > 0);
    for (const id of [server, client]) await this.#containers.end(id);
    return rate;
  }

  /** The same twice: that the marker is found without encryption says that it would be found. */
  async compare(): Promise<void> {
    const rates: number[] = [];
    for (const isOn of [false, true]) {
      const how = isOn ? "with WireGuard" : "without encryption";
      const setting = isOn ? ENCRYPTED : CLEAR;
      await this.#set(setting, setting, setting);
      let heard = false;
      const frames = await this.#captured(async () => {
        heard = await this.#talk();
      });
      tell(`${how}, between two hosts: ${frames}`);
      check(`${how} containers on two hosts hear each other`, heard);
      if (isOn) {
        check("nothing of what they say is readable on the underlay", !frames.has(SAID.there) && !frames.has(SAID.back));
        check("nor is there any VXLAN; all of it is WireGuard's", frames.to(VXLAN_PORT) === 0 && frames.to(WIREGUARD_PORT) > 0);
      } else check("what they say is found in what was captured, both ways", frames.has(SAID.there) && frames.has(SAID.back) && frames.to(VXLAN_PORT) > 0);
      rates.push(await this.#throughput());
    }
    const [clear = 0, encrypted = 0] = rates;
    tell(`throughput: ${clear.toFixed(1)} MB/s without, ${encrypted.toFixed(1)} MB/s with WireGuard (${(encrypted / clear).toFixed(2)}; emulated processor)`);
  }

  /** What else must hold, between containers that are network namespaces alone. */
  async repairs(): Promise<void> {
    await this.#set(ENCRYPTED, ENCRYPTED, CLEAR);
    const some: TestContainer[] = [];
    for (const [at, { host }] of this.#mesh.hosts.entries()) some.push(await this.#scene.makeContainer(host, this.#vpc, `10.0.${at}.20`));
    await this.#mesh.follow();
    for (const [at, own] of this.#mesh.hosts.entries()) {
      const { underlay, vpcs } = this.#mesh.planned(own).network;
      const [vpc, container] = [vpcs[0], some[at]];
      if (vpc === undefined || container === undefined) throw new TypeError("no VPC");
      await own.host.overlay.attach({ underlay, vpc, port: { container: container.id, address: container.address }, namespacePath: container.namespacePath });
    }
    await this.#mesh.follow();
    const [one, two, three] = some;
    if (one === undefined || two === undefined || three === undefined) throw new TypeError("three hosts are needed");
    await this.#mixed(one, two, three);
    await this.#broken(one, two);
    await this.#strangers();
    await this.#required(one, two, three);
    await this.#removed();
    for (const container of some) {
      this.#scene.drop(container);
      await container.host.overlay.detach(container.id);
    }
    await this.#mesh.follow();
    const left = await Promise.all(this.#mesh.hosts.map(({ host }) => host.run("ip -br link")));
    check("with the last VPC the tunnel is gone from every host", !left.some((links) => /ccwg0|cc-/.test(links)), left.join("; "));
  }

  async #mixed(one: TestContainer, two: TestContainer, three: TestContainer): Promise<void> {
    const all = [one.address, two.address, three.address];
    const largest = vpcMtu(this.#mesh.planned(this.#mesh.host(0)).network.underlay);
    let lost: readonly string[] = [];
    const frames = await this.#captured(async () => {
      for (const from of [one, two, three]) lost = [...lost, ...(await probe(from, all)), ...(await probe(from, all, largest))];
    });
    check(`of three hosts two have WireGuard: all reach all, with packets of ${largest} bytes`, lost.length === 0, lost.join(", "));
    check("the third is reached beside the tunnel", frames.to(VXLAN_PORT) > 0 && frames.to(WIREGUARD_PORT) > 0, String(frames));
    const between = await this.#captured(() => probe(one, [two.address]));
    check("and the other two not", between.to(VXLAN_PORT) === 0 && between.to(WIREGUARD_PORT) > 0, String(between));
    const [, ...peers] = (await this.#mesh.host(0).host.run("wg show ccwg0 allowed-ips")).trim().split(/\s+/);
    check("a peer may have its own address and no other", peers.join(" ") === `${formatIp(tunnelAddress(this.#mesh.host(1).peer))}/128`, peers.join(" "));
  }

  async #broken(one: TestContainer, two: TestContainer): Promise<void> {
    const own = this.#mesh.host(0);
    // Where IPv6 leads somewhere, packets for an address without a device would go there.
    await own.host.run("ip -6 addr add fd00::1/64 dev eth0 nodad; ip -6 route add default via fd00::2");
    await this.#mesh.host(1).host.run("ip -6 addr add fd00::2/64 dev eth0 nodad");
    const broken = await this.#captured(async () => {
      await own.host.run("ip link del ccwg0");
      await probe(one, [two.address]);
    });
    check("somebody deletes the device: nothing goes out in the clear", broken.to(VXLAN_PORT) === 0, String(broken));
    const unguarded = await this.#captured(async () => {
      await own.host.run("nft delete table inet cc");
      await probe(one, [two.address]);
    });
    check("(without the firewall's rule it would)", unguarded.to(VXLAN_PORT) > 0, String(unguarded));
    await own.firewall.check();
    await this.#mesh.applyRules(own);
    check("a look finds it", await own.tunnel.converge(this.#mesh.tunnelWanted(own)));
    check("and puts it right", (await probe(one, [two.address])).length === 0);
    check("a second look finds nothing", !(await own.tunnel.converge(this.#mesh.tunnelWanted(own))));
    for (const harm of [
      "wg set ccwg0 listen-port 9999",
      "wg set ccwg0 private-key /dev/stdin <<'.'\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=\n.",
      "ip addr flush dev ccwg0",
      "ip link set ccwg0 down",
    ]) {
      await own.host.run(harm);
      const isFound = await own.tunnel.converge(this.#mesh.tunnelWanted(own));
      const lost = await probe(one, [two.address]);
      check(`\`${harm.split("\n")[0]}\` is put right`, isFound && lost.length === 0, `${isFound}, ${lost.join(", ")}`);
    }
  }

  /** Somebody on the network writes down an address of the tunnel; a member asks for more than VXLAN. */
  async #strangers(): Promise<void> {
    const [own, other] = [this.#mesh.host(0), this.#mesh.host(1)];
    const [mine, theirs] = [formatIp(tunnelAddress(own.peer)), formatIp(tunnelAddress(other.peer))];
    const send = (port: number): string =>
      `perl -MSocket=:all -e 'socket(S, AF_INET6, SOCK_DGRAM, 17); bind(S, pack_sockaddr_in6(0, inet_pton(AF_INET6, "${theirs}"))) or die "bind: $!"; send(S, "x" x 60, 0, pack_sockaddr_in6(${port}, inet_pton(AF_INET6, "${mine}"))) or die "send: $!"'`;
    const dropped = async (reason: string): Promise<number> =>
      (await own.firewall.dropped()).flatMap((count) => (count.reason === reason && count.place.kind === "host" ? [count.packets] : []))[0] ?? 0;
    await other.host.run(send(22));
    check("another host's other packets are not taken from the tunnel", (await dropped("tunnel_not_vxlan")) > 0);
    await other.host.run(`nft delete table inet cc; ip -6 route add ${mine}/128 via fd00::1 dev eth0`);
    await other.host.run(send(VXLAN_PORT));
    check("VXLAN with an address of the tunnel is not taken beside it", (await dropped("vxlan_from_stranger")) > 0);
    await other.host.run(`ip -6 route del ${mine}/128 via fd00::1 dev eth0`);
    await other.firewall.check();
    await this.#mesh.applyRules(other);
  }

  async #required(one: TestContainer, two: TestContainer, three: TestContainer): Promise<void> {
    await this.#set(REQUIRED, ENCRYPTED, CLEAR);
    let lost: readonly string[] = [];
    let reached: readonly string[] = [];
    const frames = await this.#captured(async () => {
      lost = [...(await probe(one, [three.address])), ...(await probe(three, [one.address]))];
      reached = await probe(one, [two.address]);
    });
    check(
      "encryption is required: a host without it is not reached, and does not reach",
      lost.length === 2 && frames.to(VXLAN_PORT) === 0,
      `${lost}; ${frames}`,
    );
    check("and one with it is", reached.length === 0);
    check("that one and the third talk as before", (await probe(two, [three.address])).length === 0);
  }

  async #removed(): Promise<void> {
    const [own, other] = [this.#mesh.host(0), this.#mesh.host(1)];
    await own.tunnel.follow(this.#mesh.tunnelWanted(own, [other]));
    check("a removed host's key is gone", (await own.host.run("wg show ccwg0 peers")).trim() === "");
  }
}

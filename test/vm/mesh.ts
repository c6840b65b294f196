import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { firewallState } from "../../nodes/peer/network/firewall-state.ts";
import { type WayTo, wayTo } from "../../nodes/peer/network/ways.ts";
import { HostFactsSchema } from "../../src/api/gen/cc/v1/records_pb.ts";
import { formatIp, type PeerId, silentLogger } from "../../src/base/index.ts";
import { createNftProgram } from "../../src/firewall/drivers/nft/program.ts";
import { createNftFirewall } from "../../src/firewall/drivers/nft.ts";
import type { FirewallDriver } from "../../src/firewall/index.ts";
import { createShellHelper } from "../../src/host/index.ts";
import { openTunnel } from "../../src/vpc/drivers/tunnel.ts";
import {
  type HostNetwork,
  mtuBesideTunnel,
  type TunnelDriver,
  type TunnelPeer,
  type TunnelSide,
  tunnelAddress,
  tunnelMtu,
  type VpcNetwork,
} from "../../src/vpc/index.ts";
import { type Scene, type TestHost, type TestVpc, UNDERLAY_MTU } from "../host/vpc/harness.ts";

export const WIREGUARD_PORT = 7_441;

/** How a host's peer is configured. */
export type Setting = { readonly isOn: boolean; readonly isRequired: boolean };
export const CLEAR: Setting = { isOn: false, isRequired: false };
export const ENCRYPTED: Setting = { isOn: true, isRequired: false };
export const REQUIRED: Setting = { isOn: true, isRequired: true };

/** A host with the drivers and the decisions of its peer; what its peer would hear of others by their records is said to it directly. */
export class MeshHost {
  readonly host: TestHost;
  readonly peer: PeerId;
  readonly tunnel: TunnelDriver;
  readonly firewall: FirewallDriver;
  setting = CLEAR;

  constructor(host: TestHost, tunnel: TunnelDriver, firewall: FirewallDriver) {
    this.host = host;
    this.peer = host.name as PeerId;
    this.tunnel = tunnel;
    this.firewall = firewall;
  }

  get side(): TunnelSide {
    return { end: this.setting.isOn ? { publicKey: this.tunnel.publicKey, port: WIREGUARD_PORT } : undefined, isRequired: this.setting.isRequired };
  }

  /** As it writes them into its record. */
  get facts() {
    const { end, isRequired } = this.side;
    return create(HostFactsSchema, {
      underlay: formatIp(this.host.address),
      underlayMtu: end === undefined ? UNDERLAY_MTU : mtuBesideTunnel(UNDERLAY_MTU),
      wireguardKey: end?.publicKey ?? "",
      wireguardPort: end?.port ?? 0,
      encryptionRequired: isRequired,
    });
  }
}

export class Mesh {
  readonly hosts: readonly MeshHost[];
  readonly #scene: Scene;
  readonly #vpc: TestVpc;

  private constructor(scene: Scene, vpc: TestVpc, hosts: readonly MeshHost[]) {
    this.#scene = scene;
    this.#vpc = vpc;
    this.hosts = hosts;
  }

  static async open(scene: Scene, vpc: TestVpc, namespaceOf: (container: string) => string): Promise<Mesh> {
    const hosts: MeshHost[] = [];
    for (const host of scene.hosts) {
      const keyFile = join(host.runDir, "identity", "wireguard.key");
      await mkdir(dirname(keyFile), { recursive: true });
      const places = { host: host.netns, vpc: (vpc: string) => join(host.runDir, "vpc", vpc, "net"), container: namespaceOf };
      hosts.push(
        new MeshHost(
          host,
          await openTunnel(host.shell, keyFile),
          createNftFirewall({ logger: silentLogger, shell: createShellHelper(), program: createNftProgram() }, places),
        ),
      );
    }
    return new Mesh(scene, vpc, hosts);
  }

  host(at: number): MeshHost {
    const host = this.hosts[at];
    if (host === undefined) throw new TypeError(`there is no host ${at}`);
    return host;
  }

  /** What a host's kernel is to hold, from what the others say. `gone`: hosts that were removed from the mesh. */
  planned(own: MeshHost, gone: readonly MeshHost[] = []): { readonly network: HostNetwork; readonly peers: readonly TunnelPeer[] } {
    const others = this.hosts.filter((other) => other !== own && !gone.includes(other));
    const ways = new Map(others.map((other): [string, WayTo | undefined] => [other.peer, wayTo(own.side, { peer: other.peer, facts: other.facts })]));
    const known = [...ways.values()].filter((way) => way !== undefined);
    const underlay = {
      ...this.#scene.underlay(own.host),
      mtu: Math.min(...this.hosts.map(({ facts }) => facts.underlayMtu)),
      neighbours: known.flatMap(({ host }) => host ?? []),
      ...(own.side.end === undefined ? {} : { tunnel: tunnelAddress(own.peer) }),
    };
    const vpc = this.#scene.vpcAt(own.host, this.#vpc);
    const remote = vpc.remote.flatMap((port) => {
      const host = ways.get(port.peer)?.host;
      return host === undefined ? [] : [{ ...port, host }];
    });
    const vpcs: VpcNetwork[] = vpc.local.length === 0 ? [] : [{ ...vpc, remote }];
    const peers = known.flatMap(({ way, underlay: host, side, peer }): TunnelPeer[] =>
      way === "tunnel" && side.end !== undefined ? [{ ...side.end, host, address: tunnelAddress(peer) }] : [],
    );
    return { network: { underlay, vpcs }, peers };
  }

  tunnelWanted(own: MeshHost, gone: readonly MeshHost[] = []) {
    const { network, peers } = this.planned(own, gone);
    if (own.side.end === undefined || network.vpcs.length === 0) return undefined;
    return { address: tunnelAddress(own.peer), mtu: tunnelMtu(UNDERLAY_MTU), port: WIREGUARD_PORT, peers };
  }

  /** Every host hears of a change: tunnel, devices, rules, as its peer does it. */
  async follow(): Promise<void> {
    for (const own of this.hosts) {
      await own.tunnel.follow(this.tunnelWanted(own));
      const { failed } = await own.host.overlay.follow(() => this.planned(own).network);
      if (failed.length > 0) throw new Error(JSON.stringify(failed));
      await this.applyRules(own);
    }
  }

  async applyRules(own: MeshHost): Promise<void> {
    const failed = await own.firewall.apply(
      firewallState({
        network: this.planned(own).network,
        members: new Map(),
        transits: own.host.overlay.transits(),
        own: own.host.address,
        hosts: this.hosts.map(({ host }) => host.address),
        containers: () => undefined,
        ports: [],
        elsewhere: [],
        rules: [],
      }),
    );
    if (failed.length > 0) throw new Error(JSON.stringify(failed));
  }
}

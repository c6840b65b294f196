import {
  addressAt,
  asCcError,
  CcError,
  type Clock,
  type ContainerId,
  formatIp,
  type Ip,
  type Logger,
  type PeerId,
  sleep,
  type VpcId,
} from "../../../src/base/index.ts";
import type { ContainerNetworks, JoinedNetwork } from "../../../src/containers/index.ts";
import type { FirewallDriver } from "../../../src/firewall/index.ts";
import type { Liveness } from "../../../src/mesh/index.ts";
import type { HostPort } from "../../../src/ports/index.ts";
import type { Replica, View } from "../../../src/state/index.ts";
import {
  gatewayOf,
  type JoinedVpc,
  type NameServer,
  type OverlayDriver,
  type OwnUnderlay,
  placeOf,
  TRANSIT_CIDR,
  type TunnelSide,
} from "../../../src/vpc/index.ts";
import type { JoinedFolder } from "./joined-folder.ts";
import { nameTable } from "./name-table.ts";
import type { OwnTunnel } from "./own-tunnel.ts";
import { addressesOfOthers, type Planned, planHere, publishedNow, rulesHere } from "./plan.ts";
import type { PlacedPort } from "./published.ts";
import { ToldNames } from "./told-names.ts";
import { TrafficLog } from "./traffic-log.ts";

/** What somebody else broke by hand is found by looking this often. */
const LOOK_EVERY_MS = 8_000;
/** Changes that come together are followed together. */
const GATHER_MS = 10;
const NAMED_MS_MAX = 2_000;
/** A VPC without containers stays here for so long: whoever has one container after another does not wait for its making each time. */
const KEPT_MS = 3_000;

export type NetworkDrivers = {
  readonly overlay: OverlayDriver;
  readonly firewall: FirewallDriver;
  readonly names: NameServer;
  readonly joined: JoinedFolder;
  /** How this host reaches these, looked up at this moment; undefined: it has no way to anybody. */
  readonly findUnderlay: (neighbours: readonly Ip[]) => Promise<OwnUnderlay | undefined>;
  readonly namespaceOf: (container: ContainerId) => string;
  readonly vxlanPort: number;
  readonly tunnel: OwnTunnel;
  /** Ports that programs of this host listen on, at this moment. */
  readonly listening: () => readonly HostPort[];
  readonly clock: Clock;
  readonly log: Logger;
};

export type NetworkState = { readonly self: PeerId; readonly view: View; readonly liveness: Liveness; readonly replica: Pick<Replica, "zone" | "onChange"> };

/**
 * This host's part in VPCs, held to what the records say: devices by the overlay, rules by the firewall, names by the name server. A
 * container that starts waits for its own port and rules only; all else follows a change by some milliseconds, and what others break is put
 * right within 10 s.
 */
export class HostNetworks implements ContainerNetworks {
  readonly #drivers: NetworkDrivers;
  readonly #joined: Map<ContainerId, JoinedVpc>;
  readonly #stopping = new AbortController();
  readonly #traffic: TrafficLog;
  #state: NetworkState | undefined;
  #own: OwnUnderlay | undefined;
  #running: Promise<void> | undefined;
  #ring = (): void => undefined;
  #undo: (() => void)[] = [];
  readonly #named: ToldNames;
  #left = "";
  /** VPCs whose last container here has gone, and until when they stay. */
  readonly #kept = new Map<VpcId, number>();

  constructor(drivers: NetworkDrivers, joined: Map<ContainerId, JoinedVpc>) {
    this.#drivers = drivers;
    this.#joined = joined;
    this.#named = new ToldNames(drivers.names);
    this.#traffic = new TrafficLog(drivers.firewall, drivers.log);
  }

  /** Where other hosts reach this one, and how much their VXLAN may have of the way; undefined: not known yet. */
  get underlay(): OwnUnderlay | undefined {
    return this.#drivers.tunnel.beside(this.#own);
  }

  /** This host's end of the tunnel, as others are told of it. */
  get tunnel(): TunnelSide {
    return this.#drivers.tunnel.side(this.#own);
  }

  /** From now on changes are followed. Until then nothing is taken down. */
  async start(state: NetworkState): Promise<void> {
    this.#state = state;
    await this.#lookForUnderlay();
    this.#undo = [
      state.replica.onChange((changed) => {
        if (changed.some(({ key }) => !key.includes("/volume/"))) this.#ring();
      }),
      state.liveness.onChange(() => this.#ring()),
    ];
    this.#running = this.#loop();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new CcError("CANCELLED", "this host's networks are no longer looked after"));
    for (const undo of this.#undo) undo();
    await this.#running;
    await this.#drivers.overlay.close();
    await this.#drivers.names.stop();
  }

  members(): readonly ContainerId[] {
    return [...this.#joined.keys()];
  }

  async join(id: ContainerId, namespacePath: string): Promise<JoinedNetwork | undefined> {
    const { view } = this.#mustHaveState();
    const container = view.container(id);
    const place = container === undefined ? undefined : placeOf(container);
    if (place === undefined) return undefined;
    const vpc = view.vpc(place.vpc);
    if (vpc === undefined) throw new CcError("NOT_FOUND", `the container's VPC ${place.vpc} is not known on this host`);
    const joined: JoinedVpc = { vpc: vpc.id, name: vpc.name, cidr: vpc.cidr, vni: vpc.vni, address: place.address };
    // Its process takes a moment to be ready, where it does not run yet.
    this.#drivers.names.start();
    await this.#drivers.joined.put(id, joined);
    this.#joined.set(id, joined);
    const ready = this.#connect(id, joined, namespacePath);
    return { address: formatIp(place.address), nameservers: [formatIp(gatewayOf(vpc.cidr))], search: [`${vpc.name}.cc.internal`], ready };
  }

  async #connect(id: ContainerId, { vpc, address }: JoinedVpc, namespacePath: string): Promise<void> {
    const planned = this.#plan();
    const network = planned.network.vpcs.find((one) => one.id === vpc);
    if (network === undefined) throw new CcError("INTERNAL", "the plan lacks a VPC that a container joins");
    const { overlay, firewall } = this.#drivers;
    await this.#drivers.tunnel.hold(this.#mustHaveState().self, this.#own, planned, false);
    await overlay.ensureVpc(planned.network.underlay, network);
    // Side by side: nothing runs in the container before both are there.
    const [failed] = await Promise.all([
      firewall.apply(this.#firewallState(planned)),
      overlay.attach({ underlay: planned.network.underlay, vpc: network, port: { container: id, address }, namespacePath }),
    ]);
    const mine = failed.find(({ place: at }) => (at.kind === "vpc" && at.vpc === vpc) || (at.kind === "container" && at.container === id));
    if (mine !== undefined) throw new CcError("CONTAINER_FAILED", `the rules of the container's network could not be set: ${mine.message}`);
    this.#tellNames(planned);
    await this.#untilNamed(vpc);
  }

  /** A question that comes too early is asked again after seconds only. A server that does not come up keeps nobody from starting. */
  async #untilNamed(vpc: VpcId): Promise<void> {
    const limit = new AbortController();
    const cancel = this.#drivers.clock.after(NAMED_MS_MAX, () => limit.abort(new CcError("TIMEOUT", "the name server is slow")));
    try {
      await this.#drivers.names.answering(vpc, AbortSignal.any([limit.signal, this.#stopping.signal]));
    } catch (thrown) {
      if (!this.#stopping.signal.aborted) this.#drivers.log.warn({ vpc, err: asCcError(thrown) }, "a container starts before its names are answered");
    } finally {
      cancel();
    }
  }

  async leave(id: ContainerId): Promise<void> {
    const vpc = this.#joined.get(id)?.vpc;
    this.#joined.delete(id);
    if (vpc !== undefined && this.#state !== undefined) this.#kept.set(vpc, this.#drivers.clock.monotonicMs() + KEPT_MS);
    const stays = vpc !== undefined && this.#state !== undefined && this.#plan().network.vpcs.some((one) => one.id === vpc);
    await this.#drivers.overlay.detach(id, stays);
    await this.#drivers.joined.remove(id);
    this.#ring();
  }

  async #loop(): Promise<void> {
    const { clock, log } = this.#drivers;
    const { signal } = this.#stopping;
    let lookAtMs = clock.monotonicMs();
    while (!signal.aborted) {
      const rung = new Promise<void>((resolve) => {
        this.#ring = resolve;
      });
      const isLook = clock.monotonicMs() >= lookAtMs;
      if (isLook) lookAtMs = clock.monotonicMs() + LOOK_EVERY_MS;
      for (const [vpc, untilMs] of this.#kept) if (untilMs <= clock.monotonicMs()) this.#kept.delete(vpc);
      try {
        await this.#converge(isLook);
      } catch (thrown) {
        if (!signal.aborted) log.error({ err: asCcError(thrown) }, "this host's networks could not be put right; trying again");
      }
      const waited = new AbortController();
      const nextMs = Math.min(lookAtMs, ...this.#kept.values());
      const paused = sleep(clock, Math.max(0, nextMs - clock.monotonicMs()), AbortSignal.any([signal, waited.signal]));
      await Promise.race([rung, paused.catch(() => undefined)]); // Aborted: the loop ends.
      waited.abort(); // Rung: no timer is left behind.
      await sleep(clock, GATHER_MS, signal).catch(() => undefined);
    }
  }

  /** `isLook`: by what the kernel holds, not by what was made last. */
  async #converge(isLook: boolean): Promise<void> {
    const { overlay, firewall, log, namespaceOf } = this.#drivers;
    const { signal } = this.#stopping;
    if (isLook) {
      await this.#lookForUnderlay();
      for (const place of await firewall.check()) log.warn({ place }, "somebody changed this host's rules; they are put right");
    }
    await this.#drivers.tunnel.hold(this.#mustHaveState().self, this.#own, this.#plan(), isLook);
    const plan = () => this.#plan();
    const outcome = isLook ? await overlay.converge(() => plan().network, signal) : await overlay.follow(() => plan().network, signal);
    for (const { vpc, error } of outcome.failed) log.error({ vpc, err: error }, "a VPC's devices could not be put right");
    for (const { vpc, port } of outcome.missing) {
      const planned = plan();
      const network = planned.network.vpcs.find((one) => one.id === vpc);
      if (network === undefined || !this.#joined.has(port.container)) continue;
      try {
        await overlay.attach({ underlay: planned.network.underlay, vpc: network, port, namespacePath: namespaceOf(port.container) });
      } catch (thrown) {
        log.warn({ container: port.container, err: asCcError(thrown) }, "a container's port could not be put back");
      }
    }
    const planned = plan();
    for (const { place, message } of await firewall.apply(this.#firewallState(planned))) log.error({ place, reason: message }, "rules could not be set");
    this.#tellNames(planned);
    if (isLook) await this.#traffic.look();
  }

  #plan(): Planned {
    const { self, view, replica } = this.#mustHaveState();
    const { underlay, tunnel: own } = this;
    return planHere({ self, zone: replica.zone, view, joined: this.#joined, kept: this.#kept, ownMtu: underlay?.mtu, own, vxlanPort: this.#drivers.vxlanPort });
  }

  #firewallState(planned: Planned) {
    const { self, view, replica } = this.#mustHaveState();
    const { overlay, listening } = this.#drivers;
    const published = publishedNow(planned, { self, zone: replica.zone, view }, listening);
    this.#sayWhatIsLeft(published.left);
    return rulesHere(planned, published, { view, own: this.#own?.address, transits: overlay.transits() });
  }

  /** Once for each change: nobody but this host knows what its programs listen on. */
  #sayWhatIsLeft(left: readonly PlacedPort[]): void {
    const texts = left.map(({ hostPort, protocol, container }) => `${hostPort}/${protocol} of container ${container.name}`);
    const text = texts.sort().join(", ");
    if (text !== "" && text !== this.#left)
      this.#drivers.log.warn({ ports: text }, "published on every host of the zone, but not here: a program of this host listens on the port, and keeps it");
    this.#left = text;
  }

  #tellNames({ network, members }: Planned): void {
    const { self, view, liveness } = this.#mustHaveState();
    const { overlay } = this.#drivers;
    const isReachable = (peer: PeerId): boolean => peer === self || liveness.of(peer).standing !== "unreachable";
    const nameOf = (id: VpcId): string => view.vpc(id)?.name ?? [...this.#joined.values()].find(({ vpc }) => vpc === id)?.name ?? id;
    this.#named.tell(
      network.vpcs,
      (id) => overlay.transitOf(id),
      (vpc, source) => nameTable(vpc, nameOf(vpc.id), source, members.get(vpc.id) ?? [], isReachable),
    );
  }

  async #lookForUnderlay(): Promise<void> {
    const { view, self } = this.#mustHaveState();
    try {
      this.#own = (await this.#drivers.findUnderlay(addressesOfOthers(view, self))) ?? this.#own;
    } catch (thrown) {
      this.#drivers.log.warn({ err: asCcError(thrown) }, "this host's way to the others could not be looked up");
    }
  }

  #mustHaveState(): NetworkState {
    if (this.#state === undefined) throw new CcError("STARTING", "this host's networks are not ready yet");
    return this.#state;
  }
}

/** H: the host's end of every transit, where its name server answers. */
export const transitHost: Ip = addressAt(TRANSIT_CIDR, 1n);

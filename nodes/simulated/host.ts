import { callUnsigned } from "../../src/api/client.ts";
import { parseEndpoints } from "../../src/api/client-connection.ts";
import type { MeshId, PeerId, Zone } from "../../src/base/index.ts";
import { asCcError, CcError, sleep } from "../../src/base/index.ts";
import { encodeCertificate, type HostCertificate, type Signer, type Verifier } from "../../src/identity/index.ts";
import type { DeclaredCapacity } from "../../src/placement/index.ts";
import { createPeerCore } from "../peer/core/core.ts";
import type { PeerCore } from "../peer/core/core-parts.ts";
import { must } from "../peer/must.ts";
import type { ApiNetwork } from "./api.ts";
import { HostDisk } from "./disk.ts";
import type { History } from "./history.ts";
import { Machine, type ProcessRun } from "./machine.ts";
import { SimulatedMesh } from "./mesh.ts";
import type { Network } from "./network.ts";
import type { SeededRandom } from "./random.ts";
import { HostClock, MachineTime, type Timeline } from "./timeline.ts";

/** Who a host is; what joining gives it. */
export type HostIdentity = {
  readonly peer: PeerId;
  readonly meshId: MeshId;
  readonly zone: Zone;
  readonly signer: Signer;
  readonly certificate: HostCertificate;
  readonly neighbours: readonly { readonly peer: string; readonly endpoints: readonly string[]; readonly certificate: string }[];
};

/** From one start of a host's peer to its end. */
export type Life = {
  readonly core: PeerCore;
  readonly clock: HostClock;
  readonly mesh: SimulatedMesh;
  readonly gone: AbortController;
  readonly bornAtMs: number;
  readyAtMs: number | undefined;
};

export type HostParts = {
  readonly name: string;
  readonly timeline: Timeline;
  readonly network: Network;
  readonly api: ApiNetwork;
  readonly history: History;
  readonly verifier: Verifier;
  readonly random: SeededRandom;
  readonly capacity: DeclaredCapacity;
  readonly onStart: (run: ProcessRun) => void;
  readonly onFault: (text: string) => void;
  readonly onBoot: (host: SimulatedHost) => void;
  readonly onReady: (host: SimulatedHost) => void;
};

const INTRODUCE_EVERY_MS = 2_000;

/** A machine with a peer that may die and come back: the real core over simulated network, clocks, disk and kernel. */
export class SimulatedHost {
  readonly name: string;
  readonly endpoint: string;
  readonly time: MachineTime;
  readonly disk: HostDisk;
  readonly machine: Machine;
  readonly capacity: DeclaredCapacity;
  identity: HostIdentity | undefined;
  life: Life | undefined;
  /** When the peer or the machine was last down or hung, in the world's time. */
  disturbedAtMs = Number.NEGATIVE_INFINITY;
  /** It never comes back: its disk burnt, or it was removed. */
  retired = false;
  acceptLostStore = false;
  readonly #parts: HostParts;
  /** A peer that is about to be there. */
  #booting: HostClock | undefined;

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.name = parts.name;
    this.endpoint = `https://${parts.name}:8443`;
    this.capacity = parts.capacity;
    this.time = new MachineTime(parts.timeline, parts.random.below(1_000_000));
    this.disk = new HostDisk(parts.random);
    this.machine = new Machine({ name: parts.name, timeline: parts.timeline, time: this.time, random: parts.random, onStart: parts.onStart });
  }

  get peer(): PeerId {
    if (this.identity === undefined) throw new TypeError(`${this.name} is nobody yet`);
    return this.identity.peer;
  }

  get isReady(): boolean {
    return this.life?.readyAtMs !== undefined;
  }

  /** Starts the peer. Its readiness comes later, by itself. */
  boot(): void {
    const { identity } = this;
    if (identity === undefined || this.#booting !== undefined || this.life !== undefined || this.retired) return;
    const { timeline, history } = this.#parts;
    history.add(this.name, "boots");
    this.#parts.onBoot(this);
    const clock = new HostClock(timeline, this.time);
    this.#booting = clock;
    this.#boot(identity, clock).catch((error: unknown) => {
      if (clock.alive && this.life?.gone.signal.aborted !== true) this.#parts.onFault(`the peer of ${this.name} did not start: ${asCcError(error).message}`);
    });
  }

  async #boot(identity: HostIdentity, clock: HostClock): Promise<void> {
    const { name, timeline, network, history, verifier, random, capacity, onFault } = this.#parts;
    const { peer, meshId, zone, signer, certificate, neighbours } = identity;
    let mesh: SimulatedMesh | undefined;
    const core = await createPeerCore({
      self: peer,
      meshId,
      zone,
      signer,
      certificate,
      verifier,
      clock,
      random,
      log: history.logger(name, onFault),
      ...this.disk.mount(clock),
      runtime: this.machine.runtime(clock),
      images: async () => this.machine.images(clock),
      volumes: this.machine.volumes(clock),
      listening: () => [],
      forwards: { of: () => [], whyNotOutside: () => "" },
      // Simulated containers have no programs that listen.
      dialer: { connect: async () => Promise.reject(new CcError("CONNECTION_REFUSED", "nothing listens")), release: () => undefined },
      mesh: async (members) => {
        mesh = new SimulatedMesh(network, peer, clock, (other) => members.has(other));
        return mesh;
      },
      host: { capacity, labels: {}, loadPerCore: () => 0 },
      facts: () => ({
        name,
        version: "0.1.0",
        endpoints: [this.endpoint],
        addresses: [`/dns4/${name}/tcp/7440`],
        networks: [],
        underlay: undefined,
        tunnel: { end: undefined, isRequired: false },
      }),
      acceptLostStore: this.acceptLostStore,
      neighboursExpected: neighbours.length > 0,
    });
    if (mesh === undefined) throw new TypeError("the core made no network");
    const life: Life = { core, clock, mesh, gone: new AbortController(), bornAtMs: timeline.nowMs, readyAtMs: undefined };
    if (!clock.alive) return;
    this.#booting = undefined;
    this.life = life;
    for (const { certificate: shown } of neighbours) core.admitted.introduce(shown, []);
    await core.start();
    void this.#introduce(life, identity);
    await core.ready(life.gone.signal);
    life.readyAtMs = timeline.nowMs;
    history.add(name, `is ready, start number ${core.replica.startNumber()}`);
    this.#parts.onReady(this);
  }

  /** Shows its certificate to members that have not let it connect, as nodes/peer/introducing.ts does over HTTPS. */
  async #introduce({ core, clock, gone }: Life, { peer, certificate, neighbours }: HostIdentity): Promise<void> {
    const text = encodeCertificate(certificate);
    const dialer = this.#parts.api.dialerOf(this.name, clock);
    while (!gone.signal.aborted) {
      const endpoints = new Map<string, readonly string[]>(neighbours.map((neighbour) => [neighbour.peer, neighbour.endpoints]));
      for (const member of core.view.members()) if ((member.facts?.endpoints.length ?? 0) > 0) endpoints.set(member.peer, member.facts?.endpoints ?? []);
      const connected = new Set<string>(core.mesh.connected());
      const strangers = [...endpoints].filter(([other]) => other !== peer && !connected.has(other));
      await Promise.all(
        strangers.map(async ([, [url]]) => {
          const [endpoint] = url === undefined ? [] : must(parseEndpoints(url));
          if (endpoint === undefined) return;
          try {
            const reply = await callUnsigned({ dialer, clock }, endpoint, "Introduce", { certificate: text, addresses: [] });
            for (const neighbour of reply.neighbours) core.admitted.introduce(neighbour.certificate, []);
          } catch {
            // It is down, or this host was removed: the next round tries again.
          }
        }),
      );
      await sleep(clock, INTRODUCE_EVERY_MS, gone.signal).catch(() => undefined); // Aborted: the loop ends.
    }
  }

  /** kill -9 of the peer: containers run on, the operating system tells the others. */
  killPeer(): void {
    this.#parts.history.add(this.name, "peer is killed");
    this.life?.mesh.reset();
    this.#end();
    this.disk.peerDied();
    this.machine.peerDied();
  }

  /** Power fails: all that was not fsynced is gone, nobody is told. */
  cutPower(): void {
    if (this.identity === undefined) return;
    this.#parts.history.add(this.name, "power fails");
    this.#end();
    this.disk.powerFailed();
    this.machine.powerFailed();
  }

  /** An orderly stop. Containers run on. */
  async stop(): Promise<void> {
    const { life } = this;
    if (life === undefined) return;
    this.#parts.history.add(this.name, "peer stops");
    life.gone.abort();
    await life.core.stop();
    if (this.life !== life) return;
    life.mesh.reset();
    this.#end();
    this.disk.peerDied();
    this.machine.peerDied();
  }

  #end(): void {
    this.#booting?.die();
    this.life?.clock.die();
    this.life?.gone.abort();
    this.#booting = undefined;
    this.life = undefined;
    this.disturbedAtMs = this.#parts.timeline.nowMs;
    this.#parts.api.reset(this.name);
  }
}

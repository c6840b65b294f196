import { create, toBinary } from "@bufbuild/protobuf";
import { Mesh as MeshService } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { PhaseSchema, type RecordFrame } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { CcError, type Clock, type ContainerId, isContainerId, ok, type PeerId, silentLogger, type Zone } from "../../../src/base/index.ts";
import type { CallReply, CallReplyInit, CallRequest, CallRequestInit, GossipVerdict, Liveness, Mesh, MeshCall, Sighting } from "../../../src/mesh/index.ts";
import { createPlacement, type OwnHost, type Placement, type PlacementParts, type PlacementView } from "../../../src/placement/index.ts";
import { hostKey } from "../../../src/state/index.ts";
import { FakeReplica, viewOf } from "./fake-replica.ts";
import { cheapVerifier, keysOf, MIB, requests } from "./fake-requests.ts";
import { seeded } from "./virtual-time.ts";
import type { World } from "./world.ts";

/** No container of these tests has any. */
const ONE_NETWORK: PlacementParts["network"] = {
  room: () => ({ ok: true, value: { isForeign: false } }),
  bind: async () => ({ ok: true, value: { vpc: "", address: "" } }),
  settle: () => undefined,
};
const NO_VOLUMES: PlacementParts["volumes"] = {
  room: () => ok({ bytes: 0, foreign: 0 }),
  countedBytes: () => 0,
  reserve: () => undefined,
  bind: async () => ok([]),
  settle: () => undefined,
};

export class SimHost {
  readonly world: World;
  readonly name: string;
  readonly zone: Zone;
  readonly peer: PeerId;
  readonly sign: (message: Uint8Array) => Uint8Array;
  readonly clock: Clock;
  readonly replica: FakeReplica;
  readonly view: PlacementView;
  readonly own: { -readonly [K in keyof OwnHost]: OwnHost[K] };
  readonly handlers = new Map<string, (request: unknown, from: PeerId, signal: AbortSignal) => Promise<unknown>>();
  readonly topics = new Map<string, (data: Uint8Array, from: PeerId) => GossipVerdict>();
  readonly gaveWay: ContainerId[] = [];
  /** Peers that this host holds unreachable. */
  readonly unreachable = new Set<PeerId>();
  dead = false;
  parts: PlacementParts;
  placement: Placement;

  constructor(world: World, name: string, zone: string) {
    const keys = keysOf(name);
    this.world = world;
    this.name = name;
    this.zone = zone as Zone;
    this.peer = keys.peer;
    this.sign = keys.sign;
    this.clock = world.time.clock();
    this.replica = new FakeReplica(this);
    this.view = viewOf(this);
    this.own = {
      capacity: { memoryBytes: 1024 * MIB, diskBytes: 10_240 * MIB, cpuShares: 4096, containersMax: 100 },
      labels: {},
      draining: false,
      loadPerCore: 0,
      hasImage: () => Promise.resolve(true),
    };
    this.parts = {
      mesh: this.#mesh(),
      liveness: this.#liveness(),
      replica: this.replica,
      clock: this.clock,
      random: seeded(world.hosts.length + 7),
      logger: silentLogger,
      signer: { sign: keys.sign },
      verifier: cheapVerifier,
      requests,
      view: this.view,
      host: this.own,
      yielding: { giveWay: (id) => this.#giveWay(id) },
      volumes: NO_VOLUMES,
      network: ONE_NETWORK,
    };
    this.placement = createPlacement(this.parts);
    this.placement.start();
  }

  /** The peer's process ends and comes back: memory is lost, records stay. */
  restart(): void {
    this.placement.stop();
    this.handlers.clear();
    this.topics.clear();
    this.dead = false;
    this.placement = createPlacement(this.parts);
    this.placement.start();
  }

  die(): void {
    this.dead = true;
    this.placement.stop();
  }

  /** Containers of which this host has a claim that it did not give up. */
  claimed(): ContainerId[] {
    return [...this.replica.byContainer.keys()].filter((id) => this.world.holders(id).includes(this));
  }

  async #giveWay(id: ContainerId): Promise<void> {
    this.gaveWay.push(id);
    const phase = create(PhaseSchema, { container: id, phase: "yielded" });
    await this.replica.write([{ key: hostKey(this.peer, this.zone, "phase", id), content: toBinary(PhaseSchema, phase) }]);
  }

  #mesh(): Mesh {
    const unused = (): never => {
      throw new Error("not part of this test");
    };
    return {
      self: this.peer,
      connected: () => [],
      onConnection: unused,
      publish: (topic, data) => {
        for (const other of this.world.hosts) {
          if (other !== this) void this.world.deliver(this, other, "bid-request", () => other.topics.get(topic)?.(data, this.peer));
        }
      },
      subscribe: (topic, listener) => {
        this.topics.set(topic, listener);
        return () => this.topics.delete(topic);
      },
      call: (peer, name, request, options) => this.#call(peer, name, request, options.timeoutMs),
      handle: <C extends MeshCall>(name: C, handler: (request: CallRequest<C>, from: PeerId, signal: AbortSignal) => Promise<CallReplyInit<C>>) => {
        this.handlers.set(name, (request, from, signal) => handler(request as CallRequest<C>, from, signal));
      },
      openStream: unused,
      handleStreams: unused,
      disconnect: unused,
    };
  }

  async #call<C extends MeshCall>(peer: PeerId, name: C, init: CallRequestInit<C>, timeoutMs: number): Promise<CallReply<C>> {
    const { world } = this;
    world.calls.push(name);
    const to = world.host(peer);
    if (!world.isUp(this, to) && !world.isSilent(this, to)) throw new CcError("PEER_UNREACHABLE", "no connection");
    return new Promise((resolve, reject) => {
      const cancel = world.time.after(timeoutMs, () => reject(new CcError("TIMEOUT", "no answer")));
      const reply = async (): Promise<void> => {
        const request = create(MeshService.method[name].input, init as never);
        const handler = to.handlers.get(name);
        const answer = await (name === "askAround"
          ? to.#askAround(request as CallRequest<"askAround">)
          : (handler?.(request, this.peer, new AbortController().signal) ?? Promise.reject(new CcError("STARTING", "no handler")))
        ).then(
          (value) => ({ value }),
          (thrown: unknown) => ({ thrown }),
        );
        await world.deliver(to, this, `${name}:reply`, () => {
          cancel();
          if ("thrown" in answer) reject(answer.thrown);
          else resolve(create(MeshService.method[name].output, answer.value as never) as never);
        });
      };
      void world.deliver(this, to, name, reply);
    });
  }

  #askAround(request: CallRequest<"askAround">): Promise<{ frames: RecordFrame[] }> {
    const records = request.ids.filter(isContainerId).flatMap((id) => [...(this.replica.byContainer.get(id)?.values() ?? [])]);
    return Promise.resolve({ frames: records.map((record) => record.frame) });
  }

  #liveness(): Liveness {
    const of = (peer: PeerId): Sighting => {
      const target = this.world.host(peer);
      const standing = this.unreachable.has(peer) ? "unreachable" : "alive";
      const seenBy = this.world.hosts
        .filter((other) => other !== target && this.world.isUp(other, target) && this.world.isUp(target, other))
        .map((other) => other.peer);
      return { peer, standing, sinceMs: 0, heardAtMs: 0, seenBy, clockOffsetMs: 0, startNumber: 1, incarnation: 0 };
    };
    const others = (): PeerId[] => this.world.hosts.filter((other) => other !== this).map((other) => other.peer);
    return {
      of,
      reachable: () => others().filter((peer) => !this.unreachable.has(peer)),
      all: () => others().map(of),
      medianOffsetMs: () => 0,
      onChange: () => () => undefined,
    };
  }
}

import type { PeerId } from "../../src/base/index.ts";
import type { MeshCall } from "../../src/mesh/index.ts";
import type { SimulatedMesh } from "./mesh.ts";
import type { SeededRandom } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export type NetworkFaults = {
  /** Probability that a message (gossip, a call's request, a call's reply) is lost. */
  lossRate: number;
  /** Probability that a gossip message comes twice. */
  duplicateRate: number;
  delayMsMin: number;
  delayMsMax: number;
  /** Probability that a message takes up to `slowMs` on top: messages overtake each other. */
  slowRate: number;
  slowMs: number;
};

/** What is known of a call on its way, for who watches the wires. */
export type CarriedCall = { readonly from: PeerId; readonly to: PeerId; readonly name: MeshCall; readonly request: object };

const CALM: Readonly<NetworkFaults> = { lossRate: 0, duplicateRate: 0, delayMsMin: 1, delayMsMax: 8, slowRate: 0, slowMs: 0 };

/** The wires between simulated hosts: delay, loss, duplication, reordering (by delay), cuts in each direction. */
export class Network {
  #faults: NetworkFaults = { ...CALM };
  /** Since when no message is lost or held up by chance; infinite while some are. */
  calmSinceMs = 0;
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  readonly nodes = new Map<PeerId, SimulatedMesh>();
  readonly #cuts = new Map<string, number>();
  /** Peers that gossip does not reach; calls do. */
  readonly gossipCutTo = new Set<PeerId>();
  /** Probability that the answer to a call of this name is lost. */
  readonly lostReplies = new Map<MeshCall, number>();
  /** A neighbour was scored for what it passed on or made. */
  onReject: (by: PeerId, from: PeerId) => void = () => undefined;
  /** Who may see every call that arrives: the invariants. */
  onCall: (call: CarriedCall) => void = () => undefined;
  /** When a direction was cut last, by `from>to`: who was reachable lately is a question of the invariants. */
  readonly #healedAtMs = new Map<string, number>();

  constructor(timeline: Timeline, random: SeededRandom) {
    this.timeline = timeline;
    this.random = random;
  }

  get faults(): Readonly<NetworkFaults> {
    return this.#faults;
  }

  /** From now on, on all wires. */
  behave(faults: Partial<NetworkFaults>): void {
    this.#faults = { ...CALM, ...faults };
    const isCalm = this.#faults.lossRate === 0 && this.#faults.slowRate === 0;
    if (!isCalm) this.calmSinceMs = Number.POSITIVE_INFINITY;
    else if (this.calmSinceMs === Number.POSITIVE_INFINITY) this.calmSinceMs = this.timeline.nowMs;
  }

  /** One direction. Two cuts of it need two heals. */
  cut(from: PeerId, to: PeerId): void {
    this.#cuts.set(wire(from, to), (this.#cuts.get(wire(from, to)) ?? 0) + 1);
  }

  heal(from: PeerId, to: PeerId): void {
    const left = (this.#cuts.get(wire(from, to)) ?? 0) - 1;
    if (left > 0) this.#cuts.set(wire(from, to), left);
    else if (this.#cuts.delete(wire(from, to))) this.#healedAtMs.set(wire(from, to), this.timeline.nowMs);
  }

  healAll(): void {
    for (const name of this.#cuts.keys()) this.#healedAtMs.set(name, this.timeline.nowMs);
    this.#cuts.clear();
    this.behave({});
  }

  /** Since when messages go both ways between two hosts; infinite while they don't. */
  openSinceMs(a: PeerId, b: PeerId): number {
    if (!this.passes(a, b) || !this.passes(b, a)) return Number.POSITIVE_INFINITY;
    return Math.max(this.calmSinceMs, this.#healedAtMs.get(wire(a, b)) ?? 0, this.#healedAtMs.get(wire(b, a)) ?? 0);
  }

  passes(from: PeerId, to: PeerId): boolean {
    return !this.#cuts.has(wire(from, to));
  }

  get cutCount(): number {
    return this.#cuts.size;
  }

  delayMs(): number {
    const { delayMsMin, delayMsMax, slowRate, slowMs } = this.faults;
    return this.random.between(delayMsMin, delayMsMax) + (slowRate > 0 && this.random.chance(slowRate) ? this.random.below(slowMs) : 0);
  }

  /** Delivers after a seeded delay, unless the wire is cut when it leaves or arrives, or the message is lost. */
  carry(from: PeerId, to: PeerId, deliver: (node: SimulatedMesh) => void): void {
    if (!this.passes(from, to) || (this.faults.lossRate > 0 && this.random.chance(this.faults.lossRate))) return;
    this.timeline.after(this.delayMs(), () => {
      const node = this.nodes.get(to);
      if (node === undefined || !this.passes(from, to)) return;
      // A message to a host whose loop stands still waits for it.
      node.clock.deliver(() => deliver(node));
    });
  }
}

const wire = (from: PeerId, to: PeerId): string => `${from}>${to}`;

import type { ContainerId } from "../../../src/base/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { World } from "../world.ts";
import { AcknowledgedWrites } from "./acknowledged.ts";
import { checkAnswered, checkNames, checkUnderway, watchAsks } from "./asks.ts";
import { checkConverged } from "./converged.ts";
import { checkAsAsked, checkAtMost, checkLaterWins, checkNothingHeld, checkRemoved } from "./counts.ts";
import { OnceLive } from "./once-live.ts";
import { connectedSinceMs, liveHosts } from "./reach.ts";
import { checkRoom } from "./room.ts";
import { StartWatch } from "./starts.ts";
import { VolumeWatch } from "./volumes.ts";
import { VpcWatch } from "./vpcs.ts";
import { WarrantWatch } from "./warranted.ts";

const LOOK_EVERY_MS = 500;
/** What DESIGN.md promises after the last fault. */
const CONVERGED_AFTER_MS = 10_000;
const AS_ASKED_AFTER_MS = 30_000;

/** Everything that holds always is looked at from now on; what holds after healing is asked for by the story. */
export class Watch {
  readonly acknowledged: AcknowledgedWrites;
  readonly #world: World;
  readonly warrants: WarrantWatch;
  readonly #starts: StartWatch;
  readonly #onceLive: OnceLive;
  readonly #volumes: VolumeWatch;
  readonly #vpcs: VpcWatch;
  readonly #storedAtBoot = new Map<SimulatedHost, ReadonlyMap<SimulatedHost, number>>();

  constructor(world: World) {
    this.#world = world;
    this.#starts = new StartWatch(world);
    this.#onceLive = new OnceLive(world);
    this.#volumes = new VolumeWatch(world);
    this.#vpcs = new VpcWatch(world);
    this.acknowledged = new AcknowledgedWrites(world);
    this.warrants = new WarrantWatch(world);
    watchAsks(world);
    world.watchers.onBoot.push((host) => this.#onBoot(host));
    world.watchers.onReady.push((host) => this.#onReady(host));
    const look = (): void => {
      this.#starts.look();
      this.#onceLive.look();
      this.#vpcs.look();
      checkRoom(world);
      checkUnderway(world);
      world.timeline.after(LOOK_EVERY_MS, look);
    };
    look();
  }

  /** All faults are over: waits as long as each promise takes, and checks it. */
  async healed(): Promise<void> {
    const world = this.#world;
    await world.sleep(CONVERGED_AFTER_MS);
    const isHanded = (id: ContainerId): boolean => this.warrants.isHanded(id);
    await checkConverged(world, isHanded);
    this.acknowledged.check();
    this.warrants.check();
    checkAtMost(world, isHanded);
    checkRemoved(world);
    checkLaterWins(world, isHanded);
    checkNames(world);
    this.#volumes.check();
    this.#vpcs.check();
    await world.sleep(AS_ASKED_AFTER_MS - CONVERGED_AFTER_MS);
    await checkAsAsked(world, isHanded);
    checkNothingHeld(world, this.#onceLive);
    checkAnswered(world);
    checkInvites(world);
    checkBounded(world);
  }

  /** What the others had stored of it when it came back. */
  #onBoot(host: SimulatedHost): void {
    const stored = liveHosts(this.#world).filter((other) => other !== host);
    this.#storedAtBoot.set(host, new Map(stored.map((other) => [other, other.life.core.replica.highestStartOf(host.peer)])));
  }

  #onReady(host: SimulatedHost): void {
    const own = host.life?.core.replica.startNumber() ?? 0;
    for (const [other, stored] of this.#storedAtBoot.get(host) ?? []) {
      if (host.life === undefined || other.life === undefined || connectedSinceMs(this.#world, host, other) > this.#world.timeline.nowMs) continue;
      // Reachable for all of this life, and connected by now.
      const open = this.#world.network.openSinceMs(host.peer, other.peer);
      if (open > host.life.bornAtMs || other.life.bornAtMs > host.life.bornAtMs || !host.life.mesh.connected().includes(other.peer)) continue;
      if (stored >= own) this.#world.violate("start-number", `${host.name} is ready with start number ${own}, ${other.name} has had ${stored} stored for it`);
    }
  }
}

function checkInvites(world: World): void {
  for (const { name, life } of liveHosts(world)) {
    const { view } = life.core;
    const uses = Map.groupBy(view.members(), (member) => (JSON.parse(Buffer.from(member.certificate.invite.body).toString("utf8")) as { token: string }).token);
    for (const invite of view.authority().invites.values()) {
      const token = (JSON.parse(Buffer.from(invite.request.body).toString("utf8")) as { token: string }).token;
      const members = uses.get(token)?.length ?? 0;
      const forgot = world.hosts.some((host) => host.identity?.peer === invite.issuer && host.disk.losses > 0);
      if (members > invite.uses && !forgot) world.violate("invite-uses", `${members} members came with an invite for ${invite.uses}, says ${name}`);
    }
  }
}

/** Per neighbour, as src/state/waiting-room.ts promises. */
const WAITING_MAX = 2_000;

function checkBounded(world: World): void {
  for (const { name, life } of liveHosts(world)) {
    const { waiting } = life.core.replica.counts();
    if (waiting > WAITING_MAX * world.hosts.length) world.violate("bounded", `${waiting} records wait at ${name}`);
  }
}

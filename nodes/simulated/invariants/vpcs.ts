import type { ReplyOf, RequestOf } from "../../../src/api/client-messages.ts";
import { type Cidr, formatCidr, formatIp, overlaps, type PeerId, type VpcId } from "../../../src/base/index.ts";
import { type Membership, piecesOf, placeOf } from "../../../src/vpc/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { ProcessRun } from "../machine.ts";
import type { Ask } from "../user.ts";
import type { World } from "../world.ts";
import { isLiar, type LiveHost, liveHosts } from "./reach.ts";

/** Somebody's address: which of its claims, at which host. */
type Held = { readonly host: SimulatedHost; readonly place: Membership; readonly losses: number };

/** What must hold of VPCs in every history: one owner a block, one container an address, an address for a container's life. */
export class VpcWatch {
  readonly #world: World;
  /** Addresses that containers had when they started, by claim. */
  readonly #had = new Map<string, string>();
  readonly #deleted = new Map<VpcId, number>();

  constructor(world: World) {
    this.#world = world;
    world.watchers.onStart.push((run) => this.#onStart(run));
    world.watchers.onAskEnd.push((ask) => this.#onEnd(ask));
  }

  look(): void {
    this.#lookAtBlocks();
    this.#lookAtAddresses();
  }

  /** After healing. */
  check(): void {
    const world = this.#world;
    for (const { name, life } of liveHosts(world)) {
      const { view } = life.core;
      for (const id of this.#deleted.keys())
        if (view.vpc(id)?.gone === false && !isLost(world)) world.violate("vpc-gone", `${world.history.nameOf(id)} was deleted and is back at ${name}`);
      const byToken = Map.groupBy(view.vpcs(), ({ keyId, token }) => `${keyId} ${token}`);
      for (const made of byToken.values()) {
        const tries = world.asks.filter((ask) => ask.call === "CreateVpc" && ask.token === made[0]?.token);
        if (made.length > Math.max(1, tries.length)) world.violate("one-vpc", `${made.length} VPCs of one token at ${name}`);
      }
      this.#checkOwners(name, life);
    }
  }

  /** Every address of a VPC is some member's again, also what a removed host had. */
  #checkOwners(name: string, life: LiveHost["life"]): void {
    const world = this.#world;
    const { view } = life.core;
    if (world.hosts.some((host) => host.life === undefined && !host.retired && host.identity !== undefined) || world.liars.size > 0 || isWiped(world)) return;
    for (const vpc of view.vpcs()) {
      const orphaned = vpc.gone ? [] : piecesOf(vpc).filter(({ owner }) => view.member(owner) === undefined);
      if (orphaned.length > 0)
        world.violate(
          "blocks",
          `${orphaned.map(({ block }) => formatCidr(block)).join(" ")} of ${world.history.nameOf(vpc.id)} is nobody's any more, says ${name}`,
        );
    }
  }

  /** No two hosts that may give addresses out have the same one to give. */
  #lookAtBlocks(): void {
    const hosts = liveHosts(this.#world).filter((host) => host.isReady && host.disk.losses === 0);
    const owned = hosts.flatMap((host) =>
      host.life.core.view
        .vpcs()
        .flatMap((vpc) => host.life.core.usableBlocks(vpc).map((block): { host: LiveHost; vpc: VpcId; block: Cidr } => ({ host, vpc: vpc.id, block }))),
    );
    for (const blocks of Map.groupBy(owned, ({ vpc }) => vpc).values())
      for (const [at, one] of blocks.entries())
        for (const other of blocks.slice(0, at))
          if (one.host !== other.host && overlaps(one.block, other.block))
            this.#world.violate(
              "one-owner",
              `${formatCidr(one.block)} of ${this.#world.history.nameOf(one.vpc)} is ${one.host.name}'s and ${formatCidr(other.block)} is ${other.host.name}'s`,
            );
  }

  /** No two containers with a process have the same address in one VPC, cut off from each other or not. */
  #lookAtAddresses(): void {
    const held = this.#world.hosts.filter((host) => !host.retired && host.disk.losses === 0).flatMap((host) => this.#addressesAt(host));
    for (const same of Map.groupBy(held, ({ place }) => `${place.vpc} ${formatIp(place.address)}`).values()) {
      const containers = new Set(same.map(({ place }) => place.container));
      if (containers.size > 1)
        this.#world.violate(
          "one-address",
          `${same.map(({ place, host }) => `${this.#world.history.nameOf(place.container)} at ${host.name}`).join(" and ")} both have ${formatIp(same[0]?.place.address ?? { family: 4, value: 0n })} of ${this.#world.history.nameOf(same[0]?.place.vpc ?? "")}`,
        );
    }
  }

  #addressesAt(host: SimulatedHost): readonly Held[] {
    if (host.life === undefined || isLiar(this.#world, host)) return [];
    const { view } = host.life.core;
    return host.machine.running().flatMap((run) => {
      const container = view.container(run.container);
      const place = container === undefined || container.best?.holder !== host.peer ? undefined : placeOf(container);
      return place === undefined ? [] : [{ host, place, losses: host.disk.losses }];
    });
  }

  #onStart(run: ProcessRun): void {
    const world = this.#world;
    const host = world.hosts.find(({ name }) => name === run.host);
    const held = host === undefined ? undefined : this.#addressesAt(host).find(({ place }) => place.container === run.container);
    if (host === undefined || held === undefined || host.disk.losses > 0) return;
    const { place } = held;
    const key = `${place.container} ${place.holder} ${place.claim.epoch}`;
    const address = formatIp(place.address);
    const before = this.#had.get(key);
    if (before !== undefined && before !== address)
      world.violate("one-address", `${world.history.nameOf(run.container)} had ${before} and starts again with ${address}`);
    this.#had.set(key, address);
    const deletedAtMs = this.#deleted.get(place.vpc);
    const claimedAtMs = place.claim.record.version.major;
    if (deletedAtMs !== undefined && !world.wasDisturbed(deletedAtMs - 15_000, world.timeline.nowMs) && claimedAtMs > 0)
      world.violate("vpc-gone", `${world.history.nameOf(run.container)} starts in ${world.history.nameOf(place.vpc)}, which was deleted`);
    this.#lookAtAddresses();
  }

  #onEnd(ask: Ask): void {
    if (ask.call !== "DeleteVpcs") return;
    const reply = ask.reply as ReplyOf<"DeleteVpcs"> | undefined;
    const { vpcs = [] } = ask.request as RequestOf<"DeleteVpcs">;
    if (reply === undefined) return;
    const world = this.#world;
    if (reply.done.length > 0 && reply.errors.length > 0)
      world.violate("vpc-gone", `of ${vpcs.length} VPCs ${reply.done.length} were deleted, the others not: ${reply.errors.map(({ code }) => code).join(" ")}`);
    const isHonest = reply.wrote.every(({ host }) => !world.liars.has(host as PeerId));
    const wrote = reply.done.filter((id) => reply.wrote.some(({ key }) => key.endsWith(`/${id}`)));
    for (const id of wrote) if (isHonest) this.#deleted.set(id as VpcId, ask.endedAtMs ?? 0);
    // Who could not be asked may have a user unaware; whom a liar hides is its own.
    if (reply.notAsked.length > 0 || world.liars.size > 0 || world.wasDisturbed(ask.startedAtMs - 15_000, world.timeline.nowMs)) return;
    for (const host of liveHosts(world))
      for (const { place } of this.#addressesAt(host))
        if (wrote.includes(place.vpc))
          world.violate("vpc-gone", `${world.history.nameOf(place.vpc)} was deleted under ${world.history.nameOf(place.container)} at ${host.name}`);
  }
}

const isLost = (world: World): boolean => world.hosts.some((host) => host.disk.losses > 0 || host.retired);
const isWiped = (world: World): boolean => world.hosts.some((host) => host.disk.losses > 0);

import type { DiskSnapshot } from "./disk.ts";
import type { SimulatedHost } from "./host.ts";
import type { SeededRandom } from "./random.ts";
import type { World } from "./world.ts";

/** One thing that goes wrong. Gives what ends it; undefined: it could not happen now. */
type Fault = (world: World, random: SeededRandom) => { readonly what: string; readonly forMs: number; readonly end: () => void } | undefined;

const DAY_MS = 86_400_000;

const pick = (world: World, random: SeededRandom, fits: (host: SimulatedHost) => boolean = () => true): SimulatedHost | undefined =>
  random.pick(world.hosts.filter((host) => !host.retired && host.identity !== undefined && fits(host)));

const isUp = (host: SimulatedHost): boolean => host.life !== undefined;

/** Cuts these directions. */
function cutting(world: World, what: string, forMs: number, pairs: readonly (readonly [SimulatedHost, SimulatedHost])[]): ReturnType<Fault> {
  const wires = pairs.map(([from, to]) => [from.peer, to.peer] as const);
  for (const [from, to] of wires) world.network.cut(from, to);
  return {
    what,
    forMs,
    end: () => {
      for (const [from, to] of wires) world.network.heal(from, to);
    },
  };
}

/** The host is down for a while; `meanwhile` happens to its disk. */
function down(host: SimulatedHost, what: string, forMs: number, meanwhile: () => void = () => undefined): ReturnType<Fault> {
  host.cutPower();
  meanwhile();
  return { what: `${host.name} ${what}`, forMs, end: () => host.boot() };
}

const snapshots = new WeakMap<SimulatedHost, { readonly disk: DiskSnapshot; readonly machine: ReturnType<SimulatedHost["machine"]["snapshot"]> }>();

/** A backup of each host's disk, to be put back some day. */
export function backUp(host: SimulatedHost): void {
  snapshots.set(host, { disk: host.disk.snapshot(), machine: host.machine.snapshot() });
}

export function restoreBackup(host: SimulatedHost): boolean {
  const backup = snapshots.get(host);
  if (backup === undefined) return false;
  host.disk.rollBack(backup.disk);
  host.machine.rollBack(backup.machine);
  return true;
}

export const FAULTS: Readonly<Record<string, { readonly weight: number; readonly begin: Fault }>> = {
  "cut-pair": {
    weight: 8,
    begin: (world, random) => {
      const [a, b] = [pick(world, random), pick(world, random)];
      if (a === undefined || b === undefined || a === b) return undefined;
      return cutting(world, `${a.name} and ${b.name} cut`, random.between(300, 15_000), [
        [a, b],
        [b, a],
      ]);
    },
  },
  "cut-one-way": {
    weight: 6,
    begin: (world, random) => {
      const [a, b] = [pick(world, random), pick(world, random)];
      if (a === undefined || b === undefined || a === b) return undefined;
      return cutting(world, `${a.name} to ${b.name} cut`, random.between(300, 12_000), [[a, b]]);
    },
  },
  isolate: {
    weight: 6,
    begin: (world, random) => {
      const host = pick(world, random);
      if (host === undefined) return undefined;
      const others = world.hosts.filter((other) => other !== host && other.identity !== undefined);
      return cutting(
        world,
        `${host.name} isolated`,
        random.between(500, 20_000),
        others.flatMap((other) => [[host, other] as const, [other, host] as const]),
      );
    },
  },
  split: {
    weight: 4,
    begin: (world, random) => {
      const hosts = world.hosts.filter((host) => host.identity !== undefined);
      const left = hosts.filter(() => random.chance(0.5));
      const right = hosts.filter((host) => !left.includes(host));
      if (left.length === 0 || right.length === 0) return undefined;
      const pairs = left.flatMap((a) => right.flatMap((b) => [[a, b] as const, [b, a] as const]));
      return cutting(
        world,
        `${left.map(({ name }) => name).join(" ")} split from ${right.map(({ name }) => name).join(" ")}`,
        random.between(500, 20_000),
        pairs,
      );
    },
  },
  rough: {
    weight: 6,
    begin: (world, random) => {
      if (world.network.calmSinceMs === Number.POSITIVE_INFINITY) return undefined;
      const lossRate = random.pick([0.01, 0.05, 0.15, 0.3]) ?? 0;
      const slowMs = random.pick([0, 200, 1_500]) ?? 0;
      world.network.behave({
        lossRate,
        slowRate: slowMs > 0 ? 0.1 : 0,
        slowMs,
        duplicateRate: random.pick([0, 0.1, 0.5]) ?? 0,
        delayMsMax: random.pick([8, 40, 200]) ?? 8,
      });
      return { what: `wires lose ${lossRate * 100} %, slow by ${slowMs} ms`, forMs: random.between(1_000, 20_000), end: () => world.network.behave({}) };
    },
  },
  "rough-api": {
    weight: 5,
    begin: (world, random) => {
      if (world.api.faults.lossRate > 0) return undefined;
      world.api.faults.lossRate = random.pick([0.05, 0.2, 0.4]) ?? 0;
      return { what: `users' requests are lost at ${world.api.faults.lossRate * 100} %`, forMs: random.between(1_000, 15_000), end: () => world.api.healAll() };
    },
  },
  "kill-peer": {
    weight: 8,
    begin: (world, random) => {
      const host = pick(world, random, isUp);
      if (host === undefined) return undefined;
      host.killPeer();
      return { what: `${host.name}'s peer killed`, forMs: random.between(100, 8_000), end: () => host.boot() };
    },
  },
  "stop-peer": {
    weight: 3,
    begin: (world, random) => {
      const host = pick(world, random, isUp);
      if (host === undefined) return undefined;
      const stopped = host.stop();
      return { what: `${host.name}'s peer stopped`, forMs: random.between(500, 5_000), end: () => void stopped.then(() => host.boot()) };
    },
  },
  "cut-power": {
    weight: 7,
    begin: (world, random) => {
      const host = pick(world, random, isUp);
      return host && down(host, "without power", random.between(1_000, 20_000));
    },
  },
  blackout: {
    weight: 1,
    begin: (world, random) => {
      const hosts = world.hosts.filter((host) => !host.retired && isUp(host));
      for (const host of hosts) host.cutPower();
      const boots = hosts.map((host) => ({ host, atMs: random.below(15_000) }));
      return {
        what: "power fails everywhere",
        forMs: 2_000,
        end: () => {
          for (const { host, atMs } of boots) world.timeline.after(atMs, () => host.boot());
        },
      };
    },
  },
  "lose-store": {
    weight: 2,
    begin: (world, random) => {
      const host = pick(world, random, isUp);
      return host && down(host, "loses its store", random.between(500, 5_000), () => host.disk.loseStore());
    },
  },
  "damage-store": {
    weight: 1,
    begin: (world, random) => {
      const host = pick(world, random, isUp);
      return host && down(host, "has a damaged store", random.between(500, 5_000), () => host.disk.damageStore());
    },
  },
  "roll-back": {
    weight: 2,
    begin: (world, random) => {
      const host = pick(world, random, (one) => isUp(one) && snapshots.has(one));
      return host && down(host, "goes back to an old disk", random.between(500, 5_000), () => restoreBackup(host));
    },
  },
  "slow-disk": {
    weight: 4,
    begin: (world, random) => {
      const host = pick(world, random);
      if (host === undefined) return undefined;
      host.disk.speed.syncMsMax = random.pick([50, 300, 1_500]) ?? 50;
      return {
        what: `${host.name}'s disk takes up to ${host.disk.speed.syncMsMax} ms`,
        forMs: random.between(1_000, 15_000),
        end: () => (host.disk.speed.syncMsMax = 4),
      };
    },
  },
  stall: {
    weight: 5,
    begin: (world, random) => {
      const host = pick(world, random, isUp);
      if (host === undefined) return undefined;
      const forMs = random.pick([300, 1_500, 6_000]) ?? 300;
      host.time.stall(forMs);
      return { what: `${host.name}'s loop stands still for ${forMs} ms`, forMs, end: () => undefined };
    },
  },
  suspend: {
    weight: 3,
    begin: (world, random) => {
      const host = pick(world, random, isUp);
      if (host === undefined) return undefined;
      const forMs = random.between(1_000, 25_000);
      host.time.suspend(forMs);
      return { what: `${host.name} sleeps for ${forMs} ms`, forMs, end: () => undefined };
    },
  },
  skew: {
    weight: 3,
    begin: (world, random) => {
      const host = pick(world, random);
      if (host === undefined) return undefined;
      const skewMs = (random.pick([2_000, 30_000, 90_000, 3_600_000, DAY_MS]) ?? 0) * (random.chance(0.5) ? 1 : -1);
      const before = host.time.skewMs;
      host.time.skewMs = skewMs;
      return { what: `${host.name}'s clock is off by ${skewMs / 1_000} s`, forMs: random.between(3_000, 40_000), end: () => (host.time.skewMs = before) };
    },
  },
};

/** The seeded schedule: now and then something goes wrong, several things at once too, until all is healed. */
export class FaultSchedule {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #kinds: readonly string[];
  readonly #ends = new Set<() => void>();
  #over = false;

  /** `kinds`: which may happen; each world has its own mix. */
  constructor(world: World, random: SeededRandom, kinds: readonly string[]) {
    this.#world = world;
    this.#random = random;
    this.#kinds = kinds;
  }

  async run(untilMs: number, meanGapMs: number): Promise<void> {
    const { timeline } = this.#world;
    while (timeline.nowMs < untilMs && !this.#over) {
      await this.#world.sleep(this.#random.between(meanGapMs / 4, (7 * meanGapMs) / 4));
      for (const host of this.#world.hosts) if (host.identity !== undefined && this.#random.chance(0.05)) backUp(host);
      if (timeline.nowMs < untilMs && !this.#over) this.#begin();
    }
  }

  /** All faults end now, and everybody who is down comes back. */
  heal(): void {
    this.#over = true;
    for (const end of this.#ends) end();
    this.#ends.clear();
    this.#world.healAll();
  }

  #begin(): void {
    const total = this.#kinds.reduce((sum, kind) => sum + (FAULTS[kind]?.weight ?? 0), 0);
    let at = this.#random.below(total);
    const kind = this.#kinds.find((name) => {
      at -= FAULTS[name]?.weight ?? 0;
      return at < 0;
    });
    const fault = kind === undefined ? undefined : FAULTS[kind]?.begin(this.#world, this.#random);
    if (fault === undefined) return;
    this.#world.history.add("fault", `${fault.what}, for ${fault.forMs} ms`);
    const over = this.#world.disturb();
    const end = (): void => {
      if (!this.#ends.delete(end)) return;
      fault.end();
      over();
      this.#world.history.add("fault", `over: ${fault.what}`);
    };
    this.#ends.add(end);
    this.#world.timeline.after(fault.forMs, end);
  }
}

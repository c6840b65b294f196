import type { ContainerSpecMessage } from "../../../src/api/client-messages.ts";
import type { ContainerId } from "../../../src/base/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { Watch } from "../invariants/watch.ts";
import type { Ask, User } from "../user.ts";
import type { World } from "../world.ts";

/** A directed history that a rule closes, and what it is called in HAZARDS.md. */
export type Scenario = {
  readonly hazard: string;
  /** What happens, in a few words. */
  readonly what: string;
  /** A zone per host; three in one zone if left out. */
  readonly zones?: readonly string[];
  /** So many seeds are tried, one if left out: some histories need luck. */
  readonly seeds?: number;
  readonly story: (stage: Stage) => Promise<void>;
};

const MIB = 1024 ** 2;

/** What every story needs: the world with its mesh built, an operator, and words for what is done and expected. */
export class Stage {
  readonly world: World;
  readonly watch: Watch;
  readonly user: User;

  constructor(world: World, watch: Watch, user: User) {
    this.world = world;
    this.watch = watch;
    this.user = user;
  }

  host(at: number): SimulatedHost {
    return this.world.host(at);
  }

  sleep(ms: number): Promise<void> {
    return this.world.sleep(ms);
  }

  spec(more: Partial<ContainerSpecMessage> = {}): Partial<ContainerSpecMessage> {
    return {
      image: "alpine",
      command: ["sleep", "0", "0"],
      memoryBytes: 128 * MIB,
      diskBytes: 128 * MIB,
      cpuShares: 64,
      stopTimeoutMs: 1_000,
      restart: "no",
      ...more,
    };
  }

  /** Runs a container, asked for at these hosts in order; expects it to be placed. */
  async place(more: Partial<ContainerSpecMessage> = {}, at: readonly SimulatedHost[] = [this.host(0)]): Promise<ContainerId> {
    const ask = await this.run(more, at);
    if (ask.outcome !== "done" || ask.id === undefined) throw new Error(`it was not placed: ${ask.outcome} ${ask.message}`);
    return ask.id;
  }

  run(more: Partial<ContainerSpecMessage> = {}, at: readonly SimulatedHost[] = [this.host(0)], token?: string): Promise<Ask> {
    return this.user.ask(
      at.map(({ endpoint }) => endpoint),
      "Run",
      { spec: this.spec(more) },
      token,
    );
  }

  change(call: "Stop" | "Start" | "Restart" | "Remove", ids: readonly ContainerId[], at: SimulatedHost = this.host(0), by = this.user): Promise<Ask> {
    return by.ask([at.endpoint], call, { containers: [...ids], ...(call === "Remove" ? { force: true } : {}) });
  }

  expect(holds: boolean, what: string): void {
    if (!holds) this.world.violate("story", what);
  }

  expectDone(ask: Ask): void {
    this.expect(ask.outcome === "done", `${ask.call} by ${ask.user.name} should be done: ${ask.outcome} ${ask.message}`);
  }

  expectRefused(ask: Ask, ...codes: readonly string[]): void {
    this.expect(
      codes.includes(ask.outcome),
      `${ask.call} by ${ask.user.name} should be refused with ${codes.join(" or ")}, and was ${ask.outcome} ${ask.message}`,
    );
  }

  /** Hosts on which a process of it runs. */
  running(id: ContainerId): readonly string[] {
    return this.world.hosts.filter((host) => host.machine.bundles.get(id)?.state === "running").map(({ name }) => name);
  }

  starts(id: ContainerId): number {
    return this.world.runs.filter(({ container }) => container === id).length;
  }

  /** Both directions between each of the one and each of the other. */
  cut(some: readonly SimulatedHost[], others: readonly SimulatedHost[]): () => void {
    const over = this.world.disturb();
    for (const a of some) for (const b of others) this.world.network.cut(a.peer, b.peer);
    for (const a of some) for (const b of others) this.world.network.cut(b.peer, a.peer);
    return () => {
      for (const a of some) for (const b of others) this.world.network.heal(a.peer, b.peer);
      for (const a of some) for (const b of others) this.world.network.heal(b.peer, a.peer);
      over();
    };
  }

  async heal(): Promise<void> {
    this.world.healAll();
    await this.world.untilConnected(60_000);
  }

  async until(holds: () => boolean, what: string, limitMs = 30_000): Promise<void> {
    for (const endMs = this.world.timeline.nowMs + limitMs; !holds(); ) {
      if (this.world.timeline.nowMs > endMs) return this.world.violate("story", `${what}: not within ${limitMs / 1_000} s`);
      await this.sleep(50);
    }
  }
}

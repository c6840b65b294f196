import type { ContainerSpecMessage, RequestOf } from "../../src/api/client-messages.ts";
import type { ContainerId } from "../../src/base/index.ts";
import type { SeededRandom } from "./random.ts";
import type { User } from "./user.ts";
import type { World } from "./world.ts";

const MIB = 1024 ** 2;
const NAMES = ["web", "db", "cache", "job"];

/** What users do all the while: runs of all kinds, changes of what they know, reads, and the same token twice. */
export class Workload {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #pending = new Set<Promise<unknown>>();
  readonly #known: ContainerId[] = [];

  constructor(world: World, random: SeededRandom) {
    this.#world = world;
    this.#random = random;
  }

  /** One user at work. */
  async run(user: User, untilMs: number, meanGapMs: number): Promise<void> {
    while (this.#world.timeline.nowMs < untilMs) {
      await this.#world.sleep(this.#random.between(meanGapMs / 4, (7 * meanGapMs) / 4));
      if (this.#world.timeline.nowMs < untilMs) this.#begin(user);
    }
  }

  /** Resolves when everything that was asked has an answer. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  #begin(user: User): void {
    const doing = this.#act(user).finally(() => this.#pending.delete(doing));
    this.#pending.add(doing);
  }

  async #act(user: User): Promise<unknown> {
    const dice = this.#random.below(100);
    const endpoints = this.#endpoints();
    if (user.role === "viewer") return user.ask(endpoints, dice < 30 ? "ListContainers" : "ListHosts", {});
    if (dice < 45 || this.#known.length === 0) return this.#place(user, endpoints);
    const containers = this.#targets();
    if (dice < 57) return user.ask(endpoints, "Stop", { containers });
    if (dice < 67) return user.ask(endpoints, "Start", { containers });
    if (dice < 75) return user.ask(endpoints, "Restart", { containers });
    if (dice < 90) return user.ask(endpoints, "Remove", { containers, force: this.#random.chance(0.8) });
    return user.ask(endpoints, "ListContainers", { all: true });
  }

  async #place(user: User, endpoints: readonly string[]): Promise<unknown> {
    const request: RequestOf<"Run"> = { spec: this.#spec() };
    if (this.#random.chance(0.12)) {
      // The same token at two peers, nearly at once.
      const token = user.newToken();
      const first = user.ask(endpoints, "Run", request, token);
      await this.#world.sleep(this.#random.below(200));
      const second = user.ask([...endpoints].reverse(), "Run", request, token);
      const [ask] = await Promise.all([first, second]);
      this.#remember(ask.id);
      return undefined;
    }
    const ask = await user.ask(endpoints, "Run", request);
    this.#remember(ask.id);
    return undefined;
  }

  #remember(id: ContainerId | undefined): void {
    if (id === undefined) return;
    this.#known.push(id);
    if (this.#known.length > 24) this.#known.shift();
  }

  #targets(): readonly ContainerId[] {
    const count = this.#random.chance(0.2) ? 2 : 1;
    return [...new Set(Array.from({ length: count }, () => this.#random.pick(this.#known)))].filter((id) => id !== undefined);
  }

  #endpoints(): readonly string[] {
    const all = this.#world.hosts.filter((host) => !host.retired && host.identity !== undefined).map(({ endpoint }) => endpoint);
    const count = this.#random.between(1, all.length);
    const chosen: string[] = [];
    while (chosen.length < count) chosen.push(...all.splice(this.#random.below(all.length), 1));
    return chosen;
  }

  #spec(): Partial<ContainerSpecMessage> {
    const random = this.#random;
    const program = random.pick(["sleep", "sleep", "sleep", "sleep", "sleep", "stubborn", "missing", "broken"]) ?? "sleep";
    const lastsMs = random.pick([0, 0, 0, random.between(200, 6_000), random.between(12_000, 20_000)]) ?? 0;
    const restart = random.pick(["no", "no", "on-failure", "always"]) ?? "no";
    return {
      image: random.pick(["alpine", "alpine", "busybox", "flaky1", "flaky2", "slow1", "missing"]) ?? "alpine",
      name: random.chance(0.3) ? (random.pick(NAMES) ?? "") : "",
      // What starts again and again ends seldom: else its phases never rest.
      command: [program, String(restart === "no" || lastsMs === 0 ? lastsMs : lastsMs + 12_000), random.chance(0.5) ? "0" : "1"],
      memoryBytes: (random.pick([64, 128, 256, 512, 1_024]) ?? 64) * MIB,
      diskBytes: (random.pick([64, 512, 2_048]) ?? 64) * MIB,
      cpuShares: 128,
      restart,
      removeWhenEnded: random.chance(0.1),
      stopTimeoutMs: random.pick([500, 2_000, 10_000]) ?? 500,
      host: random.chance(0.06) ? (random.pick(this.#world.hosts)?.name ?? "") : "",
    };
  }
}

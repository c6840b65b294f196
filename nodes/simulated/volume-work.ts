import type { ContainerSpecMessage } from "../../src/api/client-messages.ts";
import { isVolumeId, type VolumeId } from "../../src/base/index.ts";
import type { SeededRandom } from "./random.ts";
import type { User } from "./user.ts";
import type { World } from "./world.ts";

const MIB = 1024 ** 2;
const NAMES = ["data", "logs", "mail"];
const KNOWN_MAX = 12;

/** What users do with volumes all the while: makes them, runs containers on them, deletes one or several, while others do the same. */
export class VolumeWork {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #known: VolumeId[] = [];
  readonly #pending = new Set<Promise<unknown>>();

  constructor(world: World, random: SeededRandom) {
    this.#world = world;
    this.#random = random;
  }

  async run(user: User, untilMs: number, meanGapMs: number): Promise<void> {
    while (this.#world.timeline.nowMs < untilMs) {
      await this.#world.sleep(this.#random.between(meanGapMs / 4, (7 * meanGapMs) / 4));
      if (this.#world.timeline.nowMs >= untilMs) return;
      const doing = this.#act(user).finally(() => this.#pending.delete(doing));
      this.#pending.add(doing);
    }
  }

  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  async #act(user: User): Promise<unknown> {
    const dice = this.#random.below(100);
    const endpoints = this.#endpoints();
    if (dice < 30 || this.#known.length === 0) return this.#make(user, endpoints);
    if (dice < 70) return user.ask(endpoints, "Run", { spec: this.#spec() });
    if (dice < 88) return user.ask(endpoints, "DeleteVolumes", { volumes: this.#some(this.#random.chance(0.3) ? 3 : 1) });
    if (dice < 94) return user.ask(endpoints, "InspectVolumes", { volumes: this.#some(2) });
    return user.ask(endpoints, "ListVolumes", {});
  }

  async #make(user: User, endpoints: readonly string[]): Promise<void> {
    const name = this.#random.chance(0.4) ? (this.#random.pick(NAMES) ?? "data") : `v${this.#random.below(1_000_000)}`;
    const sizeBytes = (this.#random.pick([16, 64, 512, 3_000]) ?? 16) * MIB;
    const ask = await user.ask(endpoints, "CreateVolume", { name, sizeBytes });
    const id = ask.reply?.id ?? "";
    if (!isVolumeId(id)) return;
    this.#world.history.name(id, `v${this.#world.asks.indexOf(ask) + 1}`);
    this.#known.push(id);
    if (this.#known.length > KNOWN_MAX) this.#known.shift();
  }

  #some(count: number): VolumeId[] {
    return [...new Set(Array.from({ length: this.#random.between(1, count) }, () => this.#random.pick(this.#known)))].filter((id) => id !== undefined);
  }

  #spec(): Partial<ContainerSpecMessage> {
    const random = this.#random;
    const volumes = this.#some(2).map((volume, at) => ({ volume, path: `/v${at}`, readOnly: random.chance(0.2) }));
    return {
      image: random.pick(["alpine", "alpine", "flaky1", "slow1"]) ?? "alpine",
      command: ["sleep", String(random.pick([0, random.between(200, 4_000), 15_000]) ?? 0), "0"],
      memoryBytes: 64 * MIB,
      diskBytes: 64 * MIB,
      cpuShares: 64,
      restart: random.pick(["no", "no", "always"]) ?? "no",
      removeWhenEnded: random.chance(0.4),
      stopTimeoutMs: 500,
      volumes,
      host: random.chance(0.15) ? (random.pick(this.#world.hosts)?.name ?? "") : "",
    };
  }

  #endpoints(): readonly string[] {
    const all = this.#world.hosts.filter((host) => !host.retired && host.identity !== undefined).map(({ endpoint }) => endpoint);
    return this.#random.chance(0.5) ? all : all.reverse();
  }
}

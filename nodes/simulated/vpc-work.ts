import type { ContainerSpecMessage } from "../../src/api/client-messages.ts";
import { type ContainerId, isVpcId, type VpcId } from "../../src/base/index.ts";
import type { SeededRandom } from "./random.ts";
import type { User } from "./user.ts";
import type { World } from "./world.ts";

const MIB = 1024 ** 2;
const NAMES = ["shop", "blog", "mail"];
const KNOWN_MAX = 4;
/** Small ones, so that addresses run out while hosts are cut off; the same again and again, as two teams choose them. */
const CIDRS = ["10.0.0.0/29", "10.0.0.0/28", "10.0.0.0/27", "10.7.0.0/24"];

/** What users do with VPCs all the while: make them, run containers in them until they are full, delete one or several. */
export class VpcWork {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #known: VpcId[] = [];
  readonly #containers: ContainerId[] = [];
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
    if (dice < 8 || this.#known.length < 2) return this.#make(user, endpoints);
    if (dice < 64 || this.#containers.length === 0) return this.#place(user, endpoints);
    if (dice < 82) return user.ask(endpoints, "Remove", { containers: this.#some(this.#containers, 2), force: true });
    if (dice < 88) return user.ask(endpoints, "Restart", { containers: this.#some(this.#containers, 1) });
    if (dice < 94) return user.ask(endpoints, "DeleteVpcs", { vpcs: this.#some(this.#known, this.#random.chance(0.3) ? 3 : 1) });
    return user.ask(endpoints, "InspectVpcs", { vpcs: this.#some(this.#known, 2) });
  }

  async #make(user: User, endpoints: readonly string[]): Promise<void> {
    const name = this.#random.chance(0.4) ? (this.#random.pick(NAMES) ?? "shop") : `n${this.#random.below(1_000_000)}`;
    const ask = await user.ask(endpoints, "CreateVpc", { name, cidr: this.#random.pick(CIDRS) ?? "10.0.0.0/29", zone: this.#random.chance(0.8) ? "a" : "" });
    const id = ask.reply?.id ?? "";
    if (!isVpcId(id)) return;
    this.#world.history.name(id, `n${this.#world.asks.indexOf(ask) + 1}`);
    this.#known.push(id);
    if (this.#known.length > KNOWN_MAX) this.#known.shift();
  }

  async #place(user: User, endpoints: readonly string[]): Promise<void> {
    const ask = await user.ask(endpoints, "Run", { spec: this.#spec() });
    if (ask.id === undefined) return;
    this.#containers.push(ask.id);
    if (this.#containers.length > 3 * KNOWN_MAX) this.#containers.shift();
  }

  #some<T>(from: readonly T[], count: number): T[] {
    return [...new Set(Array.from({ length: this.#random.between(1, count) }, () => this.#random.pick(from)))].filter((one) => one !== undefined);
  }

  #spec(): Partial<ContainerSpecMessage> {
    const random = this.#random;
    return {
      image: "alpine",
      command: ["sleep", String(random.pick([0, 0, random.between(200, 4_000), 15_000]) ?? 0), "0"],
      memoryBytes: 32 * MIB,
      diskBytes: 32 * MIB,
      cpuShares: 64,
      restart: random.pick(["no", "no", "always"]) ?? "no",
      removeWhenEnded: random.chance(0.4),
      stopTimeoutMs: 500,
      vpc: random.pick(this.#known) ?? "",
      host: random.chance(0.15) ? (random.pick(this.#world.hosts)?.name ?? "") : "",
    };
  }

  #endpoints(): readonly string[] {
    const all = this.#world.hosts.filter((host) => !host.retired && host.identity !== undefined).map(({ endpoint }) => endpoint);
    return this.#random.chance(0.5) ? all : all.reverse();
  }
}

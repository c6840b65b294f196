import { base64Url } from "../../src/identity/index.ts";
import type { SimulatedHost } from "./host.ts";
import type { SeededRandom } from "./random.ts";
import type { User } from "./user.ts";
import type { World } from "./world.ts";

/** What an admin does now and then while things go wrong: hosts join and go, keys come and are revoked. */
export class Administration {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #temporary: User[] = [];
  readonly #hostsMax: number;

  constructor(world: World, random: SeededRandom, hostsMax: number) {
    this.#world = world;
    this.#random = random;
    this.#hostsMax = hostsMax;
  }

  async run(untilMs: number, meanGapMs: number): Promise<void> {
    while (this.#world.timeline.nowMs < untilMs) {
      await this.#world.sleep(this.#random.between(meanGapMs / 4, (7 * meanGapMs) / 4));
      if (this.#world.timeline.nowMs >= untilMs) return;
      const dice = this.#random.below(100);
      if (dice < 35) await this.#join();
      else if (dice < 50) await this.#remove();
      else if (dice < 75) await this.#grant();
      else await this.#revoke();
    }
  }

  #someHost(): SimulatedHost | undefined {
    return this.#random.pick(this.#world.hosts.filter((host) => host.life !== undefined && !host.retired && !this.#world.liars.has(host.peer)));
  }

  async #join(): Promise<void> {
    const at = this.#someHost();
    if (at === undefined || this.#world.hosts.length >= this.#hostsMax) return;
    // For a moment it answers that it is starting.
    this.#world.disturb()();
    // Refused or lost: the next one comes some time.
    await this.#world.join(this.#random.pick(["a", "b"]) ?? "a", at).catch(() => undefined);
  }

  /** Its machine is switched off first, as people do; the removal names what counts. */
  async #remove(): Promise<void> {
    const at = this.#someHost();
    const candidates = this.#world.hosts.filter((host) => !host.retired && host !== at && host.identity !== undefined && !this.#world.liars.has(host.peer));
    const host = this.#random.pick(candidates);
    if (at === undefined || host === undefined || candidates.length < 3) return;
    const over = this.#world.disturb();
    host.cutPower();
    host.retired = true;
    const { admin } = this.#world;
    const listed = await admin.ask([at.endpoint], "ListHosts", {});
    const found = listed.reply?.hosts.find(({ id }) => id === host.peer);
    await admin.ask([at.endpoint], "RemoveHost", {
      host: host.peer,
      force: true,
      countsToMajor: Math.max(1, found?.lastMajor ?? 1),
      countsToMinor: Math.max(1, found?.lastMinor ?? 1),
      allCertificates: true,
    });
    over();
  }

  async #grant(): Promise<void> {
    const at = this.#someHost();
    if (at === undefined) return;
    const user = await this.#world
      .newUser(`tmp${this.#temporary.length + 1}`, this.#random.pick(["operator", "viewer", "admin"] as const) ?? "viewer", at)
      .catch(() => undefined);
    if (user !== undefined) this.#temporary.push(user);
  }

  async #revoke(): Promise<void> {
    const at = this.#someHost();
    const user = this.#temporary.shift();
    if (at === undefined || user === undefined) return;
    const asked = await this.#world.admin.ask([at.endpoint], "RevokeKey", { key: user.keyId, keepAll: this.#random.chance(0.5) });
    if (asked.outcome !== "done") return;
    // By then everybody whom it can reach has heard of it; who has is not to act on it.
    await this.#world.sleep(500);
    const host = this.#someHost();
    const known = host?.life?.core.view.keys().some(({ keyId, state }) => keyId === user.keyId && state !== "live") === true;
    if (host === undefined || !known) return;
    const made = this.#world.keys.make(this.#random);
    const tries = [
      await user.ask([host.endpoint], "ListContainers", {}),
      await user.ask([host.endpoint], "CreateKey", { publicKey: base64Url(made.signer.publicKey), role: "admin", name: "door" }),
    ];
    for (const ask of tries)
      if (ask.outcome === "done") this.#world.violate("power", `${ask.call} with the revoked key of ${user.name} was done at ${host.name}`);
  }
}

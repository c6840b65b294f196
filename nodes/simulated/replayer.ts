import type { SeenRequest } from "./api.ts";
import type { SeededRandom } from "./random.ts";
import type { World } from "./world.ts";

/** Signed requests that nobody may ever act on a second time; reads change nothing and answer nothing new. */
const CAPTURED_MAX = 64;

/** Somebody on the wire: sends users' requests again, as they were and changed, to the same peer and to others. */
export class Replayer {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #captured: SeenRequest[] = [];

  constructor(world: World, random: SeededRandom) {
    this.#world = world;
    this.#random = random;
    world.watchers.onRequest.push((request) => {
      if (!request.head.includes("signature-input")) return;
      this.#captured.push(request);
      if (this.#captured.length > CAPTURED_MAX) this.#captured.splice(this.#random.below(this.#captured.length), 1);
    });
  }

  async run(untilMs: number, everyMs: number): Promise<void> {
    while (this.#world.timeline.nowMs < untilMs) {
      await this.#world.sleep(this.#random.between(everyMs / 2, (3 * everyMs) / 2));
      await this.once();
    }
  }

  /** Plays one request back in one way; anything but a refusal is a violation. */
  async once(): Promise<void> {
    const request = this.#random.pick(this.#captured);
    if (request === undefined) return;
    const { head, body, path } = request;
    const changed = Buffer.from(body);
    if (changed.length > 0) changed[this.#random.below(changed.length)] = 0x20 + this.#random.below(90);
    const digit = (text: string): string => text.replace(/created=(\d+)/, (_all, created: string) => `created=${Number(created) + 1}`);
    const ways: readonly (readonly [string, string, string, string, Uint8Array])[] = [
      ["as it was", request.host, path, head, body],
      ["to another peer", this.#random.pick(this.#world.hosts.filter(({ name }) => name !== request.host))?.name ?? request.host, path, head, body],
      ["as another call", request.host, path.endsWith("Stop") ? "/cc.v1.Cloud/Remove" : "/cc.v1.Cloud/Stop", head, body],
      ["with a changed body", request.host, path, head, changed],
      ["with another time", request.host, path, digit(head), body],
    ];
    const [how, host, to, headers, bytes] = this.#random.pick(ways) ?? [];
    if (how === undefined || host === undefined || to === undefined || headers === undefined || bytes === undefined) return;
    if (how === "with a changed body" && Buffer.compare(bytes, body) === 0) return;
    const copy = { isFirst: false };
    const { status, code } = await this.#world.api.exchange("eavesdropper", host, to, headers, bytes, () => {
      if (how !== "as it was") return;
      // What its peer refused (its clock was wrong, or it did not know the key yet) has used no nonce up, nor what it had not
      // let in when it died: one copy may still be. Not so while the user's own is underway: a copy that comes before it
      // takes the answer away.
      const hasDied = this.#world.hosts.every(({ life }) => life !== request.life);
      copy.isFirst = request.fate === "refused" || (request.fate === "underway" && hasDied);
      request.fate = "let in";
    });
    this.#world.history.add("wire", `${path.slice(13)} to ${request.host} played back ${how}: ${code === "" ? status : code}`);
    if (status === 200 && !this.#isForgotten(request) && !copy.isFirst)
      this.#world.violate("once", `${path.slice(13)}, made at ${request.host} and played back ${how} at ${host}, was acted on`);
  }

  /** Of an act that its disk lost its peer knows by the time only: not where time itself goes back, or the disk did. */
  #isForgotten({ host, head }: SeenRequest): boolean {
    const nonce = /nonce="([^"]+)"/.exec(head)?.[1] ?? "";
    const isLost = this.#world.hosts.some(({ name, disk }) => name === host && disk.actsLost.has(nonce));
    return isLost && this.#world.hosts.some(({ time, disk }) => time.wentBack || disk.losses > 0);
  }
}

import type { ReplyOf, RequestOf } from "../../../src/api/client-messages.ts";
import type { PeerId, VolumeId } from "../../../src/base/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { ProcessRun } from "../machine.ts";
import type { Ask } from "../user.ts";
import type { World } from "../world.ts";
import { unsettledIds } from "./converged.ts";
import { isLiar, liveHosts } from "./reach.ts";

/** A file system that a container of a volume has had under it. */
type Used = { readonly host: SimulatedHost; readonly birth: number; readonly losses: number };

/** What must hold of volumes in every history: one file system each, nobody loses it, deleted is deleted. */
export class VolumeWatch {
  readonly #world: World;
  readonly #used = new Map<VolumeId, Used>();
  /** When a user was told that it is gone. */
  readonly #deleted = new Map<VolumeId, number>();

  constructor(world: World) {
    this.#world = world;
    world.watchers.onStart.push((run) => this.#onStart(run));
    world.watchers.onAskEnd.push((ask) => this.#onEnd(ask));
  }

  /** After healing. */
  check(): void {
    const world = this.#world;
    const unsettled = unsettledIds(world);
    for (const host of liveHosts(world)) {
      const { view } = host.life.core;
      for (const id of this.#deleted.keys()) {
        if (view.volume(id)?.gone === false && !isLost(world))
          world.violate("volume-gone", `${world.history.nameOf(id)} was deleted and is back at ${host.name}`);
        if (host.machine.volumeFiles().has(id) && !isLost(world))
          world.violate("volume-gone", `${world.history.nameOf(id)} was deleted and lies at ${host.name} still`);
      }
      for (const [id, used] of this.#used) {
        if (this.#deleted.has(id) || used.host !== host || used.losses !== host.disk.losses || this.#mayBeDeleted(id)) continue;
        const file = host.machine.volumeFiles().get(id);
        if (file?.birth !== used.birth) world.violate("volume-kept", `${world.history.nameOf(id)} was used at ${host.name} and its file system is not there`);
      }
      const held = view.volumes().filter((volume) => !volume.gone && volume.holder === host.peer && volume.state === "mounted");
      for (const { id } of held) {
        if (host.disk.losses === 0 && !host.machine.volumeFiles().has(id) && unsettled.size === 0)
          world.violate("volume-kept", `${host.name} says that it has ${world.history.nameOf(id)}, and has not`);
      }
    }
    this.#checkTokens();
  }

  #onStart(run: ProcessRun): void {
    const world = this.#world;
    const host = world.hosts.find(({ name }) => name === run.host);
    if (host === undefined || (host.identity !== undefined && world.liars.has(host.peer))) return;
    for (const id of run.volumes) {
      const name = world.history.nameOf(id);
      const birth = host.machine.volumeFiles().get(id)?.birth ?? Number.NaN;
      const used = this.#used.get(id);
      const deletedAtMs = this.#deleted.get(id);
      if (deletedAtMs !== undefined && deletedAtMs < world.timeline.nowMs && host.disk.losses === 0)
        world.violate("volume-gone", `${world.history.nameOf(run.container)} starts at ${run.host} with ${name}, which was deleted`);
      if (used !== undefined && (used.host !== host || used.birth !== birth) && used.losses === used.host.disk.losses && host.disk.losses === 0)
        world.violate(
          "one-file-system",
          `${world.history.nameOf(run.container)} starts at ${run.host} with another ${name} than was used at ${used.host.name}`,
        );
      this.#used.set(id, { host, birth, losses: host.disk.losses });
      const others = world.runs.filter((other) => other.host !== run.host && other.endedAtMs === undefined && other.volumes.includes(id));
      if (others.length > 0 && !isLost(world)) world.violate("one-file-system", `${name} is in use at ${run.host} and at ${others[0]?.host}`);
    }
  }

  #onEnd(ask: Ask): void {
    if (ask.call !== "DeleteVolumes") return;
    const { volumes = [] } = ask.request as RequestOf<"DeleteVolumes">;
    const reply = ask.reply as ReplyOf<"DeleteVolumes"> | undefined;
    if (reply === undefined) return;
    const refusals = reply.errors.filter(({ item, code }) => code !== "OUTCOME_UNKNOWN" && code !== "TIMEOUT" && this.#isHonestlyHeld(item));
    const isMixed = reply.done.length > 0 && refusals.length > 0;
    if (isMixed && !this.#world.wasDisturbed(ask.startedAtMs - 10_000, ask.endedAtMs ?? 0))
      this.#world.violate("volume-gone", `of ${volumes.length} volumes ${reply.done.length} were deleted, the others not: ${words(refusals)}`);
    // Not known to whom could be asked, and some could not be: the answer says so. That nobody knows it may be a liar's word.
    const mayBeLie = this.#world.hosts.some((host) => isLiar(this.#world, host) && ask.endpoints.includes(host.endpoint));
    const isTold = reply.notAsked.length === 0 && !mayBeLie;
    const known = reply.done.filter((id) => isTold || reply.wrote.some(({ key }) => key.endsWith(`/${id}`)));
    const wroteAll = reply.wrote.every(({ host }) => !this.#world.liars.has(host as PeerId));
    for (const id of known) if (wroteAll) this.#deleted.set(id as VolumeId, ask.endedAtMs ?? 0);
    for (const id of known)
      for (const run of this.#world.runs)
        if (run.endedAtMs === undefined && run.volumes.includes(id as VolumeId) && !isLost(this.#world))
          this.#world.violate("volume-gone", `${this.#world.history.nameOf(id)} was deleted under ${this.#world.history.nameOf(run.container)}`);
  }

  /** A liar may promise its part of a delete and then not do it. */
  #isHonestlyHeld(item: string): boolean {
    const holders = liveHosts(this.#world).flatMap(({ life }) => life.core.view.volume(item as VolumeId)?.holder ?? []);
    return !holders.some((holder) => this.#world.liars.has(holder));
  }

  /** Somebody asked for it and was told that nobody knows whether it was done. */
  #mayBeDeleted(id: VolumeId): boolean {
    return this.#world.asks.some((ask) => ask.call === "DeleteVolumes" && ((ask.request as RequestOf<"DeleteVolumes">).volumes ?? []).includes(id));
  }

  /** One token is one volume, wherever it was tried. */
  #checkTokens(): void {
    for (const { name, life } of liveHosts(this.#world)) {
      const byToken = Map.groupBy(life.core.view.volumes(), ({ keyId, token }) => `${keyId} ${token}`);
      for (const made of byToken.values()) {
        const tries = this.#world.asks.filter((ask) => ask.call === "CreateVolume" && ask.token === made[0]?.token);
        // The same token by hand at two peers at once, in a cut, makes two: the client's own retries never do.
        if (made.length > tries.length) this.#world.violate("one-volume", `${made.length} volumes of one token at ${name}`);
      }
    }
  }
}

const words = (errors: readonly { readonly code: string; readonly message: string }[]): string =>
  errors.map(({ code, message }) => `${code}: ${message}`).join("; ");
const isLost = (world: World): boolean => world.hosts.some((host) => host.disk.losses > 0 || host.retired);

import { asCcError, type Logger, type PeerId, type VolumeId } from "../base/index.ts";
import type { View } from "../state/index.ts";
import type { VolumeDriver } from "./driver.ts";

type Parts = {
  readonly self: PeerId;
  readonly view: Pick<View, "volume">;
  readonly files: Pick<VolumeDriver, "list" | "remove">;
  readonly log: Logger;
};

/** What lies on this host's disk beside what it holds: deleted volumes' files are cleared, unknown ones are named and left. */
export class LeftoverFiles {
  readonly #parts: Parts;
  readonly #lying = new Set<VolumeId>();
  readonly #named = new Set<VolumeId>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  has(id: VolumeId): boolean {
    return this.#lying.has(id);
  }

  noteMade(id: VolumeId): void {
    this.#lying.add(id);
  }

  /** Looks at the disk, then clears. `isBusy`: its files are being made at this moment. */
  async look(isBusy: (id: VolumeId) => boolean): Promise<void> {
    const { files, view, log } = this.#parts;
    const found = (await files.list()).map(({ id }) => id);
    this.#lying.clear();
    for (const id of found) this.#lying.add(id);
    await this.clear(found, isBusy);
    for (const id of found) {
      if (view.volume(id) !== undefined || this.#named.has(id)) continue;
      this.#named.add(id);
      log.warn({ volume: id }, "a volume lies on this host that no record knows; it is left as it is");
    }
  }

  /** Of these, what is deleted, or was handed to another host before it was ever used, goes from this disk. */
  async clear(ids: readonly VolumeId[], isBusy: (id: VolumeId) => boolean): Promise<void> {
    const { self, view, files, log } = this.#parts;
    for (const id of ids) {
      const volume = view.volume(id);
      if (volume === undefined || !this.#lying.has(id) || isBusy(id)) continue;
      const own = volume.holdings.find(({ holder }) => holder === self);
      if (!(volume.gone && volume.holder === self) && own?.state !== "handed") continue;
      try {
        await files.remove(id);
        this.#lying.delete(id);
      } catch (thrown) {
        // A container that is being removed has it still; the next look comes back to it.
        log.warn({ volume: id, code: asCcError(thrown).code }, "a deleted volume could not be cleared yet");
      }
    }
  }
}

import { mkdir, readdir, rm, rmdir, writeFile } from "node:fs/promises";
import { type ContainerId, isContainerId, isVolumeId, type VolumeId } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import type { Paths } from "./paths.ts";

/**
 * Who has which volume: files beside the mounts, so that the peer that returns knows, and nobody does after a reboot.
 * Cached: this process is the only writer.
 */
export class VolumeUsers {
  readonly #paths: Paths;
  readonly #users = new Map<VolumeId, Set<ContainerId>>();

  private constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** Reads them. Gives also the volumes of which a folder lies there that nobody has. */
  static async open(paths: Paths): Promise<{ readonly users: VolumeUsers; readonly unused: readonly VolumeId[] }> {
    const users = new VolumeUsers(paths);
    const unused: VolumeId[] = [];
    for (const id of (await readdir(paths.runDir)).filter(isVolumeId)) {
      const found = (await readdir(paths.run(id))).filter(isContainerId);
      if (found.length === 0) unused.push(id);
      else users.#users.set(id, new Set(found));
    }
    return { users, unused };
  }

  of(id: VolumeId): readonly ContainerId[] {
    return [...(this.#users.get(id) ?? [])].toSorted();
  }

  volumes(): readonly VolumeId[] {
    return [...this.#users.keys()];
  }

  volumesOf(user: ContainerId): readonly VolumeId[] {
    return [...this.#users].flatMap(([id, users]) => (users.has(user) ? [id] : []));
  }

  all(): readonly ContainerId[] {
    return [...new Set([...this.#users.values()].flatMap((users) => [...users]))].toSorted();
  }

  /** Before anything is mounted for it. */
  async add(id: VolumeId, user: ContainerId): Promise<void> {
    await mkdir(this.#paths.run(id), { recursive: true, mode: 0o700 });
    await writeFile(this.#paths.user(id, user), "");
    const users = this.#users.get(id) ?? new Set();
    this.#users.set(id, users.add(user));
  }

  /** After what was mounted for it alone is gone. */
  async drop(id: VolumeId, user: ContainerId): Promise<void> {
    await rm(this.#paths.user(id, user), { force: true });
    const users = this.#users.get(id);
    users?.delete(user);
    if (users?.size !== 0) return;
    this.#users.delete(id);
    await this.clear(id);
  }

  async makeMountPoint(id: VolumeId): Promise<void> {
    await mkdir(this.#paths.mountPoint(id), { recursive: true, mode: 0o700 });
  }

  /** Takes the mount point away where nothing is mounted, and the folder where nobody has the volume. */
  async clear(id: VolumeId): Promise<void> {
    for (const folder of [this.#paths.mountPoint(id), this.#paths.run(id)]) {
      // Still mounted, or in use again: it stays.
      await rmdir(folder).catch((error: unknown) => {
        if (!["ENOENT", "EBUSY", "ENOTEMPTY"].includes(errorCode(error))) throw error;
      });
    }
  }
}

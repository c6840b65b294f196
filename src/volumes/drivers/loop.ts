import { existsSync } from "node:fs";
import { chmod, chown, mkdir, readdir, rename, rm, rmdir, stat, statfs, writeFile } from "node:fs/promises";
import {
  CcError,
  type Clock,
  type CommandOutcome,
  type CommandRunner,
  type ContainerId,
  isVolumeId,
  type Logger,
  type ShellHelper,
  sleep,
  type VolumeId,
} from "../../base/index.ts";
import { loopsOver, makeFolderDurably, mountsIn, removeFileDurably, sparseFile, syncFolder } from "../../host/index.ts";
import type { AttachedVolume, StoreRoom, VolumeDriver, VolumeOnHost, VolumeOwner, VolumeUsage } from "../driver.ts";
import { isWorthTrimming } from "../size.ts";
import { nextForFileSystem } from "../superblock.ts";
import { absentIsFine, asNoRoom, superblockOf, syncFile } from "./loop/files.ts";
import { Paths } from "./loop/paths.ts";
import { awaitScript, BUSY_EXIT, checkCommand, formatScript, mountScript, unmountScript } from "./loop/scripts.ts";
import { VolumeUsers } from "./loop/users.ts";

export type LoopVolumesDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly commands: CommandRunner;
  /** A kept shell of its own: what waits here holds up no container without volumes. */
  readonly shell: ShellHelper;
};

export type LoopVolumesSettings = {
  /** Kept over reboots: the files of the file systems. Absolute. */
  readonly dataDir: string;
  /** Gone with a reboot (tmpfs): mount points. Absolute. */
  readonly runDir: string;
};

const SCRIPT_MS_MAX = 60_000;
/** mkfs of 16 TiB takes 5 s. */
const FORMAT_MS_MAX = 120_000;
const CHECK_MS_MAX = 3_600_000;
const TRIM_MS_MAX = 600_000;
const STOPPED = "the disk below it failed or was full, and what could not be written was reported and dropped";
const FREED_TRIES = 20;
const FREED_WAIT_MS = 50;

/** Opens the driver: finds what is mounted and who has it, and takes down what nobody has. One driver per pair of folders. */
export async function openLoopVolumes(deps: LoopVolumesDeps, settings: LoopVolumesSettings): Promise<VolumeDriver> {
  const paths = new Paths(settings.dataDir, settings.runDir);
  await makeFolderDurably(paths.dataDir);
  await mkdir(paths.runDir, { recursive: true, mode: 0o700 });
  const { users, unused } = await VolumeUsers.open(paths);
  const volumes = new LoopVolumes(deps, paths, users);
  for (const id of [...users.volumes(), ...unused]) await volumes.awaitCommands(id);
  for (const id of unused) await volumes.putAway(id);
  return volumes;
}

class LoopVolumes implements VolumeDriver {
  readonly #deps: LoopVolumesDeps;
  readonly #paths: Paths;
  readonly #users: VolumeUsers;
  /** The last call for each volume; the next waits for its end. */
  readonly #last = new Map<VolumeId, Promise<unknown>>();

  constructor(deps: LoopVolumesDeps, paths: Paths, users: VolumeUsers) {
    this.#deps = deps;
    this.#paths = paths;
    this.#users = users;
  }

  async list(): Promise<readonly VolumeOnHost[]> {
    const ids = (await readdir(this.#paths.dataDir)).filter(isVolumeId).toSorted();
    return Promise.all(
      ids.map(async (id) => ({ id, formatted: false, sizeBytes: 0, allocatedBytes: 0, ...(await this.#file(id)), users: this.#users.of(id) })),
    );
  }

  create(id: VolumeId, sizeBytes: number): Promise<void> {
    return this.#inTurn(id, async () => {
      const file = await this.#file(id);
      if (file?.sizeBytes === sizeBytes) return;
      if (file !== undefined) throw new CcError("CONFLICT", `volume ${id} has ${file.sizeBytes} bytes on this host, not ${sizeBytes}; it is left as it is`);
      const { folder, image, freshImage, fresh } = this.#pathsOf(id);
      await makeFolderDurably(folder);
      // Not the file of a format that was cut off: its mkfs may still be at it.
      await rm(freshImage, { force: true });
      try {
        await sparseFile(freshImage, sizeBytes);
        this.#expect(await this.#script(formatScript(folder, freshImage), FORMAT_MS_MAX), id, "cannot be formatted");
        await syncFile(freshImage);
      } catch (error) {
        await rm(freshImage, { force: true });
        throw asNoRoom(error, id);
      }
      await writeFile(fresh, "");
      await rename(freshImage, image);
      await syncFolder(folder);
    });
  }

  attach(id: VolumeId, user: ContainerId): Promise<AttachedVolume> {
    return this.#inTurn(id, async () => {
      const { folder, image, fresh, mountPoint } = this.#pathsOf(id);
      if (!existsSync(image)) throw new CcError("NOT_FOUND", `volume ${id} has no file system on this host`);
      const had = this.#users.of(id);
      await this.#users.add(id, user);
      try {
        if (await this.#isStopped(id)) await this.#restart(id, user, had);
        if (!(await this.#isMounted(id))) await this.#mount(id, folder, image);
        if (await this.#isStopped(id)) throw new CcError("CONTAINER_FAILED", `volume ${id} takes no writes: ${STOPPED}`);
        // Programs that want an empty folder (PostgreSQL's initdb) take it for somebody's data.
        if (existsSync(fresh)) await rmdir(`${mountPoint}/lost+found`).catch(absentIsFine);
      } catch (error) {
        if (!had.includes(user)) await this.#giveBack(id, user);
        throw error;
      }
      return { mountPoint, fresh: existsSync(fresh) };
    });
  }

  takeOwner(id: VolumeId, { uid, gid, mode }: VolumeOwner): Promise<void> {
    return this.#inTurn(id, async () => {
      const { fresh, mountPoint } = this.#pathsOf(id);
      if (!existsSync(fresh)) return;
      if (!(await this.#isMounted(id))) throw new CcError("INTERNAL", `volume ${id} is not attached`);
      await chown(mountPoint, uid, gid);
      await chmod(mountPoint, mode);
      await syncFolder(mountPoint);
      await removeFileDurably(fresh);
    });
  }

  async release(user: ContainerId): Promise<void> {
    for (const id of this.#users.volumesOf(user)) await this.#inTurn(id, () => this.#giveBack(id, user));
  }

  users(): readonly ContainerId[] {
    return this.#users.all();
  }

  remove(id: VolumeId): Promise<void> {
    return this.#inTurn(id, async () => {
      const { folder, image } = this.#pathsOf(id);
      const users = this.#users.of(id);
      if (users.length > 0) throw new CcError("IN_USE", `volume ${id} is in use by ${users.join(", ")}; nothing was deleted`);
      if (!existsSync(folder)) return;
      if (!(await this.#unmount(id))) throw new CcError("IN_USE", `volume ${id} is mounted and in use by something on the host; nothing was deleted`);
      await rm(image, { force: true });
      await rm(folder, { recursive: true, force: true });
      await syncFolder(this.#paths.dataDir);
    });
  }

  async usage(id: VolumeId): Promise<VolumeUsage | undefined> {
    const file = await this.#file(id);
    if (file === undefined) return undefined;
    const { sizeBytes, allocatedBytes } = file;
    if (!(await this.#isMounted(id))) return { sizeBytes, allocatedBytes, usedBytes: undefined };
    const inside = await statfs(this.#paths.mountPoint(id));
    return { sizeBytes, allocatedBytes, usedBytes: (inside.blocks - inside.bfree) * inside.bsize };
  }

  trim(id: VolumeId): Promise<void> {
    return this.#inTurn(id, async () => {
      if (await this.#isMounted(id)) await this.#trim(id);
    });
  }

  async room(): Promise<StoreRoom> {
    const { bavail, blocks, bsize } = await statfs(this.#paths.dataDir);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  /** A command that the peer before had begun ends first: what is mounted now may be gone in a moment, and the other way round. */
  async awaitCommands(id: VolumeId): Promise<void> {
    const folder = this.#paths.folder(id);
    if (!existsSync(folder)) return;
    const { exitCode } = await this.#script(awaitScript(folder));
    if (exitCode !== 0) this.#deps.logger.warn({ volume: id }, "a command of an earlier peer is still at work on a volume");
  }

  /** Unmounts what nobody has: left by a peer that was killed. */
  putAway(id: VolumeId): Promise<void> {
    return this.#inTurn(id, async () => {
      await this.#unmount(id);
    });
  }

  async #giveBack(id: VolumeId, user: ContainerId): Promise<void> {
    if (this.#users.of(id).every((other) => other === user)) {
      const usage = await this.usage(id);
      if (usage !== undefined && isWorthTrimming(usage))
        await this.#trim(id).catch((error: unknown) => this.#deps.logger.warn({ volume: id, error }, "a volume's free space could not be given back"));
      if (!(await this.#unmount(id)))
        this.#deps.logger.warn(
          { volume: id },
          "something on the host still uses a volume that no container has; it stays mounted until the next start of the peer",
        );
    }
    await this.#users.drop(id, user);
  }

  async #mount(id: VolumeId, folder: string, image: string): Promise<void> {
    let checked = false;
    await this.#users.makeMountPoint(id);
    // Whoever holds its loop device has it mounted: then there is nothing to check.
    if ((await loopsOver(image)).length === 0 && nextForFileSystem(await superblockOf(image)) === "check") {
      await this.#check(id, folder, image);
      checked = true;
    }
    const mount = (): Promise<CommandOutcome> => this.#script(mountScript(folder, image, this.#paths.mountPoint(id)));
    let outcome = await mount();
    if (outcome.exitCode !== 0 && outcome.exitCode !== BUSY_EXIT && !checked) {
      await this.#check(id, folder, image);
      outcome = await mount();
    }
    this.#expect(outcome, id, "cannot be mounted", /wrong fs type|bad superblock|needs cleaning|corrupt/i.test(outcome.stdout) ? "VOLUME_DAMAGED" : "INTERNAL");
  }

  /** Puts right what can be put right without losing anything. */
  async #check(id: VolumeId, folder: string, image: string): Promise<void> {
    this.#deps.logger.warn({ volume: id }, "a volume's file system was not left clean and is checked");
    const { exitCode, stdout, stderr } = await this.#deps.commands.run(checkCommand(folder, image), { timeoutMs: CHECK_MS_MAX });
    if (exitCode === BUSY_EXIT) this.#expect({ exitCode, stdout, stderr }, id, "cannot be checked");
    if (exitCode < 4) return;
    const said = `${stdout}${stderr}`.replaceAll(/\s+/g, " ").trim();
    throw new CcError(
      "VOLUME_DAMAGED",
      `the file system of volume ${id} is damaged (${said.slice(-300)}); nothing was formatted: on its host, repair it with e2fsck ${image}`,
    );
  }

  /** Mounted, and the kernel has stopped writing to it after an error below. */
  async #isStopped(id: VolumeId): Promise<boolean> {
    const options = (await this.#mounted(id))?.fileSystemOptions ?? [];
    return options.includes("ro") || options.includes("emergency_ro");
  }

  async #restart(id: VolumeId, user: ContainerId, had: readonly ContainerId[]): Promise<void> {
    const others = had.filter((other) => other !== user);
    if (others.length === 0 && (await this.#unmount(id))) return;
    const who = others.length > 0 ? others.join(", ") : "what uses it on the host";
    throw new CcError("CONTAINER_FAILED", `volume ${id} takes no writes: ${STOPPED}; stop ${who}, and the next start puts it right`);
  }

  /** False: something on the host has files of it open. */
  async #unmount(id: VolumeId): Promise<boolean> {
    const { folder, image, mountPoint } = this.#pathsOf(id);
    if (await this.#isMounted(id)) {
      const outcome = await this.#script(unmountScript(folder, mountPoint));
      if (outcome.exitCode !== 0) return false;
    }
    // The kernel takes a mount away with its directory, in every mount namespace that has copied it.
    await this.#users.clear(id);
    // That of a container which just ended holds it for a moment.
    for (let tries = 1; (await loopsOver(image)).length > 0; tries += 1) {
      if (tries === FREED_TRIES) {
        this.#deps.logger.warn({ volume: id }, "another mount namespace holds a volume that is unmounted; it is freed when that ends");
        return true;
      }
      await sleep(this.#deps.clock, FREED_WAIT_MS);
    }
    return true;
  }

  async #trim(id: VolumeId): Promise<void> {
    const outcome = await this.#deps.commands.run(["fstrim", this.#paths.mountPoint(id)], { timeoutMs: TRIM_MS_MAX });
    if (outcome.exitCode !== 0) throw new CcError("INTERNAL", `volume ${id} cannot be trimmed: ${outcome.stderr.trim()}`);
  }

  async #mounted(id: VolumeId) {
    const point = this.#paths.mountPoint(id);
    return (await mountsIn(this.#paths.run(id))).findLast(({ path }) => path === point);
  }

  async #isMounted(id: VolumeId): Promise<boolean> {
    return (await this.#mounted(id)) !== undefined;
  }

  async #file(id: VolumeId): Promise<{ readonly formatted: true; readonly sizeBytes: number; readonly allocatedBytes: number } | undefined> {
    const found = await stat(this.#paths.image(id)).catch(absentIsFine);
    return found === undefined ? undefined : { formatted: true, sizeBytes: found.size, allocatedBytes: found.blocks * 512 };
  }

  #pathsOf(id: VolumeId) {
    const paths = this.#paths;
    return { folder: paths.folder(id), image: paths.image(id), freshImage: paths.freshImage(id), fresh: paths.fresh(id), mountPoint: paths.mountPoint(id) };
  }

  #script(script: string, timeoutMs = SCRIPT_MS_MAX): Promise<CommandOutcome> {
    return this.#deps.shell.run(script, { timeoutMs });
  }

  #expect(outcome: CommandOutcome, id: VolumeId, what: string, code: "INTERNAL" | "VOLUME_DAMAGED" = "INTERNAL"): void {
    if (outcome.exitCode === 0) return;
    if (outcome.exitCode === BUSY_EXIT) throw new CcError("TIMEOUT", `volume ${id} ${what} yet: a command of an earlier peer is still at work on it`);
    throw new CcError(code, `volume ${id} ${what}: ${outcome.stdout.trim().slice(-300)}`);
  }

  #inTurn<T>(id: VolumeId, work: () => Promise<T>): Promise<T> {
    const mine = (this.#last.get(id) ?? Promise.resolve()).then(work, work);
    this.#last.set(id, mine);
    const forget = (): void => {
      if (this.#last.get(id) === mine) this.#last.delete(id);
    };
    mine.then(forget, forget);
    return mine;
  }
}

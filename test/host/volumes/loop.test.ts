import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { asCcError, type Logger, silentLogger, type VolumeId } from "../../../src/base/index.ts";
import { systemClock } from "../../../src/host/index.ts";
import { createVolumeService, type VolumeDriver } from "../../../src/volumes/index.ts";
import { allocated, command, type LoopScene, loopsIn, makeLoopScene, writeSynced } from "./harness.ts";
import { newUser, newVolume } from "./new-ids.ts";
import { codeOf, describeVolumeDriver, MIB } from "./volume-contract.ts";

describeVolumeDriver("loop", () => makeLoopScene());

let scene: LoopScene;
let driver: VolumeDriver;
t.before(async () => {
  scene = await makeLoopScene();
  driver = await scene.open();
});
t.teardown(() => scene.close());

/** A volume of 32 MiB with one file `kept`, that nobody has. */
async function volumeWithFile(): Promise<VolumeId> {
  const [id, user] = [newVolume(), newUser()];
  await driver.create(id, 32 * MIB);
  await writeSynced((await driver.attach(id, user)).mountPoint, "kept", "text that must not be lost");
  await driver.release(user);
  return id;
}

async function kept(id: VolumeId): Promise<string | undefined> {
  const user = newUser();
  const { mountPoint } = await driver.attach(id, user);
  const text = await scene.read(mountPoint, "kept");
  await driver.release(user);
  return text;
}
const TEXT = "text that must not be lost";

async function writeZeros(path: string, bytes: number, chunk = 4 * MIB): Promise<void> {
  const file = await open(path, "w");
  try {
    for (let written = 0; written < bytes; written += chunk) await file.write(Buffer.alloc(Math.min(chunk, bytes - written), 1));
    await file.sync();
  } finally {
    await file.close();
  }
}

t.test("takes no room until it is written to, holds its size, and gives back what is deleted", async (t) => {
  const [id, user] = [newVolume(), newUser()];
  await driver.create(id, 1024 * MIB);
  t.ok((await allocated(scene.image(id))) < 4 * MIB, "1 GiB takes less than 4 MiB");
  const { mountPoint } = await driver.attach(id, user);
  await writeZeros(join(mountPoint, "big"), 100 * MIB);
  t.match(await driver.usage(id), { sizeBytes: 1024 * MIB });
  t.ok(((await driver.usage(id))?.usedBytes ?? 0) >= 100 * MIB);
  t.ok((await allocated(scene.image(id))) >= 100 * MIB);
  await rm(join(mountPoint, "big"));
  await command("sync", "-f", mountPoint);
  await driver.trim(id);
  t.ok((await allocated(scene.image(id))) < 40 * MIB, "trimmed");
  await writeZeros(join(mountPoint, "big"), 100 * MIB);
  await rm(join(mountPoint, "big"));
  await command("sync", "-f", mountPoint);
  await driver.release(user);
  t.ok((await allocated(scene.image(id))) < 40 * MIB, "and by itself when its last container ends");

  const small = newVolume();
  await driver.create(small, 16 * MIB);
  const inside = await driver.attach(small, user);
  const full: unknown = await writeZeros(join(inside.mountPoint, "big"), 20 * MIB, MIB).catch((error: unknown) => error);
  t.match(full, { code: "ENOSPC" }, "the size is its end");
  t.ok((await stat(join(inside.mountPoint, "big"))).size > 9 * MIB, "of 16 MiB most can be used");
  await writeSynced(inside.mountPoint, "big", "");
  await writeSynced(inside.mountPoint, "again", "x");
  await driver.release(user);
  await driver.remove(id);
  await driver.remove(small);
});

t.test("after a power cut: the journal is replayed, nothing synced is lost", async (t) => {
  const [id, user] = [newVolume(), newUser()];
  await driver.create(id, 32 * MIB);
  const { mountPoint } = await driver.attach(id, user);
  for (let n = 0; n < 50; n += 1) await writeSynced(mountPoint, `f${n}`, `${n}`);
  const cut = newVolume();
  await mkdir(join(scene.dataDir, cut));
  // What a disk has at this moment: the file system is in use, its journal full of what was synced.
  await copyFile(scene.image(id), scene.image(cut));
  t.match(await command("dumpe2fs", "-h", scene.image(cut)), /needs_recovery/, "the copy is one of a file system in use");
  const after = await driver.attach(cut, user);
  t.equal((await scene.names(after.mountPoint)).filter((name) => name.startsWith("f")).length, 50);
  t.equal(await scene.read(after.mountPoint, "f49"), "49");
  await driver.release(user);
  await driver.remove(id);
  await driver.remove(cut);
});

t.test("a file system with errors is mended where that loses nothing, else refused and left", async (t) => {
  const id = await volumeWithFile();
  await command("debugfs", "-w", "-R", "ssv state 2", scene.image(id));
  t.equal(await kept(id), TEXT, "marked by the kernel as faulty: checked, and mounted");
  t.match(await command("dumpe2fs", "-h", scene.image(id)), /state: +clean\n/);

  await command("debugfs", "-w", "-R", "clri <2>", scene.image(id));
  await command("debugfs", "-w", "-R", "ssv state 2", scene.image(id));
  const refused: unknown = await driver.attach(id, newUser()).catch((error: unknown) => error);
  t.match(refused, { code: "VOLUME_DAMAGED", message: /is damaged .*nothing was formatted.*e2fsck/ });
  t.ok((await readFile(scene.image(id))).includes(TEXT), "the file's text is still there for whoever repairs it");
  await driver.create(id, 32 * MIB);
  t.equal(await codeOf(driver.attach(id, newUser())), "VOLUME_DAMAGED", "asked to create it, it formats nothing");
  t.same(driver.users(), []);
  t.same(await scene.attached(), []);

  const garbage = await volumeWithFile();
  await writeFile(scene.image(garbage), Buffer.alloc(32 * MIB, "garbage"));
  t.equal(await codeOf(driver.attach(garbage, newUser())), "VOLUME_DAMAGED");
  t.ok((await readFile(scene.image(garbage))).equals(Buffer.alloc(32 * MIB, "garbage")), "what is no file system is left as it is");
  const cut = await volumeWithFile();
  await truncate(scene.image(cut), 20 * MIB);
  t.equal(await codeOf(driver.attach(cut, newUser())), "VOLUME_DAMAGED", "cut short");
  t.same(await scene.attached(), []);
  for (const volume of [id, garbage, cut]) await driver.remove(volume);
});

t.test("a create that was cut off is none, and is made anew", async (t) => {
  const id = newVolume();
  await mkdir(join(scene.dataDir, id), { recursive: true });
  await writeFile(join(scene.dataDir, id, "fs.new"), "half");
  t.match(await driver.list(), [{ id, formatted: false, sizeBytes: 0 }]);
  t.equal(await codeOf(driver.attach(id, newUser())), "NOT_FOUND");
  await driver.create(id, 16 * MIB);
  t.match(await driver.list(), [{ id, formatted: true, sizeBytes: 16 * MIB }]);
  await driver.remove(id);
  await writeFile(join(scene.dataDir, "somebody-else's"), "");
  t.same(await driver.list(), [], "what is no volume is not one");
  await rm(join(scene.dataDir, "somebody-else's"));
});

t.test("held by another mount namespace: the same device again, never two over one file", async (t) => {
  const [id, user] = [newVolume(), newUser()];
  await driver.create(id, 32 * MIB);
  const { mountPoint } = await driver.attach(id, user);
  await writeSynced(mountPoint, "a", "1");
  // As in a container: the mount itself would go with its directory, wherever it was copied to.
  const hold = `mount --bind ${mountPoint} /mnt && echo held && exec sleep 30`;
  const holder = spawn("unshare", ["-m", "--propagation", "private", "sh", "-c", hold], { stdio: ["ignore", "pipe", "inherit"] });
  await once(holder.stdout, "data");
  await driver.release(user);
  t.equal((await loopsIn(scene.dataDir)).length, 1, "unmounted, and still held");
  const again = await driver.attach(id, user);
  await writeSynced(again.mountPoint, "b", "2");
  t.equal((await loopsIn(scene.dataDir)).length, 1, "one device");
  await end(holder);
  t.same(await scene.names(again.mountPoint), ["a", "b"]);
  await driver.release(user);
  t.same(await scene.attached(), []);
  await driver.remove(id);
});

t.test("a command that outlived its peer is waited for", async (t) => {
  const id = await volumeWithFile();
  const holder = spawn("flock", [join(scene.dataDir, id), "sh", "-c", "echo locked; sleep 0.7"], { stdio: ["ignore", "pipe", "inherit"] });
  await once(holder.stdout, "data");
  const from = performance.now();
  t.equal(await kept(id), TEXT);
  t.ok(performance.now() - from > 500, "it waited");
  await driver.remove(id);
});

t.test("in use by something on the host: said, and not removed", async (t) => {
  const [id, user] = [newVolume(), newUser()];
  await driver.create(id, 16 * MIB);
  const { mountPoint } = await driver.attach(id, user);
  const sitter = spawn("sh", ["-c", "echo in; exec sleep 30"], { cwd: mountPoint, stdio: ["ignore", "pipe", "inherit"] });
  await once(sitter.stdout, "data");
  await driver.release(user);
  t.same(driver.users(), []);
  t.equal(await codeOf(driver.remove(id)), "IN_USE");
  await end(sitter);
  driver = await scene.open();
  t.same(await scene.attached(), [], "the next driver takes it down");
  await driver.remove(id);
});

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

t.test("a disk that others fill: said before anything breaks, and nothing synced is lost when it does", async (t) => {
  const [store, disk] = [join(scene.folder, "store"), join(scene.folder, "store.img")];
  await mkdir(store);
  await writeFile(disk, "");
  await truncate(disk, 200 * MIB);
  await command("mkfs.ext4", "-q", "-F", "-m0", disk);
  await command("mount", "-i", "-o", "loop", disk, store);
  const small = await makeLoopScene({ dataDir: join(store, "volumes") });
  t.teardown(async () => {
    await small.close();
    await command("umount", store);
  });
  const said: string[] = [];
  const log = (_: object, text: string): void => void said.push(text);
  const logger: Logger = { ...silentLogger, warn: log, error: log };
  const service = createVolumeService({ driver: await small.open(), clock: systemClock, logger });
  const [id, other, user, second] = [newVolume(), newVolume(), newUser(), newUser()];
  await service.ensureReady(id, 64 * MIB);
  const { mountPoint } = await service.attach(id, user);
  await writeSynced(mountPoint, "kept", TEXT);
  const tooLarge: unknown = await service.ensureReady(other, 512 * MIB).catch((error: unknown) => error);
  t.match(tooLarge, {
    code: "NO_ROOM",
    message: /a volume of 512 MiB does not fit: .* MiB of .* MiB are free, .* promised to volumes, 32 MiB kept in reserve/,
  });
  t.match(await service.standing(), { kind: "ok" });
  t.match(await small.names(join(store, "volumes")), [id], "of a refused one nothing lies there");

  const filler = join(store, "filler");
  const fill = async (leftBytes: number): Promise<void> => {
    const { freeBytes } = await service.standing();
    await command(
      "fallocate",
      "-o",
      String(
        await stat(filler).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
      "-l",
      String(freeBytes - leftBytes),
      filler,
    );
  };
  await fill(80 * MIB);
  t.match(await service.standing(), { kind: "short" });
  t.equal(await codeOf(service.ensureReady(other, 16 * MIB)), "NO_ROOM", "nothing new");
  await service.ensureReady(id, 64 * MIB);
  service.start();
  await until(() => said.length > 0);
  t.match(said, [/does not hold what its volumes were promised/]);
  await service.release(user);
  t.equal(await small.read((await service.attach(id, user)).mountPoint, "kept"), TEXT, "what is there is used on");

  await fill(4 * MIB);
  t.match(await service.standing(), { kind: "full" });
  // Written beyond what the disk below has left.
  const lost: unknown = await writeZeros(join(mountPoint, "more"), 20 * MIB).catch((error: unknown) => error);
  t.match(lost, { code: /ENOSPC|EIO|EROFS/ }, "who syncs it is told");
  t.match(await writeSynced(mountPoint, "later", "x").catch((error: unknown) => error), { code: /EROFS|EIO/ }, "and nothing is written after it");
  t.equal(await small.read(mountPoint, "kept"), TEXT, "it can still be read");
  const stopped: unknown = await service.attach(id, second).catch((error: unknown) => error);
  t.match(stopped, { code: "CONTAINER_FAILED", message: new RegExp(`takes no writes: .* stop ${user}`) }, "who comes now is told why");
  await service.release(user);
  t.equal(asCcError(await service.attach(id, user).catch((error: unknown) => error)).code, "NO_ROOM", "nothing is attached while it is full");
  await rm(filler);
  const after = await service.attach(id, user);
  t.equal(await small.read(after.mountPoint, "kept"), TEXT, "with room again it is put right");
  await writeSynced(after.mountPoint, "later", "x");
  await service.release(user);
  await service.stop();
  t.same(await small.attached(), []);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

import t from "tap";
import { asCcError, type ContainerId, type Logger, silentLogger, type VolumeId } from "../../../src/base/index.ts";
import { createVolumeService, type StoreRoom, type VolumeDriver, type VolumeOnHost, type VolumeUsage } from "../../../src/volumes/index.ts";
import { StillClock, settle } from "../containers/fakes.ts";

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const A = "vaaaaaaaaaaaaaaaaaaaa" as VolumeId;
const B = "vbbbbbbbbbbbbbbbbbbbb" as VolumeId;
const USER = "caaaaaaaaaaaaaaaaaaaa" as ContainerId;

/** A driver whose disk is as the test says. */
class TableDriver implements VolumeDriver {
  room_: StoreRoom = { freeBytes: 50 * GIB, totalBytes: 100 * GIB };
  readonly volumes = new Map<VolumeId, { sizeBytes: number; allocatedBytes: number; users: ContainerId[]; usedBytes: number }>();
  readonly trimmed: VolumeId[] = [];
  async list(): Promise<readonly VolumeOnHost[]> {
    return [...this.volumes].map(([id, volume]) => ({ id, formatted: true, ...volume }));
  }
  async create(id: VolumeId, sizeBytes: number): Promise<void> {
    await settle();
    this.volumes.set(id, { sizeBytes, allocatedBytes: 0, users: [], usedBytes: 0 });
  }
  async attach(id: VolumeId, user: ContainerId) {
    this.volumes.get(id)?.users.push(user);
    return { mountPoint: `/m/${id}`, fresh: false };
  }
  async takeOwner(): Promise<void> {}
  async release(): Promise<void> {}
  users(): readonly ContainerId[] {
    return [];
  }
  async remove(): Promise<void> {}
  async usage(id: VolumeId): Promise<VolumeUsage | undefined> {
    const volume = this.volumes.get(id);
    return volume && { ...volume, usedBytes: volume.users.length === 0 ? undefined : volume.usedBytes };
  }
  async trim(id: VolumeId): Promise<void> {
    if (id === A) throw new Error("fstrim failed");
    this.trimmed.push(id);
  }
  async room(): Promise<StoreRoom> {
    return this.room_;
  }
}

function scene() {
  const driver = new TableDriver();
  const clock = new StillClock();
  const said: string[] = [];
  const say =
    (level: string) =>
    (_: object, message: string): void =>
      void said.push(`${level}: ${message}`);
  const logger: Logger = { ...silentLogger, info: say("info"), warn: say("warn"), error: say("error") };
  return { driver, clock, said, service: createVolumeService({ driver, clock, logger }) };
}
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "no error",
    (error: unknown) => asCcError(error).code,
  );

t.test("two creates at once are not promised the same room", async (t) => {
  const { driver, service } = scene();
  driver.room_ = { freeBytes: 10 * GIB, totalBytes: 100 * GIB };
  t.same(await Promise.all([codeOf(service.ensureReady(A, 6 * GIB)), codeOf(service.ensureReady(B, 6 * GIB))]), ["no error", "NO_ROOM"]);
  t.same([...driver.volumes.keys()], [A]);
  driver.room_ = { freeBytes: 0, totalBytes: 100 * GIB };
  t.equal(await codeOf(service.ensureReady(A, 6 * GIB)), "no error", "what is there needs no room");
});

t.test("nothing is attached anew to a full disk; what is attached stays so", async (t) => {
  const { driver, service } = scene();
  await service.ensureReady(A, GIB);
  driver.room_ = { freeBytes: 100 * MIB, totalBytes: 100 * GIB };
  t.equal(await codeOf(service.attach(A, USER)), "NO_ROOM");
  driver.room_ = { freeBytes: GIB, totalBytes: 100 * GIB };
  t.equal(await codeOf(service.attach(A, USER)), "no error");
  driver.room_ = { freeBytes: 0, totalBytes: 100 * GIB };
  t.equal(await codeOf(service.attach(A, USER)), "no error");
});

t.test("a disk that fills is said once, trims what can be trimmed, and its end is said too", async (t) => {
  const { driver, clock, said, service } = scene();
  for (const id of [A, B]) await service.ensureReady(id, 20 * GIB);
  for (const volume of driver.volumes.values()) Object.assign(volume, { allocatedBytes: 10 * GIB, usedBytes: GIB, users: [USER] });
  service.start();
  service.start();
  await settle();
  t.same(said, [], "all is well");
  driver.room_ = { freeBytes: 5 * GIB, totalBytes: 100 * GIB };
  await clock.advance(30_000);
  await clock.advance(30_000);
  t.match(said, [/^warn: .*no new one is made: 5 GiB of 100 GiB are free, 20 GiB of them promised/, /^warn: a volume's free space could not be given back/]);
  t.same(driver.trimmed, [B], "one that cannot be trimmed keeps no other from it");
  driver.room_ = { freeBytes: 1 * MIB, totalBytes: 100 * GIB };
  await clock.advance(30_000);
  t.match(said[2], /^error: the disk below the host's volumes is full/);
  driver.room_ = { freeBytes: 50 * GIB, totalBytes: 100 * GIB };
  await clock.advance(30_000);
  t.match(said.at(-1), /^info: the host's disk holds again/);
  await service.stop();
  t.equal(said.filter((line) => line.startsWith("warn: the host's disk")).length, 1);
});

t.test("once an hour free space goes back to the host, where that is worth it", async (t) => {
  const { driver, clock, service } = scene();
  await service.ensureReady(B, GIB);
  service.start();
  await settle();
  await clock.advance(3_600_000);
  t.same(driver.trimmed, [], "not attached");
  Object.assign(driver.volumes.get(B) ?? {}, { allocatedBytes: 500 * MIB, usedBytes: 10 * MIB, users: [USER] });
  for (let minutes = 0; minutes < 59; minutes += 1) await clock.advance(60_000);
  t.same(driver.trimmed, []);
  await clock.advance(60_000);
  t.same(driver.trimmed, [B]);
  Object.assign(driver.volumes.get(B) ?? {}, { allocatedBytes: 20 * MIB });
  await clock.advance(3_600_000);
  t.same(driver.trimmed, [B], "nothing to give back");
  await service.stop();
});

t.test("what cannot be looked at is said, and looked at again", async (t) => {
  const { driver, clock, said, service } = scene();
  driver.room = () => Promise.reject(new Error("statfs failed"));
  service.start();
  await settle();
  await clock.advance(30_000);
  t.equal(said.length, 2);
  t.match(said[0], /^error: the host's volumes could not be looked after/);
  await service.stop();
});

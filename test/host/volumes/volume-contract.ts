import t, { type Test } from "tap";
import { asCcError } from "../../../src/base/index.ts";
import type { VolumeDriver } from "../../../src/volumes/index.ts";
import { newUser, newVolume } from "./new-ids.ts";

/** What a driver needs to be held to the contract of VolumeDriver. */
export type VolumesUnderTest = {
  /** A driver over what is there; the one before counts as dead. */
  readonly open: () => Promise<VolumeDriver>;
  /** A file in an attached volume. Written: it is on the disk. Read: undefined where it is not. */
  readonly write: (mountPoint: string, name: string, text: string) => Promise<void>;
  readonly read: (mountPoint: string, name: string) => Promise<string | undefined>;
  /** Names in its root. */
  readonly names: (mountPoint: string) => Promise<readonly string[]>;
  readonly ownerOf: (mountPoint: string) => Promise<{ readonly uid: number; readonly gid: number; readonly mode: number }>;
  /** What is mounted or attached on the machine by any driver of this scene. */
  readonly attached: () => Promise<readonly string[]>;
  /** The machine is restarted: nothing is mounted any more, files stay. */
  readonly reboot: () => Promise<void>;
  readonly close: () => Promise<void>;
};

export const MIB = 1024 ** 2;

export async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "no error",
    (error: unknown) => asCcError(error).code,
  );
}

/** The contract suite of VolumeDriver: every driver runs it. */
export function describeVolumeDriver(name: string, make: () => Promise<VolumesUnderTest>): void {
  t.test(`${name} keeps the contract of a volume driver`, async (t) => {
    const under = await make();
    t.teardown(() => under.close());
    let driver = await under.open();
    const check = (what: string, body: (t: Test) => Promise<void>): Promise<unknown> =>
      t.test(what, async (t) => {
        await body(t);
        t.same(driver.users(), [], "nobody has a volume");
        t.same(await under.attached(), [], "nothing is attached");
        for (const { id } of await driver.list()) await driver.remove(id);
        t.same(await driver.list(), [], "nothing is left");
      });

    await check("what is not there", async (t) => {
      const id = newVolume();
      t.same(await driver.list(), []);
      t.equal(await driver.usage(id), undefined);
      t.equal(await codeOf(driver.attach(id, newUser())), "NOT_FOUND");
      await driver.trim(id);
      await driver.remove(id);
      await driver.release(newUser());
      const room = await driver.room();
      t.ok(room.freeBytes > 0 && room.freeBytes <= room.totalBytes);
    });

    await check("created once, and never of another size", async (t) => {
      const id = newVolume();
      await driver.create(id, 32 * MIB);
      await driver.create(id, 32 * MIB);
      t.equal(await codeOf(driver.create(id, 64 * MIB)), "CONFLICT");
      t.match(await driver.list(), [{ id, formatted: true, sizeBytes: 32 * MIB, users: [] }]);
      t.match(await driver.usage(id), { sizeBytes: 32 * MIB, usedBytes: undefined });
    });

    await check("files stay, through another create, another user, another driver and a restart of the machine", async (t) => {
      const [id, one, two] = [newVolume(), newUser(), newUser()];
      await driver.create(id, 32 * MIB);
      const first = await driver.attach(id, one);
      t.same(await under.names(first.mountPoint), [], "a fresh volume is empty");
      await under.write(first.mountPoint, "a", "of one");
      await driver.create(id, 32 * MIB);
      t.equal((await driver.attach(id, two)).mountPoint, first.mountPoint, "two have the same");
      t.equal(await under.read(first.mountPoint, "a"), "of one");
      t.equal((await under.attached()).length, 1, "attached once");
      t.ok(((await driver.usage(id))?.usedBytes ?? 0) > 0);
      await driver.release(one);
      t.equal(await under.read(first.mountPoint, "a"), "of one", "still there for the other");
      driver = await under.open();
      t.same(driver.users(), [two], "the next driver knows who has it");
      t.match(await driver.list(), [{ id, users: [two] }]);
      t.equal((await under.attached()).length, 1, "and left it attached");
      await driver.release(two);
      t.same(await under.attached(), []);
      t.equal(await under.read((await driver.attach(id, one)).mountPoint, "a"), "of one");
      await under.reboot();
      driver = await under.open();
      t.same(driver.users(), [], "nobody has it after a restart");
      t.equal(await under.read((await driver.attach(id, one)).mountPoint, "a"), "of one");
      await driver.release(one);
    });

    await check("asked twice is asked once", async (t) => {
      const [id, user] = [newVolume(), newUser()];
      await driver.create(id, 32 * MIB);
      const first = await driver.attach(id, user);
      t.same(await driver.attach(id, user), first);
      t.equal((await under.attached()).length, 1);
      await driver.release(user);
      await driver.release(user);
      t.same(await under.attached(), []);
    });

    await check("two first uses at once", async (t) => {
      const id = newVolume();
      const users = [newUser(), newUser(), newUser(), newUser()];
      const mountPoints = await Promise.all(
        users.map(async (user) => {
          await driver.create(id, 32 * MIB);
          const { mountPoint } = await driver.attach(id, user);
          await under.write(mountPoint, user, "mine");
          return mountPoint;
        }),
      );
      t.equal(new Set(mountPoints).size, 1);
      t.equal((await under.attached()).length, 1, "attached once");
      t.same(await under.names(mountPoints[0] ?? ""), users.toSorted(), "formatted once: everybody's file is there");
      await Promise.all(users.map((user) => driver.release(user)));
    });

    await check("the first owner counts, also for the next driver", async (t) => {
      const [id, user] = [newVolume(), newUser()];
      await driver.create(id, 32 * MIB);
      t.equal((await driver.attach(id, user)).fresh, true);
      driver = await under.open();
      const { mountPoint, fresh } = await driver.attach(id, user);
      t.equal(fresh, true, "until somebody has said whose it is");
      await driver.takeOwner(id, { uid: 1000, gid: 1001, mode: 0o1770 });
      await driver.takeOwner(id, { uid: 7, gid: 7, mode: 0o700 });
      t.same(await under.ownerOf(mountPoint), { uid: 1000, gid: 1001, mode: 0o1770 });
      t.equal((await driver.attach(id, user)).fresh, false);
      await driver.release(user);
      t.equal((await driver.attach(id, user)).fresh, false);
      t.same(await under.ownerOf(mountPoint), { uid: 1000, gid: 1001, mode: 0o1770 });
      await driver.release(user);
    });

    await check("what is in use is not removed", async (t) => {
      const [id, user] = [newVolume(), newUser()];
      await driver.create(id, 32 * MIB);
      const { mountPoint } = await driver.attach(id, user);
      await under.write(mountPoint, "a", "kept");
      t.equal(await codeOf(driver.remove(id)), "IN_USE");
      t.equal(await under.read(mountPoint, "a"), "kept");
      await driver.release(user);
      await driver.remove(id);
      await driver.remove(id);
      t.equal(await driver.usage(id), undefined);
      t.equal(await codeOf(driver.attach(id, user)), "NOT_FOUND");
    });

    await check("several of one container go together, and no other's", async (t) => {
      const [a, b, c] = [newVolume(), newVolume(), newVolume()];
      const [one, two] = [newUser(), newUser()];
      for (const id of [a, b, c]) await driver.create(id, 16 * MIB);
      await Promise.all([driver.attach(a, one), driver.attach(b, one), driver.attach(c, two)]);
      t.same(driver.users(), [one, two].toSorted());
      await driver.release(one);
      t.same(driver.users(), [two]);
      t.equal((await under.attached()).length, 1);
      await driver.release(two);
    });
  });
}

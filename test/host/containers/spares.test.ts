import { existsSync } from "node:fs";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { networkScript } from "../../../src/containers/drivers/crun-conmon/scripts.ts";
import { SPEC_DEFAULTS } from "../../../src/containers/index.ts";
import { createShellHelper } from "../../../src/host/index.ts";
import { makeScene, newId } from "./harness.ts";

const never = new AbortController().signal;
const scene = await makeScene();
t.teardown(() => scene.close());

const inode = async (path: string): Promise<number> => (await stat(path)).ino;
const spareNetwork = join(scene.runDir, ".spare-net");
const spareDisk = join(scene.stateDir, ".spare-disk");
const networkOf = (id: string): string => join(scene.runDir, id, "net");
const diskOf = (id: string): string => join(scene.stateDir, id, "disk.img");

async function untilReady(since: number, diskBytes: number): Promise<{ network: number; disk: number }> {
  for (let at = 0; at < 200; at += 1) {
    const isThere = existsSync(spareNetwork) && existsSync(spareDisk) && (await stat(spareDisk)).size === diskBytes;
    const network = isThere ? await inode(spareNetwork) : 0;
    // An empty file until the namespace is pinned over it, and the one before until the next is made; the disk comes after it.
    if (network > 0xf000_0000 && network !== since) return { network, disk: await inode(spareDisk) };
    await pause(50);
  }
  throw new Error("no spares after 10 s");
}

t.test("a start takes the spares, the next finds new ones; sizes that differ make their own", async (t) => {
  const runtime = await scene.open();
  const [first, second, third] = [newId(), newId(), newId()];
  await untilReady(0, SPEC_DEFAULTS.diskBytes);
  const size = 48 * 1024 ** 2;
  await runtime.start(scene.spec(first, { diskBytes: size, command: ["sleep", "60"] }), scene.image, "one", never);
  t.not((await stat(diskOf(first))).size, 0);
  t.equal((await stat(diskOf(first))).size, size, "not the spare of another size");
  const spares = await untilReady(await inode(networkOf(first)), size);
  t.equal((await stat(spareDisk)).size, size, "made for the next of the same size");
  await runtime.start(
    scene.spec(second, { diskBytes: size, command: ["sh", "-c", "echo kept > /file; cat /file; ip link show lo; sleep 60"] }),
    scene.image,
    "two",
    never,
  );
  t.equal(await inode(networkOf(second)), spares.network);
  t.equal(await inode(diskOf(second)), spares.disk);
  await runtime.start(scene.spec(third, { diskBytes: size, command: ["sleep", "60"] }), scene.image, "three", never);
  const networks = await Promise.all([first, second, third].map((id) => inode(networkOf(id))));
  const disks = await Promise.all([first, second, third].map((id) => inode(diskOf(id))));
  t.equal(new Set(networks).size, 3, "nobody shares a network");
  t.equal(new Set(disks).size, 3, "nor a disk");
  const lines: string[] = [];
  for (let at = 0; at < 100 && !lines.join("").includes("LOOPBACK,UP"); at += 1) {
    lines.length = 0;
    for await (const { data } of runtime.logs(second, { from: 0, follow: false, signal: never })) lines.push(Buffer.from(data).toString());
    await pause(50);
  }
  t.match(lines.join(""), /kept\n[\s\S]*LOOPBACK,UP/);
  for (const id of [first, second, third]) {
    await runtime.kill(id, "SIGKILL");
    await runtime.waitExit(id, never);
    await runtime.remove(id);
  }
  await runtime.close();
});

t.test("what a killed peer left is not used: a container may have it", async (t) => {
  // This driver is not closed: as if its process had been killed just after a start took the spare.
  const before = await scene.open();
  await untilReady(0, SPEC_DEFAULTS.diskBytes);
  const [first, second] = [newId(), newId()];
  await before.start(scene.spec(first, { diskBytes: 48 * 1024 ** 2, command: ["sleep", "60"] }), scene.image, "one", never);
  const taken = await inode(networkOf(first));
  t.equal(await inode(spareNetwork), taken, "two names until the refill");
  const after = await scene.open();
  await after.start(scene.spec(second, { command: ["sleep", "60"] }), scene.image, "two", never);
  t.not(await inode(networkOf(second)), taken);
  for (const id of [first, second]) {
    await after.kill(id, "SIGKILL");
    await after.waitExit(id, never);
    await after.remove(id);
  }
});

t.test("namespaces made at the same time have nothing to do with each other", async (t) => {
  const shells = [createShellHelper(), createShellHelper(), createShellHelper()];
  const seen = new Set<number>();
  for (let round = 0; round < 8; round += 1) {
    const made = shells.map(async (shell, at) => {
      const target = join(scene.folder, `net-${round}-${at}`);
      await writeFile(target, "");
      const outcome = await shell.run(networkScript(join(scene.folder, "pin/userns"), target));
      t.equal(outcome.exitCode, 0, outcome.stdout);
      seen.add(await inode(target));
      await shell.run(`umount ${target}`);
    });
    await Promise.all(made);
  }
  t.ok(seen.size >= shells.length, "each its own while the others live");
  for (const shell of shells) await shell.close();
});

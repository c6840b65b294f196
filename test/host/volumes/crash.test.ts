import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import type { VolumeId } from "../../../src/base/index.ts";
import { mountsIn } from "../../../src/host/index.ts";
import { type LoopScene, loopsIn, makeLoopScene } from "./harness.ts";
import { newUser, newVolume } from "./new-ids.ts";
import { codeOf, MIB } from "./volume-contract.ts";

const MOMENTS = Number(process.env["CRASH_MOMENTS"] ?? 4);

let scene: LoopScene;
t.before(async () => {
  scene = await makeLoopScene();
});
t.teardown(() => scene.close());

/** A child that goes through the life of `id` until it dies, `ms` after a line that it said; gives all that it said. */
async function lifeOf(
  id: VolumeId,
  user: string,
  words: readonly string[],
  kill: { readonly afterLines: number; readonly ms: number } | undefined,
): Promise<string> {
  const child: ChildProcessWithoutNullStreams = spawn(process.execPath, [fileURLToPath(new URL("./crash-child.ts", import.meta.url)), scene.folder, ...words], {
    stdio: "pipe",
  });
  child.stderr.pipe(process.stderr);
  const exited = once(child, "exit");
  await once(child.stdout, "data");
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
    if (kill !== undefined && said.split("\n").length > kill.afterLines) setTimeout(() => child.kill("SIGKILL"), kill.ms);
  });
  child.stdin.write(`${id} ${user}\n`);
  await exited;
  return said;
}

/** What the next peer finds, and that it can put everything right. */
async function converges(t: Test, id: VolumeId, user: ReturnType<typeof newUser>, said: string): Promise<string> {
  const inLife = said.slice(said.lastIndexOf("removed") + 1);
  const wrote = [...inLife.matchAll(/wrote (\d+)/g)].map((match) => match[1] ?? "");
  const driver = await scene.open();
  const [found] = await driver.list();
  t.ok((await loopsIn(scene.dataDir)).length <= 1, "one loop device at most");
  t.ok((await mountsIn(scene.runDir)).length <= 1, "mounted once at most");
  const state = found === undefined ? "absent" : `${found.formatted ? "formatted" : "half"}${found.users.length > 0 ? ", in use" : ""}`;
  // In the middle of its removal the volume's files may be gone, and it with them.
  const mayBeGone = wrote.length > 0 && Number(wrote.at(-1)) % 3 === 0 && inLife.includes(`released ${wrote.at(-1)}`);
  await driver.create(id, 16 * MIB);
  const { mountPoint, fresh } = await driver.attach(id, user);
  t.equal((await loopsIn(scene.dataDir)).length, 1);
  const names = await scene.names(mountPoint);
  if (!mayBeGone || names.length > 0) {
    for (const n of wrote) t.equal(await scene.read(mountPoint, `n${n}`), n, `what was synced is there (${state})`);
    if (wrote.length > 0) t.match(await scene.ownerOf(mountPoint), { uid: 1000, mode: 0o750 });
    if (wrote.length > 0) t.equal(fresh, false);
  }
  t.notOk(names.includes("lost+found"));
  t.equal(await codeOf(driver.remove(id)), "IN_USE");
  await driver.release(user);
  t.same(await scene.attached(), [], "nothing is attached");
  await driver.remove(id);
  t.same(await driver.list(), [], "nothing is left");
  t.notOk(existsSync(`${scene.runDir}/${id}`));
  return state;
}

t.test("killed around each of its commands", async (t) => {
  // Of a life these are mkfs, mount and umount. Before one is after the one before.
  for (const script of ["1", "2", "3"]) {
    for (const when of ["during", "after"]) {
      const [id, user] = [newVolume(), newUser()];
      const said = await lifeOf(id, user, [script, when], undefined);
      t.comment(`${when} ${script}: ${await converges(t, id, user, said)}`);
    }
  }
});

t.test(`killed at ${MOMENTS} moments between what it says`, async (t) => {
  const seen = new Set<string>();
  for (let moment = 0; moment < MOMENTS; moment += 1) {
    const [id, user] = [newVolume(), newUser()];
    const said = await lifeOf(id, user, [], { afterLines: 1 + ((moment * 2) % 7), ms: (moment * 5) % 17 });
    seen.add(await converges(t, id, user, said));
  }
  t.comment([...seen].join("; "));
  t.ok(seen.has("formatted, in use"), "moments were met in which it was attached");
});

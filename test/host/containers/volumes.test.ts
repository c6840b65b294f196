import { chmod, chown, lchown, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { asCcError, type ContainerId, type VolumeId } from "../../../src/base/index.ts";
import type { CrunConmon, VolumeMount } from "../../../src/containers/index.ts";
import type { ImageOnHost } from "../../../src/images/index.ts";
import { loopsIn } from "../volumes/harness.ts";
import { newVolume } from "../volumes/new-ids.ts";
import { MIB } from "../volumes/volume-contract.ts";
import { leftovers, makeScene, newId, outputOf, runShell, type Scene } from "./harness.ts";

let scene: Scene;
let runtime: CrunConmon;
/** The scene's image under one more layer, with what volumes may meet. */
let image: ImageOnHost;
t.before(async () => {
  scene = await makeScene();
  runtime = await scene.open();
  const layer = join(scene.folder, "layers/c");
  for (const folder of ["srv/db", "srv/root", "srv/there", "canary"]) await mkdir(join(layer, folder), { recursive: true });
  await writeFile(join(layer, "srv/db/of-the-image"), "image\n");
  await writeFile(join(layer, "srv/file"), "");
  await symlink("/srv/there", join(layer, "srv/link"));
  // As the host would read them, these lead to the test's own folder.
  await symlink(`/../../../../../../../..${scene.folder}/host-canary`, join(layer, "srv/out"));
  await symlink(`${scene.folder}/host-canary`, join(layer, "srv/absolute"));
  await symlink("/proc/sys", join(layer, "srv/proc"));
  const base = 0x7000_0000;
  for (const path of ["", "srv", "srv/db", "srv/root", "srv/there", "srv/file", "srv/link", "srv/out", "srv/absolute", "srv/proc", "srv/db/of-the-image"])
    await lchown(join(layer, path), base, base);
  await chown(join(layer, "srv/db"), base + 999, base + 998);
  await chmod(join(layer, "srv/db"), 0o1770);
  await mkdir(join(scene.folder, "host-canary"));
  await writeFile(join(scene.folder, "host-canary/untouched"), "as it was");
  image = { ...scene.image, layers: [...scene.image.layers, layer] };
  scene = { ...scene, image };
});
t.teardown(() => scene.close());

async function volume(sizeBytes = 32 * MIB): Promise<VolumeId> {
  const id = newVolume();
  await scene.volumes().create(id, sizeBytes);
  return id;
}

const at = (id: VolumeId, path: string, readOnly = false): VolumeMount => ({ id, path, readOnly });

async function nothingLeft(t: Test): Promise<void> {
  for (const id of await runtime.list()) await runtime.remove(id);
  t.same(scene.volumes().users(), [], "no container has a volume");
  for (const { id } of await scene.volumes().list()) await scene.volumes().remove(id);
  t.same(await leftovers(scene), []);
}

t.test("files outlive their container, have the right owners, and :ro is kept to", async (t) => {
  const id = await volume();
  const wrote = await runShell(
    runtime,
    scene,
    "id -u; echo text >/data/file; mkdir /data/folder; stat -c '%u:%g %a' /data /data/file; mount | grep ' /data '",
    {
      user: "alice",
      volumes: [at(id, "/data")],
    },
  );
  t.equal(wrote.exitCode, 0, wrote.stderr);
  t.match(wrote.stdout, /^1000\n1000:1001 755\n1000:1001 644\n\/dev\/loop\d+ on \/data type ext4 \(rw,nosuid,nodev,/, "of uid 1000, in a fresh volume");
  await runtime.remove(wrote.id);
  const lines = [
    'try() { if "$@" 2>/dev/null; then echo "DONE $*"; else echo refused; fi; }',
    "cat /data/file; stat -c %u:%g /data/file",
    "try touch /data/new; try rm /data/file; try chmod 777 /data/file",
    "try mount -o remount,rw /data; try mount -o remount,bind,rw /data; try umount /data; try unshare -Urm mount -o remount,bind,rw /data",
    "try mknod /own/disk b 7 0; touch /own/x && echo written",
  ];
  const read = await runShell(runtime, scene, lines.join("\n"), { volumes: [at(id, "/data", true), at(await volume(), "/own")] });
  t.equal(read.stdout, `text\n1000:1001\n${"refused\n".repeat(8)}written\n`, `root of another container: ${read.stderr}`);
  await nothingLeft(t);
});

t.test("whose a fresh volume is: the image's directory's owner, else who runs; the first counts", async (t) => {
  const show = "stat -c '%u:%g %a' ";
  const ids = { db: await volume(), root: await volume(), none: await volume() };
  const first = await runShell(runtime, scene, `${show} /srv/db /srv/root /deep/down /deep; ls -A /srv/db`, {
    user: "1000:1001",
    volumes: [at(ids.db, "/srv/db"), at(ids.root, "/srv/root"), at(ids.none, "/deep/down")],
  });
  t.equal(first.stdout, "999:998 1770\n1000:1001 755\n1000:1001 755\n0:0 755\n", first.stderr);
  const asRoot = await runShell(runtime, scene, `${show} /a /b`, { volumes: [at(ids.db, "/a"), at(await volume(), "/b")] });
  t.equal(asRoot.stdout, "999:998 1770\n0:0 755\n", "one that was used keeps its owner");
  await nothingLeft(t);
});

t.test("a read-only container has its volume, also where the image has no directory", async (t) => {
  const id = await volume();
  const ran = await runShell(runtime, scene, "touch /new/place/x && echo written; touch /x || echo kept", { readOnly: true, volumes: [at(id, "/new/place")] });
  t.equal(ran.stdout, "written\nkept\n", ran.stderr);
  await nothingLeft(t);
});

t.test("links of the image are followed inside it only", async (t) => {
  const [id, out, absolute] = [await volume(), await volume(), await volume()];
  const ran = await runShell(runtime, scene, "echo in >/srv/there/x; cat /srv/link/x; echo 1 >/srv/out/x; echo 2 >/srv/absolute/y; cat /proc/mounts", {
    volumes: [at(id, "/srv/link"), at(out, "/srv/out")],
  });
  t.match(ran.stdout, /^in\n/, ran.stderr);
  t.match(ran.stdout, new RegExp(` ${scene.folder}/host-canary ext4 `), "the link's target is a place inside the container");
  await runtime.remove(ran.id);
  const both = runShell(runtime, scene, "true", { volumes: [at(out, "/srv/out"), at(absolute, "/srv/absolute")] });
  t.match(await both.catch(asCcError), { code: "BAD_REQUEST", message: /two volumes come to lie at/ });
  t.match(await runShell(runtime, scene, "true", { volumes: [at(id, "/srv/proc")] }).catch(asCcError), {
    code: "BAD_REQUEST",
    message: /in the image that is \/proc\/sys/,
  });
  t.match(await runShell(runtime, scene, "true", { volumes: [at(id, "/srv/file")] }).catch(asCcError), {
    code: "BAD_REQUEST",
    message: /is a file in the image/,
  });
  // A volume's own content is as little to be trusted as an image.
  const links = await runShell(runtime, scene, `ln -s ${scene.folder}/host-canary /v/sub; ln -s /proc /v/proc`, { volumes: [at(id, "/v")] });
  t.equal(links.exitCode, 0, links.stderr);
  await runtime.remove(links.id);
  for (const path of ["/v/sub", "/v/proc/x"]) {
    const nested = await runShell(runtime, scene, "true", { volumes: [at(id, "/v"), at(absolute, path)] }).catch(asCcError);
    t.match(nested, { code: "BAD_REQUEST", message: /a link or a file in the volume at \/v is in the way/ });
  }
  t.equal(await readFile(join(scene.folder, "host-canary/untouched"), "utf8"), "as it was");
  t.same(await readdir(join(scene.folder, "host-canary")), ["untouched"], "nothing reached the host");
  await nothingLeft(t);
});

t.test("volumes in volumes, and over /etc", async (t) => {
  const [outer, inner, etc] = [await volume(), await volume(), await volume()];
  const ran = await runShell(runtime, scene, "echo o >/v/o; echo i >/v/a/i; ls /v /v/a; cat /etc/hostname >/dev/null && touch /etc/x && echo etc", {
    volumes: [at(outer, "/v"), at(inner, "/v/a"), at(etc, "/etc")],
  });
  t.equal(ran.stdout, "/v:\na\no\n\n/v/a:\ni\netc\n", ran.stderr);
  await nothingLeft(t);
});

t.test("two containers at once on a fresh volume; the second keeps it when the first ends", async (t) => {
  const id = await volume();
  const start = async (script: string): Promise<ContainerId> => {
    const container = newId();
    const spec = scene.spec(container, { command: ["sh", "-c", script], volumes: [at(id, "/data")] });
    await runtime.start(spec, image, "t1", AbortSignal.timeout(20_000));
    return container;
  };
  const [one, two] = await Promise.all([
    start("echo one >/data/one; until test -e /data/two; do usleep 1000; done"),
    start("echo two >/data/two; until test -e /data/three; do usleep 1000; done; ls /data"),
  ]);
  t.match(await runtime.waitExit(one, AbortSignal.timeout(20_000)), { exitCode: 0 }, "each sees the other's file");
  t.equal((await loopsIn(scene.folder)).length, 3, "two disks and one volume");
  await runtime.remove(one);
  t.same(scene.volumes().users(), [two]);
  runtime = await scene.open();
  t.same(scene.volumes().users(), [two], "the next runtime knows");
  await runShell(runtime, scene, "echo three >/data/three", { volumes: [at(id, "/data")] });
  t.match(await runtime.waitExit(two, AbortSignal.timeout(20_000)), { exitCode: 0 });
  t.equal((await outputOf(runtime, two)).stdout, "one\nthree\ntwo\n");
  await runtime.settle(two);
  for (const container of await runtime.list()) if (container !== two) await runtime.settle(container);
  t.same(scene.volumes().users(), [], "settled containers have none");
  t.same(await loopsIn(scene.folder), []);
  const again = scene.spec(two, { command: ["sh", "-c", "ls /data"], volumes: [at(id, "/data")] });
  await runtime.start(again, image, "t2", AbortSignal.timeout(20_000));
  t.match(await runtime.waitExit(two, AbortSignal.timeout(20_000)), { exitCode: 0 }, "started again it has it again");
  t.match((await outputOf(runtime, two)).stdout, /one\nthree\ntwo\n$/);
  await nothingLeft(t);
});

t.test("a start that cannot be gives its volumes back; those of a vanished container are given back by the next runtime", async (t) => {
  const id = await volume();
  const start = (volumes: readonly VolumeMount[], command: readonly string[]): Promise<unknown> =>
    runtime.start(scene.spec(newId(), { command, volumes }), image, "t1", AbortSignal.timeout(20_000)).catch(asCcError);
  t.match(await start([at(id, "/data"), at(newVolume(), "/other")], ["true"]), { code: "NOT_FOUND" });
  t.match(await start([at(id, "/data")], ["no-such-command"]), { code: "COMMAND_NOT_FOUND" });
  t.same(scene.volumes().users(), []);
  t.same(await leftovers(scene), []);
  await scene.volumes().attach(id, newId());
  runtime = await scene.open();
  t.same(scene.volumes().users(), []);
  await nothingLeft(t);
});

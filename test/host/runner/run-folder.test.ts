import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { makeGroup, readCgroupRoots, readMounts, run } from "../../../nodes/lab/machine.ts";
import { isAlive, processOf } from "../../../nodes/lab/processes.ts";
import { makeRunFolder, removeRunFolder, testGroup } from "../../runner/run-folder.ts";

const folder = await mkdtemp(join(tmpdir(), "run-folder-"));
process.env["TMPDIR"] = folder;

/** As a killed test run leaves it: a process in a container's group and one in a pinned namespace, a mount, a loop device, files. */
async function leaveThings(name: string) {
  const scene = join(folder, name, "cc-containers-AbCdEf");
  mkdirSync(join(scene, "mounted"), { recursive: true });
  await run(["mount", "-t", "tmpfs", "tmpfs", join(scene, "mounted")]);
  writeFileSync(join(scene, "net"), "");
  await run(["unshare", `--net=${join(scene, "net")}`, "true"]);
  const inNamespace = spawn("nsenter", [`--net=${join(scene, "net")}`, "sleep", "600"], { detached: true, stdio: "ignore" });
  const image = join(scene, "fs.img");
  await run(["truncate", "--size=1M", image]);
  const device = (await run(["losetup", "--find", "--show", image])).stdout.trim();
  const group = testGroup("cc-containers-AbCdEf");
  makeGroup(`${group}/one`);
  const inGroup = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
  for (const root of readCgroupRoots()) writeFileSync(join(root, group, "one/cgroup.procs"), String(inGroup.pid));
  const processes = [inNamespace, inGroup].map(({ pid = 0 }) => processOf(pid)).filter((ref) => ref !== undefined);
  const groups = (): string[] => readCgroupRoots().filter((root) => existsSync(join(root, group)));
  const loop = `/sys/block/${device.slice("/dev/".length)}/loop`;
  return {
    whatIsThere: () => ({
      processes: processes.filter(isAlive).length,
      mounts: readMounts().filter(({ point }) => point.startsWith(scene)).length,
      loops: existsSync(loop) ? 1 : 0,
      groups: groups().length,
      files: existsSync(scene),
    }),
  };
}

t.test("what a dead run left is taken away by the next", async (t) => {
  const ended = spawn("true");
  await once(ended, "exit");
  const left = await leaveThings(`cc-tests-${ended.pid}-1`);
  const groups = readCgroupRoots().length;
  t.same(left.whatIsThere(), { processes: 2, mounts: 2, loops: 1, groups, files: true });
  const own = await makeRunFolder();
  t.same(left.whatIsThere(), { processes: 0, mounts: 0, loops: 0, groups: 0, files: false });
  await t.test("that of a living run stays, and others' folders", async (t) => {
    const foreign = join(folder, "cc-tests-of-somebody");
    mkdirSync(foreign);
    writeFileSync(join(own, "file"), "");
    await t.rejects(makeRunFolder(), { code: "EEXIST" }, "it is this run's own");
    t.ok(existsSync(foreign));
    t.ok(existsSync(join(own, "file")));
  });
  await removeRunFolder(own);
  t.notOk(existsSync(own));
});

import { chmod, cp, lchown, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { ContainerId } from "../../../src/base/index.ts";
import { base32, silentLogger } from "../../../src/base/index.ts";
import {
  type ContainerNetworks,
  type ContainerRuntime,
  type ContainerSpec,
  type CrunConmon,
  openCrunConmon,
  SPEC_DEFAULTS,
} from "../../../src/containers/index.ts";
import { createCommandRunner, createShellHelper, createUserNamespacePin, systemClock, systemRandom } from "../../../src/host/index.ts";
import type { ImageConfig, ImageOnHost } from "../../../src/images/index.ts";
import { openLoopVolumes } from "../../../src/volumes/drivers/loop.ts";
import type { VolumeDriver } from "../../../src/volumes/index.ts";
import { testGroup } from "../../runner/run-folder.ts";

const LEAVING_MS_MAX = 3_000;

const APPLETS = [
  "sh",
  "echo",
  "cat",
  "ls",
  "id",
  "env",
  "pwd",
  "sleep",
  "true",
  "false",
  "kill",
  "ps",
  "mount",
  "umount",
  "touch",
  "head",
  "dd",
  "wc",
  "df",
  "hostname",
  "mkdir",
  "rm",
  "yes",
  "seq",
  "stat",
  "tr",
  "ping",
  "ip",
  "unshare",
  "mknod",
  "dmesg",
  "sync",
  "date",
  "usleep",
  "grep",
  "readlink",
  "chmod",
  "sysctl",
  "nc",
  "test",
  "printf",
  "tail",
  "chroot",
  "insmod",
  "find",
  "swapon",
  "reboot",
  "ln",
];

/** Everything a host test of containers needs, in folders of its own. */
/** Containers that are part of no VPC: their namespaces have loopback alone. */
const NO_NETWORKS: ContainerNetworks = { join: async () => undefined, members: () => [], leave: async () => undefined };

export type Scene = {
  readonly folder: string;
  readonly image: ImageOnHost;
  readonly spec: (id: ContainerId, more?: Partial<ContainerSpec>) => ContainerSpec;
  /** Opens a driver; several in a row stand for a peer that dies and returns. */
  readonly open: (networks?: ContainerNetworks) => Promise<CrunConmon>;
  /** The volumes of the last driver. */
  readonly volumes: () => VolumeDriver;
  readonly stateDir: string;
  readonly runDir: string;
  readonly cgroupParent: string;
  readonly close: () => Promise<void>;
};

export function newId(): ContainerId {
  return `c${base32(systemRandom.bytes(13)).slice(0, 20)}` as ContainerId;
}

export function imageConfig(more: Partial<ImageConfig> = {}): ImageConfig {
  return { entrypoint: [], cmd: ["sh"], env: ["PATH=/bin", "FROM_IMAGE=yes"], user: "", workingDir: "", stopSignal: "", labels: {}, ...more };
}

/** A scene on a folder that may be there already (`folder` given: another process shares it, and only its maker closes it). */
export async function makeScene(shared?: { readonly folder: string }): Promise<Scene> {
  const folder = shared?.folder ?? (await mkdtemp(join(tmpdir(), "cc-containers-")));
  const runDir = join(folder, "run");
  const stateDir = join(folder, "state");
  const layers = join(folder, "layers");
  const cgroupParent = testGroup(basename(folder));
  if (shared === undefined) await chmod(folder, 0o711);
  const commands = createCommandRunner();
  const pin = createUserNamespacePin({ runDir: join(folder, "pin"), commands });
  await pin.ready();
  const base = pin.uidMap.hostId;
  if (shared === undefined) await makeLayers(layers, base);
  const opened: CrunConmon[] = [];
  const volumeFolders = { dataDir: join(folder, "volumes"), runDir: join(folder, "mounted") };
  let lastVolumes: VolumeDriver | undefined;
  return {
    folder,
    stateDir,
    runDir,
    cgroupParent,
    image: { digest: "sha256:0", reference: "busybox", layers: [join(layers, "a"), join(layers, "b")], config: imageConfig(), sizeBytes: 0 },
    spec: (id, more = {}) => ({
      id,
      name: "",
      image: "busybox",
      command: [],
      env: {},
      user: "",
      dir: "",
      ...SPEC_DEFAULTS,
      memoryBytes: 64 * 1024 ** 2,
      diskBytes: 32 * 1024 ** 2,
      pidsMax: 64,
      labels: {},
      readOnly: false,
      init: false,
      stopSignal: "",
      stdinOpen: false,
      volumes: [],
      removeWhenEnded: false,
      ...more,
    }),
    open: async (networks = NO_NETWORKS) => {
      const shells = { disk: createShellHelper(), network: createShellHelper(), process: createShellHelper() };
      const volumeShell = createShellHelper();
      const volumes = await openLoopVolumes({ clock: systemClock, logger: silentLogger, commands, shell: volumeShell }, volumeFolders);
      const driver = await openCrunConmon(
        { clock: systemClock, logger: silentLogger, userNamespace: pin, ...shells, volumes, networks },
        { stateDir, runDir, cgroupParent, nameservers: ["192.0.2.53"] },
      );
      const close = driver.close.bind(driver);
      driver.close = async () => {
        await close();
        await Promise.all([volumeShell, ...Object.values(shells)].map((shell) => shell.close()));
      };
      opened.push(driver);
      lastVolumes = volumes;
      return driver;
    },
    volumes: () => {
      if (lastVolumes === undefined) throw new Error("no driver is open");
      return lastVolumes;
    },
    close: async () => {
      const last = opened.at(-1);
      // Also after a test that failed in the middle: nothing may stay on the machine.
      for (const id of (await last?.list()) ?? []) await last?.remove(id);
      for (const driver of opened) await driver.close();
      if ((await readFile("/proc/self/mountinfo", "utf8")).includes(`${runDir}/`)) throw new Error(`a closed driver left a mount below ${runDir}`);
      await pin.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Two layers: busybox with its names below, /etc above, as the image store leaves them. */
async function makeLayers(layers: string, owner: number): Promise<void> {
  const below = join(layers, "a");
  const above = join(layers, "b");
  for (const folder of ["bin", "proc", "sys", "dev", "tmp", "root", "run", "home/alice"]) await mkdir(join(below, folder), { recursive: true });
  await cp("/usr/bin/busybox", join(below, "bin/busybox"));
  for (const applet of APPLETS) await symlink("busybox", join(below, "bin", applet));
  await mkdir(join(above, "etc"), { recursive: true });
  await writeFile(join(above, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\n");
  await writeFile(join(above, "etc/group"), "root:x:0:\nalice:x:1001:\nwheel:x:10:alice,bob\n");
  await writeFile(join(above, "etc/not-executable"), "echo no\n");
  await writeFile(join(above, "etc/garbage"), "\u0000\u0001garbage", { mode: 0o755 });
  for (const top of [below, above]) await chownTree(top, owner);
  await chmod(join(below, "tmp"), 0o1777);
}

async function chownTree(path: string, owner: number): Promise<void> {
  await lchown(path, owner, owner);
  const entries = await readdir(path, { withFileTypes: true });
  for (const entry of entries) {
    if (entry.isDirectory()) await chownTree(join(path, entry.name), owner);
    else await lchown(join(path, entry.name), owner, owner);
  }
}

/** Whole output so far, as text per stream. */
export async function outputOf(runtime: ContainerRuntime, id: ContainerId, follow = true): Promise<{ stdout: string; stderr: string }> {
  const text = { stdout: "", stderr: "" };
  for await (const chunk of runtime.logs(id, { from: 0, follow, signal: AbortSignal.timeout(20_000) }))
    text[chunk.stream] += Buffer.from(chunk.data).toString();
  return text;
}

/** Runs a shell line to its end. */
export async function runShell(
  runtime: ContainerRuntime,
  scene: Scene,
  script: string,
  more: Partial<ContainerSpec> = {},
): Promise<{ id: ContainerId; exitCode: number | undefined; oom: boolean; stdout: string; stderr: string }> {
  const id = newId();
  await runtime.start(scene.spec(id, { command: ["sh", "-c", script], ...more }), scene.image, "t1", AbortSignal.timeout(20_000));
  const exit = await runtime.waitExit(id, AbortSignal.timeout(20_000));
  return { id, exitCode: exit?.exitCode, oom: exit?.oom ?? false, ...(await outputOf(runtime, id)) };
}

/** What a scene has on the machine: mounts, loop devices, cgroups, processes. Empty when nothing is left. */
export async function leftovers(scene: Scene): Promise<readonly string[]> {
  const until = performance.now() + LEAVING_MS_MAX;
  for (;;) {
    const left = await leftNow(scene);
    const isLeaving = left.length > 0 && left.every((one) => one.startsWith("process "));
    // A question to crun that somebody has just asked may still be on its way out.
    if (!isLeaving || performance.now() > until) return left;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function leftNow(scene: Scene): Promise<readonly string[]> {
  const left: string[] = [];
  for (const line of (await readFile("/proc/self/mountinfo", "utf8")).split("\n")) {
    const point = line.split(" ")[4] ?? "";
    // The spare of an open driver is its own; `close` looks for it.
    if (point.startsWith(`${scene.folder}/`) && !point.endsWith("/pin/userns") && !point.endsWith("/.spare-net")) left.push(`mount ${point}`);
  }
  for (const name of (await readdir("/sys/block")).filter((block) => block.startsWith("loop"))) {
    const file = await readFile(`/sys/block/${name}/loop/backing_file`, "utf8").catch(() => "");
    if (file.startsWith(scene.folder)) left.push(`loop ${file.trim()}`);
  }
  for (const controller of ["", ...(await readdir("/sys/fs/cgroup"))]) {
    const found = await readdir(join("/sys/fs/cgroup", controller, scene.cgroupParent), { withFileTypes: true }).catch(() => []);
    left.push(...found.filter((entry) => entry.isDirectory()).map((entry) => `cgroup ${controller}/${entry.name}`));
  }
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name) && name !== String(process.pid))) {
    const words = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    const [program = ""] = words.split("\0");
    // Only what a runtime runs: others on this machine may name these folders too (a lab's hosts list what they take down).
    if (/(^|\/)(conmon|crun|socat)$/.test(program) && words.includes(scene.folder)) left.push(`process ${pid} ${words.replaceAll("\0", " ")}`);
  }
  for (const folder of [scene.runDir, scene.stateDir])
    left.push(...(await readdir(folder).catch(() => [])).filter((name) => !name.startsWith(".")).map((name) => `file ${folder}/${name}`));
  left.push(
    ...(await readdir(join(scene.runDir, ".execs")).catch(() => [])).map((name) => `exec ${name}`),
    ...(await readdir(join(scene.runDir, ".exits")).catch(() => [])).map((name) => `exit ${name}`),
    // crun 1.9 and later keep a cache of filters there.
    ...(await readdir(join(scene.runDir, ".crun")).catch(() => [])).filter((name) => name !== ".cache").map((name) => `crun ${name}`),
  );
  return left;
}

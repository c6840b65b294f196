import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readlinkSync } from "node:fs";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { asCcError, type ContainerId } from "../../../src/base/index.ts";
import { endScripts } from "../../../src/containers/drivers/crun-conmon/exec-members.ts";
import { textInLiveRoot } from "../../../src/containers/drivers/crun-conmon/live-root.ts";
import type { ContainerRuntime, ContainerSpec, CrunConmon } from "../../../src/containers/index.ts";
import { systemClock } from "../../../src/host/index.ts";
import { killPeer, spawnPeer } from "./crash-peer.ts";
import { execSpec, finish } from "./exec-contract.ts";
import { leftovers, makeScene, newId, type Scene } from "./harness.ts";

t.setTimeout(180_000);
/** `npm run test:kills` makes it 50. */
const KILLS = Number(process.env["CC_TEST_KILLS"] ?? 4);
const soon = (): AbortSignal => AbortSignal.timeout(30_000);

let scene: Scene;
let runtime: CrunConmon;
t.before(async () => {
  scene = await makeScene();
  runtime = await scene.open();
});
t.teardown(() => scene.close());

async function begin(more: Partial<ContainerSpec> = {}): Promise<{ id: ContainerId; pid: number }> {
  const id = newId();
  await runtime.start(scene.spec(id, { command: ["sleep", "300"], ...more }), scene.image, "t", soon());
  const found = await runtime.inspect(id);
  return { id, pid: found.kind === "running" ? found.pid : 0 };
}

async function nothingLeft(t: Test, over: ContainerRuntime = runtime): Promise<void> {
  for (const id of await over.list()) await over.remove(id);
  t.same(await leftovers(scene), [], "nothing is left");
}

/** All that holds a process in, as the host sees it. */
function bonds(pid: number): Readonly<Record<string, string>> {
  const lines = (file: string, of: RegExp): [string, string][] =>
    readFileSync(`/proc/${pid}/${file}`, "utf8")
      .split("\n")
      .filter((line) => of.test(line))
      .map((line) => [`${file} ${line.split(/:|\s{2,}/)[0]}`, line]);
  const names = ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "user", "uts", "time"];
  return Object.fromEntries([
    ...lines("status", /^(Uid|Gid|Groups|Umask|Cap\w+|NoNewPrivs|Seccomp|Seccomp_filters):/),
    ...lines("limits", /^Max/),
    ...lines("cgroup", /./).map(([, line]): [string, string] => [`cgroup ${line.split(":")[1]}`, line]),
    ...names.map((name): [string, string] => [`namespace ${name}`, readlinkSync(`/proc/${pid}/ns/${name}`)]),
    ["root", readlinkSync(`/proc/${pid}/root`)],
    ["oom_score_adj", readFileSync(`/proc/${pid}/oom_score_adj`, "utf8")],
  ]);
}

t.test("what is run in a container is as contained as what it was made for", async (t) => {
  const cases: readonly (readonly [string, Partial<ContainerSpec>])[] = [
    ["as it comes", {}],
    ["a user by number", { user: "1000" }],
    ["a user by name", { user: "alice" }],
    ["read-only", { readOnly: true }],
    ["with an init", { init: true }],
  ];
  for (const [what, more] of cases) {
    const { id, pid } = await begin(more);
    const exec = await runtime.exec(id, execSpec(["sh", "-c", "echo ready; sleep 300"]), soon());
    await exec.output()[Symbol.asyncIterator]().next();
    const pids = await pidsOf(id);
    const inside = pids.filter((each) => each !== pid && !pids.includes(parentOf(each)));
    t.equal(inside.length, 1, `${what}: the process is there`);
    const [own, further] = [bonds(pid), bonds(inside[0] ?? 0)];
    t.same(further, own, what);
    t.match(further["status Seccomp"], /2$/);
    t.match(further["status NoNewPrivs"], /1$/);
    await exec.end();
  }
  // Another user than the container's has what a container made for that user would have.
  const [root, alice] = [await begin(), await begin({ user: "alice" })];
  for (const [from, user, like] of [
    [alice, "root", root],
    [root, "alice", alice],
  ] as const) {
    const status = async (id: ContainerId, command: readonly string[], as: string): Promise<string> =>
      String((await finish(await runtime.exec(id, execSpec(command, { user: as }), soon()))).stdout);
    const words = ["grep", "-E", "^(Uid|Gid|Groups|Cap.*|NoNewPrivs|Seccomp.*):", "/proc/self/status"];
    t.equal(await status(from.id, words, user), await status(like.id, words, ""), `--user ${user}`);
  }
  const readOnly = await begin({ readOnly: true });
  t.match((await finish(await runtime.exec(readOnly.id, execSpec(["touch", "/x"]), soon()))).stderr, /Read-only/);
  await nothingLeft(t);
});

async function pidsOf(id: ContainerId): Promise<readonly number[]> {
  const paths = [`/sys/fs/cgroup/pids${scene.cgroupParent}/${id}/cgroup.procs`, `/sys/fs/cgroup${scene.cgroupParent}/${id}/cgroup.procs`];
  for (const path of paths) {
    try {
      return readFileSync(path, "utf8").trim().split("\n").map(Number);
    } catch {
      // The other version of cgroups.
    }
  }
  return [];
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

t.test("a container that changes its files while it is looked up leads nowhere", async (t) => {
  const { id } = await begin();
  const shell = async (script: string): Promise<unknown> => finish(await runtime.exec(id, execSpec(["sh", "-c", script]), soon()));
  await shell("rm /etc/passwd; ln -s /../../../../../../etc/shadow /etc/passwd; rm /etc/group; mknod /etc/group p; ln -s loop /loop; ln -s / /up");
  const refused = await runtime.exec(id, execSpec(["id"], { user: "daemon" }), soon()).catch(asCcError);
  t.match(refused, { code: "BAD_REQUEST", message: /knows no user "daemon"/ }, "the host's own users are none of its");
  await shell("mkdir -p /a/b/c/d; echo hello >/a/b/c/d/file; ln -s /up/../a/b /short; rm /etc/group; ln -s ../short/../b/c/d/file /etc/group");
  const root = join(scene.runDir, id, "rootfs");
  t.equal(await textInLiveRoot(root, "/etc/group"), "hello\n", "links within it are followed");
  for (const path of ["/loop", "/none", "/a", "/a/b/c/d/file/x", "/proc/self/environ"]) t.equal(await textInLiveRoot(root, path), "", path);

  // A folder that becomes a link out again and again: whatever a look meets, it is the container's.
  const canary = join(scene.folder, "canary");
  await rm(canary, { recursive: true, force: true });
  await writeFile(canary, "the host's\n");
  await symlink(scene.folder, join(root, "swap.link"));
  await shell("mkdir /swap.dir; echo own >/swap.dir/canary");
  const swap = "mv /swap.dir /swap; mv /swap /swap.dir; cp -a /swap.link /swap; rm -f /swap";
  const swapping = await runtime.exec(id, execSpec(["sh", "-c", `echo ready; while :; do ${swap}; done`]), soon());
  await swapping.output()[Symbol.asyncIterator]().next();
  const seen = new Set<string>();
  for (let look = 0; look < 500 || (look < 20_000 && seen.size < 2); look += 1) seen.add(await textInLiveRoot(root, "/swap/canary"));
  await swapping.end();
  t.notOk(seen.has("the host's\n"), `${[...seen].map((text) => JSON.stringify(text)).join(" ")}`);
  t.ok(seen.has("own\n"));
  await nothingLeft(t);
});

t.test("a peer that starts ends what its earlier life has left, not what another has in a folder of the same name", async (t) => {
  const folder = join(scene.runDir, "same-name");
  await mkdir(join(folder, "1"), { recursive: true });
  const ours = spawn("sleep", ["60"], { cwd: join(folder, "1") });
  const script = 'mount -t tmpfs tmpfs "$0" && mkdir "$0/1" && cd "$0/1" && echo there && exec sleep 60';
  const theirs = spawn("unshare", ["--mount", "--propagation", "private", "sh", "-c", script, folder]);
  t.teardown(() => theirs.kill("SIGKILL"));
  t.equal(readlinkSync(`/proc/${ours.pid}/cwd`), join(folder, "1"));
  await once(theirs.stdout, "data");
  t.equal(readlinkSync(`/proc/${theirs.pid}/cwd`), join(folder, "1"), "they cannot be told apart by name");
  const ended = once(ours, "exit");
  await endScripts(systemClock, folder);
  t.same(await ended, [null, "SIGKILL"]);
  t.equal(readlinkSync(`/proc/${theirs.pid}/cwd`), join(folder, "1"), "the other one goes on");
  await rm(folder, { recursive: true });
});

t.test("a peer that is killed leaves no process of an exec, nor a file", async (t) => {
  const { id, pid } = await begin();
  for (let kill = 0; kill < KILLS; kill += 1) {
    const momentMs = Math.round((kill % 4) * 100 * Math.random());
    const child = await spawnPeer(scene);
    child.stdin.write(`exec ${id} - trap '' HUP; sleep 300 & sleep 300\nexec ${id} - cat >/tmp/x; sleep 300\n`);
    await new Promise((resolve) => setTimeout(resolve, momentMs));
    // Now and then it is surely killed with something in the container.
    if (kill % 4 === 3) while ((await pidsOf(id)).length < 4) await new Promise((resolve) => setTimeout(resolve, 20));
    await killPeer(child);
    await runtime.close();
    runtime = await scene.open();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const others = (await pidsOf(id)).filter((each) => each !== pid);
    t.same(others, [], `killed after ${momentMs} ms`);
    t.equal((await finish(await runtime.exec(id, execSpec(["true"]), soon()))).exitCode, 0);
  }
  await nothingLeft(t);
});

import { mkdtemp, readFile, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { createCommandRunner, createUserNamespacePin, DEFAULT_ID_RANGE, type UserNamespacePin } from "../../../src/host/index.ts";

const commands = createCommandRunner();

/** Not tap's own folder: that one is removed before a pin mounted below it is released. */
async function scratch(t: { teardown(fn: () => Promise<void>): unknown }, pins: readonly { close(): Promise<void> }[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "cc-userns-"));
  t.teardown(async () => {
    for (const pin of pins) await pin.close();
    await rm(folder, { recursive: true, force: true });
  });
  return folder;
}

async function inside(path: string, ...argv: string[]): Promise<string> {
  const outcome = await commands.run(["nsenter", `--user=${path}`, "-S", "0", "-G", "0", ...argv]);
  return outcome.stdout.trim();
}

t.test("a pinned user namespace maps root to a high id, outlives its maker and is found again", async (t) => {
  const pins: UserNamespacePin[] = [];
  const folder = await scratch(t, pins);
  const runDir = join(folder, "run");
  const pin = createUserNamespacePin({ runDir, commands });
  pins.push(pin);
  await Promise.all([pin.ready(), pin.ready()]);
  const identity = await inside(pin.path, "readlink", "/proc/self/ns/user");
  t.equal(await inside(pin.path, "id", "-u"), "0");
  t.not(identity, await (await commands.run(["readlink", "/proc/self/ns/user"])).stdout.trim(), "it is not the host's");

  const owned = join(folder, "open", "owned");
  await commands.run(["install", "-d", "-o", String(pin.uidMap.hostId), join(folder, "open")]);
  // Reached by the working directory: root inside may not pass folders of root outside.
  await commands.run(["nsenter", `--user=${pin.path}`, "-S", "0", "-G", "0", "touch", "owned"], { cwd: join(folder, "open") });
  const stat = await commands.run(["stat", "-c", "%u:%g", owned]);
  t.equal(stat.stdout.trim(), `${DEFAULT_ID_RANGE.uidBase}:${DEFAULT_ID_RANGE.gidBase}`, "root inside is not root outside");

  const again = createUserNamespacePin({ runDir, commands });
  await again.ready();
  t.equal(await inside(again.path, "readlink", "/proc/self/ns/user"), identity, "a returning peer adopts the same namespace");
});

t.test("another mapping than the pinned one is refused", async (t) => {
  const pins: UserNamespacePin[] = [];
  const runDir = await scratch(t, pins);
  const pin = createUserNamespacePin({ runDir, commands, uidBase: 3_000_000, gidBase: 4_000_000, size: 65_536 });
  pins.push(pin);
  await pin.ready();
  t.equal((await inside(pin.path, "cat", "/proc/self/gid_map")).split(/\s+/).join(" "), "0 4000000 65536");
  await t.rejects(
    createUserNamespacePin({ runDir, commands }).ready(),
    new CcError(
      "INTERNAL",
      `containers on this host use the id mapping "0 3000000 65536" and "0 4000000 65536", the configuration says "0 1879048192 16777216" and "0 1879048192 16777216"; set it back, or remove all containers and reboot`,
    ),
  );
});

t.test("close takes mount and file away, twice is fine, and a new one can be made", async (t) => {
  const pins: UserNamespacePin[] = [];
  const runDir = await scratch(t, pins);
  const pin = createUserNamespacePin({ runDir, commands });
  pins.push(pin);
  await pin.ready();
  await pin.close();
  await pin.close();
  await t.rejects(statfs(pin.path), { code: "ENOENT" });
  t.notMatch(await readFile("/proc/self/mounts", "utf8"), runDir);
  await pin.ready();
  t.equal(await inside(pin.path, "id", "-u"), "0");
});

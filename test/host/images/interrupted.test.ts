import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, readlink } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import { join } from "node:path";
import t from "tap";
import type { HostImageStore, PullProgress } from "../../../src/images/index.ts";
import { buildImage, pushImage } from "./oci-layout.ts";
import { startRegistry } from "./registry.ts";
import { makeFixture, output, TEST_MS_MAX } from "./store-fixture.ts";

t.setTimeout(TEST_MS_MAX);
const fixture = await makeFixture();
const registry = await startRegistry(join(fixture.folder, "registry"));
/** Before the registry: slows blobs down, so that there is a middle to be interrupted in. */
const slow = await startSlowProxy(registry.address);
t.teardown(async () => {
  await slow.stop();
  await registry.stop();
  await fixture.close();
});
const insecureRegistries = [slow.address, registry.address];
const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(60_000) });

/** An image of a small layer, which is unpacked at once, and a big one, which takes its time on the way. */
async function bigImage(name: string): Promise<{ name: string; layers: readonly string[] }> {
  const image = buildImage({ layers: [{ entries: [{ path: "small", data: name }] }, { entries: [{ path: "big", data: randomBytes(300_000) }] }] });
  await pushImage(registry.url, name, "1", image);
  return { name: `${slow.address}/${name}:1`, layers: image.layerDigests };
}

function untilStep(store: HostImageStore, name: string, step: PullProgress["step"], signal: AbortSignal): { pulled: Promise<unknown>; reached: Promise<void> } {
  let reach: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const pulled = store.pull(name, { signal, onProgress: (progress) => progress.step === step && reach() }).catch((error: unknown) => error);
  return { pulled, reached };
}

t.test("ten pulls of one image at once fetch each layer once", async (t) => {
  const store = fixture.open({ insecureRegistries });
  const { name, layers } = await bigImage("lib/shared");
  slow.bytesPerSecond = 1_000_000;
  const images = await Promise.all(Array.from({ length: 10 }, () => store.pull(name, soon())));
  t.equal(new Set(images.map(({ digest }) => digest)).size, 1);
  for (const digest of layers) t.equal(await registry.blobGets(digest), 1);
});

t.test("one caller that leaves changes nothing for the other; the last one stops it and nothing is left", async (t) => {
  const store = fixture.open({ insecureRegistries });
  const { name } = await bigImage("lib/left");
  slow.bytesPerSecond = 200_000;
  const first = new AbortController();
  const one = untilStep(store, name, "unpacking", first.signal);
  const other = store.pull(name, soon());
  await one.reached;
  first.abort(new DOMException("enough", "AbortError"));
  t.match(await one.pulled, { name: "AbortError", message: "enough" });
  t.equal((await other).layers.length, 2);

  const before = await fixture.leftovers();
  const next = await bigImage("lib/stopped");
  const both = [new AbortController(), new AbortController()];
  const pulls = both.map(({ signal }) => untilStep(store, next.name, "unpacking", signal));
  await Promise.all(pulls.map(({ reached }) => reached));
  for (const controller of both) controller.abort(new DOMException("enough", "AbortError"));
  for (const { pulled } of pulls) t.match(await pulled, { name: "AbortError" });
  t.same(await fixture.leftovers(), before, "no folder, layer or password is left");
  t.equal(await store.local(next.name), undefined);
  t.equal(await programsIn(fixture.folder), "", "no program of the pull is left");
  slow.bytesPerSecond = Number.POSITIVE_INFINITY;
  t.equal((await store.pull(next.name, soon())).layers.length, 2, "and it can be pulled again");
});

t.test("the registry dies in the middle: an error, nothing left", async (t) => {
  const store = fixture.open({ insecureRegistries });
  const before = await fixture.leftovers();
  const { name } = await bigImage("lib/dies");
  slow.bytesPerSecond = 20_000;
  const { pulled, reached } = untilStep(store, name, "unpacking", AbortSignal.timeout(60_000));
  await reached;
  slow.cut();
  t.match(await pulled, { name: "CcError", code: /REGISTRY_UNREACHABLE|IMAGE_PULL_FAILED/ });
  t.same(await fixture.leftovers(), before);
});

t.test("the process is killed in the middle: skopeo and tar die with it, the next start sweeps", async (t) => {
  const { name } = await bigImage("lib/killed");
  slow.bytesPerSecond = 20_000;
  const dataDir = join(fixture.folder, "killed");
  const child = spawnPull(dataDir, name);
  await new Promise<void>((resolve) => child.stdout?.on("data", (chunk: Buffer) => chunk.includes("unpacking") && resolve()));
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
  t.equal((await readdir(join(dataDir, "t"))).length, 1, "the pull's folder was left");
  t.equal((await fixture.leftovers()).auth.length, 2, "so were its passwords");
  await mkdir(join(dataDir, "l", "orphan"));
  const store = fixture.open({ dataDir, insecureRegistries });
  await store.sweep();
  t.same(await readdir(join(dataDir, "t")), []);
  t.same(await readdir(join(dataDir, "l")), []);
  t.same((await fixture.leftovers()).auth, []);
  t.same(await store.list(), []);
  t.equal(await programsIn(fixture.folder), "");
  slow.bytesPerSecond = Number.POSITIVE_INFINITY;
  t.equal((await store.pull(name, soon())).layers.length, 2);
});

t.test("a full disk: NO_ROOM, and nothing of it stays", async (t) => {
  const disk = join(fixture.folder, "disk");
  await mkdir(disk);
  await output("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk);
  t.teardown(() => output("umount", disk));
  const zeros = buildImage({ layers: [{ entries: [{ path: "zeros", data: Buffer.alloc(8_000_000) }] }] });
  await pushImage(registry.url, "lib/zeros", "1", zeros);
  const name = `${registry.address}/lib/zeros:1`;
  const brim = fixture.open({ dataDir: join(disk, "d"), insecureRegistries, freeBytesMin: 0 });
  await t.rejects(brim.pull(name, soon()), { code: "NO_ROOM", message: /disk of this host/ });
  t.same(await readdir(join(disk, "d", "t")), []);
  t.same(await readdir(join(disk, "d", "l")), []);
  const careful = fixture.open({ dataDir: join(disk, "d"), insecureRegistries, freeBytesMin: 8_000_000 });
  await t.rejects(careful.pull(name, soon()), { code: "NO_ROOM", message: /stay free/ });
});

/** Pulls in a process of its own, so that it can be killed. */
function spawnPull(dataDir: string, name: string): ChildProcess {
  const source = new URL("../../../src/", import.meta.url).pathname;
  const script = `
    import { createCommandRunner, createLogger, createUserNamespacePin, systemClock, systemRandom } from "${source}host/index.ts";
    import { createImageStore } from "${source}images/index.ts";
    const commands = createCommandRunner();
    const runDir = ${JSON.stringify(fixture.runDir)};
    const pin = createUserNamespacePin({ runDir, commands });
    const store = createImageStore({ dataDir: ${JSON.stringify(dataDir)}, runDir, pin, commands, clock: systemClock, random: systemRandom, log: createLogger(), insecureRegistries: ${JSON.stringify(insecureRegistries)} });
    await store.pull(${JSON.stringify(name)}, { credentials: { user: "u", password: "p" }, signal: new AbortController().signal, onProgress: (p) => console.log(p.step) });
  `;
  return spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
}

/** Command lines of programs, but for the registry and ourselves, that name the folder or work in it. They get a moment to die. */
async function programsIn(folder: string): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    const found: string[] = [];
    for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      const place = await readlink(`/proc/${pid}/cwd`).catch(() => "");
      if (!command.includes("docker-registry") && `${command} ${place}`.includes(folder)) found.push(command.replaceAll("\0", " "));
    }
    if (found.length === 0 || tries === 40) return found.join("\n");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

type SlowProxy = { readonly address: string; bytesPerSecond: number; cut(): void; stop(): Promise<void> };

async function startSlowProxy(target: string): Promise<SlowProxy> {
  const [host = "", port = ""] = target.split(":");
  const sockets = new Set<{ destroy(): void }>();
  const server: Server = createServer((incoming, outgoing) => {
    const onward = request({ host, port, path: incoming.url, method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.on("error", () => outgoing.destroy());
      answer.on("data", (chunk: Buffer) => {
        outgoing.write(chunk);
        if (incoming.url?.includes("/blobs/") !== true || proxy.bytesPerSecond === Number.POSITIVE_INFINITY) return;
        answer.pause();
        setTimeout(() => answer.resume(), (chunk.length / proxy.bytesPerSecond) * 1_000);
      });
      answer.on("end", () => outgoing.end());
    });
    onward.on("error", () => outgoing.destroy());
    incoming.pipe(onward);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("no port");
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const proxy: SlowProxy = {
    address: `127.0.0.1:${bound.port}`,
    bytesPerSecond: Number.POSITIVE_INFINITY,
    cut,
    async stop() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

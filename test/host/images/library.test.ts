import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { type Clock, type PeerId, silentLogger } from "../../../src/base/index.ts";
import { systemClock } from "../../../src/host/index.ts";
import type { BlobSource, Digest, HostImageStore, ImageNeeds } from "../../../src/images/index.ts";
import { type BuiltImage, buildImage, buildIndex, sha256 } from "./oci-layout.ts";
import { type Fixture, makeFixture, TEST_MS_MAX } from "./store-fixture.ts";

t.setTimeout(TEST_MS_MAX);
const UPLOADER = fileURLToPath(new URL("./upload-child.ts", import.meta.url));
const HOUR = 3_600_000;
const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(60_000) });
const NOTHING: ImageNeeds = { references: new Set(), digests: new Set(), uploads: new Set(), unknown: false };

/** A wall clock that the test sets ahead; waits are real. */
function steppedClock(): Clock & { stepMs: number } {
  const clock = { ...systemClock, stepMs: 0, nowMs: () => systemClock.nowMs() + clock.stepMs };
  return clock;
}

async function* chunks(bytes: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const all = (image: BuiltImage): readonly (readonly [string, Buffer])[] => [...image.blobs, [image.digest, image.manifest]];

async function upload(store: HostImageStore, image: BuiltImage): Promise<void> {
  for (const [digest, bytes] of all(image)) await store.library.blobs.receive({ digest: digest as Digest, sizeBytes: bytes.length }, chunks(bytes), soon());
}

async function names(fixture: Fixture, kind: string): Promise<string[]> {
  return readdir(join(fixture.dataDir, kind)).catch(() => []);
}

/** Another host's store as its network would show it. */
function sourceOf(store: HostImageStore): BlobSource & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    offers: async (digests) => new Map([...(await store.library.blobs.have(digests)).keys()].map((digest) => [digest, ["other" as PeerId]])),
    read: (_from, digest) => {
      asked.push(digest);
      return store.library.blobs.read(digest);
    },
  };
}

async function fixtureFor(t: { teardown(fn: () => Promise<void>): void }): Promise<Fixture> {
  const fixture = await makeFixture({ log: silentLogger });
  t.teardown(() => fixture.close());
  return fixture;
}

t.test("lies about digest and size leave nothing, and truth is there after a restart", async (t) => {
  const fixture = await fixtureFor(t);
  const { blobs } = fixture.open().library;
  const bytes = Buffer.from("x".repeat(200_000));
  const digest = sha256(bytes) as Digest;
  const other = sha256(Buffer.from("other")) as Digest;
  await t.rejects(blobs.receive({ digest: other, sizeBytes: bytes.length }, chunks(bytes), soon()), { code: "BAD_REQUEST", message: /another digest/ });
  await t.rejects(blobs.receive({ digest, sizeBytes: 100_000 }, chunks(bytes), soon()), { code: "BAD_REQUEST", message: /larger than/ });
  await t.rejects(blobs.receive({ digest, sizeBytes: 300_000 }, chunks(bytes), soon()), { code: "BAD_REQUEST", message: /300000 were announced/ });
  const gone = new AbortController();
  await t.rejects(
    blobs.receive(
      { digest, sizeBytes: bytes.length },
      (async function* () {
        yield bytes.subarray(0, 1_000);
        gone.abort(new Error("the caller left"));
        yield bytes.subarray(1_000);
      })(),
      { signal: gone.signal },
    ),
    { message: "the caller left" },
  );
  t.same([await names(fixture, "b"), await names(fixture, "u")], [[], []]);
  t.equal((await blobs.have([digest])).size, 0);
  await blobs.receive({ digest, sizeBytes: bytes.length }, chunks(bytes), soon());
  const again = fixture.open().library.blobs;
  t.same([...(await again.have([digest, other]))], [[digest, bytes.length]]);
  t.equal(await again.text(digest), bytes.toString());
  await t.rejects(
    async () => {
      for await (const _ of again.read(other)) t.fail("it is not here");
    },
    { code: "NOT_FOUND" },
  );
});

t.test("an uploaded image runs from its blobs alone, is given to another host, and is listed under its name", async (t) => {
  const [first, second] = [await fixtureFor(t), await fixtureFor(t)];
  const store = first.open();
  const image = buildImage({
    layers: [{ entries: [{ path: "hello", data: "hi" }] }, { entries: [{ path: "more", data: "x".repeat(100_000) }], compression: "none" }],
  });
  const reference = `mesh/web@${image.digest}`;
  await upload(store, image);
  t.match(await store.library.hold("docker.io/library/web:1"), { code: "BAD_IMAGE_REFERENCE" });
  t.ok((await store.library.hold(reference)).ok);
  t.match(await store.library.list(), [{ digest: image.digest, references: [reference] }]);
  const pulled = await store.pull(reference, soon());
  t.equal(await readFile(join(pulled.layers[0] ?? "", "hello"), "utf8"), "hi");

  const source = sourceOf(store);
  const other = second.open({ source });
  await other.pull(reference, soon());
  t.same(new Set(source.asked), new Set(all(image).map(([digest]) => digest)), "each blob came once, from the other host");
  t.equal(source.asked.length, all(image).length);
  t.ok(await other.library.isWhole(image.digest as Digest), "which can be asked for it as well from now on");
  t.notOk(
    second.argvs.some((argv) => argv.includes("skopeo")),
    "no registry was asked",
  );
  t.match(await other.library.list(), [{ digest: image.digest, references: [reference] }]);
  await t.rejects(second.open().pull(`mesh/web@sha256:${"0".repeat(64)}`, soon()), {
    code: "IMAGE_NOT_FOUND",
    message: /no host that can be reached.*cc image push/,
  });
});

t.test("of an index the images that were brought are enough", async (t) => {
  const fixture = await fixtureFor(t);
  const store = fixture.open();
  const mine = buildImage({ layers: [{ entries: [{ path: "a", data: "a" }] }], architecture: process.arch === "arm64" ? "arm64" : "amd64" });
  const theirs = buildImage({ layers: [{ entries: [{ path: "b", data: "b" }] }], architecture: "s390x" });
  const index = buildIndex([theirs, mine]);
  const root = { digest: index.digest as Digest, sizeBytes: index.bytes.length };
  await store.library.blobs.receive(root, chunks(index.bytes), soon());
  t.notOk(await store.library.isWhole(root.digest));
  await upload(store, mine);
  t.ok(await store.library.isWhole(root.digest));
  t.equal((await store.pull(`mesh/multi@${root.digest}`, soon())).digest, mine.digest);
  await store.library.remove([root.digest, mine.digest as Digest]);
  t.same(await names(fixture, "b"), []);
});

t.test("an upload goes after an hour, not while a container names it; its bytes count against the quota until then", async (t) => {
  const fixture = await fixtureFor(t);
  const clock = steppedClock();
  const store = fixture.open({ clock });
  const { library } = store;
  const image = buildImage({ layers: [{ entries: [{ path: "a", data: "a" }] }] });
  const root = image.digest as Digest;
  const bytes = all(image).reduce((sum, [, blob]) => sum + blob.length, 0);
  await upload(store, image);
  t.ok((await library.hold(`mesh/web@${root}`)).ok);
  t.same(await library.unreferenced(), { bytes, blobs: 3 });

  clock.stepMs = 0.9 * HOUR;
  await library.collect(NOTHING);
  t.ok(await library.isWhole(root), "within the hour it waits");
  const needed = { ...NOTHING, uploads: new Set([root]) };
  clock.stepMs = 5 * HOUR;
  await library.collect(needed);
  t.ok(await library.isWhole(root), "a container somewhere names it");
  t.same(await library.unreferenced(), { bytes: 0, blobs: 0 });
  const other = buildImage({ layers: [{ entries: [{ path: "b", data: "b" }] }] });
  await upload(store, other);
  await library.hold(`mesh/other@${other.digest}`);
  await library.collect({ ...NOTHING, uploads: new Set([root, other.digest as Digest]) });
  await library.remove([other.digest as Digest]);
  t.equal((await names(fixture, "b")).length, 3, "removed though it was needed at the last look: nothing of it is left");
  clock.stepMs = 5.9 * HOUR;
  await library.collect(NOTHING);
  t.ok(await library.isWhole(root), "an hour more after the container went");
  clock.stepMs = 7.2 * HOUR;
  await library.collect(NOTHING);
  t.same([await names(fixture, "b"), await names(fixture, "h"), await library.list()], [[], [], []]);
});

t.test("collection: by age, by room, never what a container here needs; layers and blobs go with the image", async (t) => {
  const fixture = await fixtureFor(t);
  const clock = steppedClock();
  const store = fixture.open({ clock, unusedMsMax: 24 * HOUR, bytesMax: 1_500_000 });
  const big = (name: string) => buildImage({ layers: [{ entries: [{ path: name, data: name.repeat(600_000) }] }] });
  const [a, b, c] = [big("a"), big("b"), big("c")];
  const pull = async (name: string, image: BuiltImage) => {
    await upload(store, image);
    return store.pull(`mesh/${name}@${image.digest}`, soon());
  };
  await pull("a", a);
  clock.stepMs = HOUR;
  const second = await pull("b", b);
  clock.stepMs = 2 * HOUR;
  await pull("c", c);
  t.same(
    await store.library.collect({ ...NOTHING, digests: new Set([a.digest as Digest]) }),
    [b.digest],
    "three are too much: the oldest that nobody needs went",
  );
  await t.rejects(access(second.layers[0] ?? ""), { code: "ENOENT" }, "with its layers");
  t.notOk(await store.library.isWhole(b.digest as Digest), "and its blobs, once their hour is over");
  clock.stepMs = 40 * HOUR;
  t.same(await store.library.collect({ ...NOTHING, unknown: true }), [], "something runs here of which nobody knows the image");
  clock.stepMs = 80 * HOUR;
  t.same(await store.library.collect({ ...NOTHING, references: new Set([`mesh/a@${a.digest}`]) }), [c.digest]);
  t.same(
    (await fixture.open({ clock }).library.list()).map(({ digest }) => digest),
    [a.digest],
    "also after a restart",
  );
  t.equal((await names(fixture, "l")).length, 1);
});

for (const before of ["its configuration is known", "its other layer is here"] as const)
  t.test(`a pull that counts on a layer keeps it, though its image goes before ${before}`, async (t) => {
    const fixture = await fixtureFor(t);
    const base = { entries: [{ path: "base", data: "b".repeat(50_000) }] };
    const old = buildImage({ layers: [base] });
    const next = buildImage({ layers: [base, { entries: [{ path: "top", data: "t" }] }] });
    const gate: { open: () => void; reached: () => void } = { open: () => undefined, reached: () => undefined };
    const opened = new Promise<void>((resolve) => Object.assign(gate, { open: resolve }));
    const reached = new Promise<void>((resolve) => Object.assign(gate, { reached: resolve }));
    const config: unknown = JSON.parse(next.manifest.toString());
    const awaited = before === "its other layer is here" ? next.layerDigests[1] : (config as { config: { digest: string } }).config.digest;
    const store = fixture.open({
      source: {
        offers: async (digests) => new Map(digests.map((digest) => [digest, ["other" as PeerId]])),
        async *read(_from, digest) {
          if (digest === awaited) {
            gate.reached();
            await opened;
          }
          yield next.blobs.get(digest) ?? next.manifest;
        },
      },
    });
    await upload(store, old);
    await store.pull(`mesh/old@${old.digest}`, soon());
    const pulling = store.pull(`mesh/next@${next.digest}`, soon());
    await reached;
    await store.library.remove([old.digest as Digest]);
    gate.open();
    const image = await pulling;
    for (const layer of image.layers) await access(layer);
    t.equal(image.layers.length, 2);
    t.ok(image.sizeBytes > 50_000, "and its size");
    t.equal(await readFile(join(image.layers[0] ?? "", "base"), "utf8"), "b".repeat(50_000));
  });

t.test("killed -9 in the midst of uploads: what is in place is whole, the rest is gone at the next start", async (t) => {
  const fixture = await fixtureFor(t);
  for (const afterMs of [10, 45, 120]) {
    const child = spawn(process.execPath, [UPLOADER, fixture.dataDir], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    child.kill("SIGKILL");
    await once(child, "close");
    const store = fixture.open();
    await store.sweep();
    t.same(await names(fixture, "u"), [], "nothing half");
    for (const name of await names(fixture, "b")) t.equal(sha256(await readFile(join(fixture.dataDir, "b", name))), `sha256:${name}`);
  }
  await writeFile(join(fixture.dataDir, "b", "stray"), "x");
  t.same([...(await fixture.open().library.blobs.have(["sha256:stray" as Digest]))], [], "what is no digest is no blob");
});

import { randomBytes } from "node:crypto";
import { access, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { DEFAULT_ID_RANGE } from "../../../src/host/index.ts";
import { buildImage, type LayerSource, pushImage, type TarEntry } from "./oci-layout.ts";
import { startRegistry } from "./registry.ts";
import { makeFixture, output, statOf, TEST_MS_MAX } from "./store-fixture.ts";

t.setTimeout(TEST_MS_MAX);
const fixture = await makeFixture();
const registry = await startRegistry(join(fixture.folder, "registry"));
t.teardown(async () => {
  await registry.stop();
  await fixture.close();
});
const store = fixture.open({ insecureRegistries: [registry.address] });
const base = DEFAULT_ID_RANGE.uidBase;
let count = 0;

/** Pulls an image of these layers and gives the folders of its stack, lowest first. */
async function unpacked(layers: readonly LayerSource[], extra: { docker?: boolean; diffIds?: readonly string[] } = {}): Promise<readonly string[]> {
  const name = `lib/unpack${count++}`;
  await pushImage(registry.url, name, "1", buildImage({ layers, ...extra }));
  const image = await store.pull(`${registry.address}/${name}:1`, { signal: AbortSignal.timeout(30_000) });
  return image.layers;
}

t.test("owners, modes, times, links, attributes and odd names arrive as they are in the archive, in each compression", async (t) => {
  const long = `deep/${"n".repeat(120)}`;
  const entries = (salt: string): TarEntry[] => [
    { path: "./", type: "dir", mode: 0o751 },
    { path: "./bin", type: "dir" },
    { path: "./bin/su", data: salt, mode: 0o4755 },
    { path: "./home", type: "dir", uid: 1000, gid: 2000, mode: 0o2750 },
    { path: "./home/mine", data: "mine", uid: 1000, gid: 2000, mode: 0o640, mtime: 1_234_567_890 },
    { path: "./home/far", data: "far", uid: 200_000, gid: 300_000 },
    { path: "./hard", type: "hardlink", link: "./home/mine" },
    { path: "./soft", type: "symlink", link: "/etc/passwd" },
    { path: "./up", type: "symlink", link: "../../../../../../tmp" },
    { path: "./pipe", type: "fifo" },
    { path: "./tmp", type: "dir", mode: 0o1777 },
    { path: "./cap", data: "cap", xattrs: { "user.note": "kept" } },
    { path: "./with\nnewline and 'quotes'", data: "odd" },
    { path: "./deep", type: "dir" },
    { path: long, data: "long" },
    { path: "./opt", type: "dir" },
    { path: "./opt/dev", type: "dir" },
    { path: "./opt/dev/kept", data: "kept" },
    { path: "./dev", type: "dir" },
    { path: "./dev/null", type: "char", major: 1, minor: 3 },
    { path: "./opt/console", type: "char", major: 5, minor: 1 },
  ];
  for (const [compression, docker] of [
    ["gzip", false],
    ["zstd", false],
    ["none", false],
    ["gzip", true],
    ["none", true],
  ] as const) {
    const [layer = ""] = await unpacked([{ entries: entries(`${compression}${docker}`), compression }], { docker });
    const at = (name: string): string => join(layer, name);
    const label = `${compression}${docker ? " docker" : ""}`;
    t.equal(await statOf(layer, "%a %u %g"), `751 ${base} ${base}`, `${label}: root folder`);
    t.equal(await statOf(at("bin/su"), "%a %u"), `4755 ${base}`, `${label}: setuid, owned by the container's root, not the host's`);
    t.equal(await statOf(at("home"), "%a %u %g"), `2750 ${base + 1000} ${base + 2000}`, `${label}: setgid folder`);
    t.equal(await statOf(at("home/mine"), "%a %u %g %Y %h"), `640 ${base + 1000} ${base + 2000} 1234567890 2`, `${label}: file with a hard link`);
    t.equal(await statOf(at("hard"), "%i"), await statOf(at("home/mine"), "%i"), `${label}: the same inode`);
    t.equal(await statOf(at("home/far"), "%u %g"), `${base + 200_000} ${base + 300_000}`, `${label}: ids above 65,535`);
    t.equal(await output("readlink", at("soft")), "/etc/passwd\n", `${label}: absolute link kept`);
    t.equal(await output("readlink", at("up")), "../../../../../../tmp\n", `${label}: link out of the layer kept as text`);
    t.equal(await statOf(at("pipe"), "%F"), "fifo", `${label}: fifo`);
    t.equal(await statOf(at("tmp"), "%a"), "1777", `${label}: sticky`);
    t.match(await output("getfattr", "-n", "user.note", "--absolute-names", at("cap")), /user.note="kept"/, `${label}: extended attribute`);
    t.equal(await readFile(at("with\nnewline and 'quotes'"), "utf8"), "odd", `${label}: odd name`);
    t.equal(await readFile(at(long), "utf8"), "long", `${label}: long name`);
    t.equal(await readFile(at("opt/dev/kept"), "utf8"), "kept", `${label}: another folder called dev keeps its files`);
    t.same(await readdir(at("dev")), [], `${label}: nothing in /dev`);
    await t.rejects(access(at("opt/console")), { code: "ENOENT" }, `${label}: no device anywhere`);
  }
});

t.test("whiteouts hide what lower layers have, in an overlay as the kernel mounts it", async (t) => {
  const lower: TarEntry[] = [
    { path: "gone", data: "1" },
    { path: "stays", data: "1" },
    { path: "dir", type: "dir" },
    { path: "dir/gone", data: "1" },
    { path: "dir/stays", data: "1" },
    { path: "opaque", type: "dir" },
    { path: "opaque/old", data: "1" },
    { path: "whole", type: "dir" },
    { path: "whole/file", data: "1" },
    { path: "replaced", type: "dir" },
    { path: "replaced/old", data: "1" },
    { path: "rewritten", data: "old" },
  ];
  const upper: TarEntry[] = [
    { path: ".wh.gone" },
    { path: "dir/.wh.gone" },
    { path: "opaque/.wh..wh..opq" },
    { path: "opaque/new", data: "2" },
    { path: ".wh.whole" },
    { path: ".wh.replaced" },
    { path: "replaced", type: "dir" },
    { path: "replaced/new", data: "2" },
    { path: ".wh.rewritten" },
    { path: "rewritten", data: "new" },
    { path: ".wh..wh.plnk", type: "dir" },
    { path: ".wh..." },
  ];
  const [first = "", second = ""] = await unpacked([{ entries: lower }, { entries: upper }]);
  t.equal(await statOf(join(second, "gone"), "%F %t %T"), "character special file 0 0");
  const merged = join(fixture.folder, "merged");
  await mkdir(merged);
  await output("mount", "-t", "overlay", "overlay", "-o", `ro,lowerdir=${second}:${first}`, merged);
  t.teardown(() => output("umount", merged));
  t.same((await readdir(merged)).sort(), ["dir", "opaque", "replaced", "rewritten", "stays"]);
  t.same(await readdir(join(merged, "dir")), ["stays"]);
  t.same(await readdir(join(merged, "opaque")), ["new"]);
  t.same(await readdir(join(merged, "replaced")), ["new"]);
  t.equal(await readFile(join(merged, "rewritten"), "utf8"), "new");
});

t.test("a hostile archive writes nothing outside its layer", async (t) => {
  const open = join(fixture.folder, "open");
  await mkdir(open, { mode: 0o777 });
  await output("chmod", "777", open, fixture.folder);
  await writeFile(join(open, "victim"), "before", { mode: 0o666 });
  await output("chmod", "666", join(open, "victim"));
  const entries: TarEntry[] = [
    { path: "fine", data: "fine" },
    { path: "out", type: "symlink", link: open },
    { path: "out/written", data: "evil" },
    { path: `../../../../${"x".repeat(8)}`, data: "evil" },
    { path: join(open, "absolute"), data: "evil" },
    { path: "hard", type: "hardlink", link: join(open, "victim") },
    { path: "hard", data: "evil" },
  ];
  await unpacked([{ entries }]).catch(() => undefined);
  t.same(await readdir(open), ["victim"]);
  t.equal(await readFile(join(open, "victim"), "utf8"), "before");
  const whiteouts: TarEntry[] = [{ path: "out", type: "symlink", link: open }, { path: "out/.wh.victim" }];
  await unpacked([{ entries: whiteouts }]).catch(() => undefined);
  t.equal(await readFile(join(open, "victim"), "utf8"), "before", "a whiteout through a link deletes nothing");
});

t.test("a layer that is not what the configuration says is refused, and leaves nothing", async (t) => {
  const before = await fixture.leftovers();
  const lie = `sha256:${"0".repeat(64)}`;
  await t.rejects(unpacked([{ entries: [{ path: "a", data: randomBytes(8) }] }], { diffIds: [lie] }), {
    code: "IMAGE_PULL_FAILED",
    message: /is not what its configuration says/,
  });
  t.same(await fixture.leftovers(), before);
  await t.rejects(unpacked([{ entries: [{ path: "b", data: randomBytes(8) }] }], { diffIds: [lie, lie] }), {
    code: "IMAGE_PULL_FAILED",
    message: /contradicts itself/,
  });
  t.same(await fixture.leftovers(), before);
});

t.test("the same layer twice is stacked once, and an image of nothing has an empty layer", async (t) => {
  const a: LayerSource = { entries: [{ path: "a", data: "a" }] };
  const b: LayerSource = { entries: [{ path: "b", data: "b" }] };
  const [first = "", second = "", ...rest] = await unpacked([a, b, a]);
  t.same(rest, []);
  t.ok((await stat(join(first, "b"))).isFile(), "the lower occurrence is hidden by the higher one");
  t.ok((await stat(join(second, "a"))).isFile());
  const [empty = ""] = await unpacked([]);
  t.same(await readdir(empty), []);
  t.equal(await statOf(empty, "%u"), String(base), "owned by the container's root");
});

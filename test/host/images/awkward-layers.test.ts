import { mkdir, mkdtemp, open, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { DEFAULT_ID_RANGE } from "../../../src/host/index.ts";
import { buildImage, type LayerSource, pushImage, type TarEntry, writeOciLayout } from "./oci-layout.ts";
import { startRegistry } from "./registry.ts";
import { makeFixture, output, TEST_MS_MAX } from "./store-fixture.ts";
import { differences, type Snapshot, snapshot } from "./tree-snapshot.ts";

t.setTimeout(TEST_MS_MAX);
const fixture = await makeFixture();
const registry = await startRegistry(join(fixture.folder, "registry"));
t.teardown(async () => {
  await registry.stop();
  await fixture.close();
});
const store = fixture.open({ insecureRegistries: [registry.address] });
const inside = ["nsenter", `--user=${fixture.pin.path}`, "-S", "0", "-G", "0"];
let count = 0;

/** What a container sees of the image: its layers, stacked by the kernel. */
async function ours(layers: readonly LayerSource[]): Promise<{ tree: Snapshot; merged: string; folders: readonly string[] }> {
  const name = `lib/awkward${count++}`;
  await pushImage(registry.url, name, "1", buildImage({ layers }));
  const image = await store.pull(`${registry.address}/${name}:1`, { signal: AbortSignal.timeout(60_000) });
  const merged = await mkdtemp(join(fixture.folder, "merged-"));
  const empty = join(fixture.folder, "empty");
  await mkdir(empty, { recursive: true });
  await output("mount", "-t", "overlay", "overlay", "-o", `ro,lowerdir=${[...image.layers].reverse().join(":")}:${empty}`, merged);
  t.teardown(() => output("umount", merged));
  return { tree: withoutRoot(await snapshot(merged, { idBase: DEFAULT_ID_RANGE.uidBase, inside })), merged, folders: image.layers };
}

/** What umoci makes of it, which shares no line with ours: one root, each layer written over what the others left. */
async function theirs(layers: readonly LayerSource[]): Promise<Snapshot> {
  const folder = await mkdtemp(join(fixture.folder, "umoci-"));
  await writeOciLayout(join(folder, "layout"), buildImage({ layers }), "1");
  await output("umoci", "raw", "unpack", "--image", `${folder}/layout:1`, join(folder, "root"));
  return withoutRoot(await snapshot(join(folder, "root"), { idBase: 0, inside: [] }));
}

/** A container's root folder is that of its own disk. */
const withoutRoot = (tree: Snapshot): Snapshot => new Map([...tree].filter(([path]) => path !== "."));

const CAPABILITY = "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const lower: TarEntry[] = [
  { path: "./", type: "dir", mode: 0o755 },
  { path: "etc", type: "dir" },
  { path: "etc/lower", data: "lower", uid: 7, gid: 8, mode: 0o640, mtime: 1_600_000_001, xattrs: { "user.note": "kept" } },
  { path: "etc/other", data: "other" },
  { path: "private", type: "dir", mode: 0o700, uid: 1000, gid: 1000, mtime: 1_600_000_002.5, xattrs: { "user.folder": "yes" } },
  { path: "private/deep", type: "dir", mode: 0o2750, uid: 1001, gid: 1002, mtime: 1_600_000_003 },
  { path: "bin", type: "dir" },
  { path: "bin/ping", data: "ping", mode: 0o755, xattrs: { "security.capability": CAPABILITY } },
  { path: "bin/su", data: "su", mode: 0o4755 },
  { path: "bin/wall", data: "wall", mode: 0o2755, uid: 5, gid: 6 },
  { path: "far", data: "far", uid: 12_345_678, gid: 3_000_000 },
  { path: "tmp", type: "dir", mode: 0o1777, mtime: 1 },
  { path: "pipe", type: "fifo", mode: 0o620 },
  { path: "hard", type: "hardlink", link: "etc/other" },
  { path: "soft", type: "symlink", link: "/etc/lower", mtime: 1_600_000_004 },
  { path: "file-to-dir", data: "1" },
  { path: "dir-to-file", type: "dir" },
  { path: "dir-to-file/below", type: "dir" },
  { path: "dir-to-file/below/x", data: "1" },
  { path: "dir-to-link", type: "dir" },
  { path: "dir-to-link/x", data: "1" },
  { path: "link-to-dir", type: "symlink", link: "etc" },
  { path: "link-to-file", type: "symlink", link: "etc/lower" },
  { path: "gone", data: "1" },
  { path: "dir", type: "dir", mtime: 1_600_000_005 },
  { path: "dir/gone", data: "1" },
  { path: "dir/stays", data: "1" },
  { path: "opaque", type: "dir" },
  { path: "opaque/old", data: "1" },
  { path: "whole", type: "dir" },
  { path: "whole/file", data: "1" },
];
const upper: TarEntry[] = [
  // A file, and a file below, before their folders, whose times are their own.
  { path: "late/sub/file", data: "late" },
  { path: "late/sub", type: "dir", mode: 0o711, mtime: 1_600_000_010 },
  { path: "late", type: "dir", mode: 0o700, uid: 3, mtime: 1_600_000_011.25 },
  { path: "private/deep/new", data: "new", uid: 1001 },
  { path: "etc/linked", type: "hardlink", link: "etc/lower" },
  { path: "linked-too", type: "hardlink", link: "./etc/lower" },
  { path: "linked-soft", type: "hardlink", link: "soft" },
  { path: "file-to-dir", type: "dir", mtime: 1_600_000_012 },
  { path: "file-to-dir/x", data: "2" },
  { path: "dir-to-file", data: "now a file" },
  { path: "dir-to-link", type: "symlink", link: "etc" },
  { path: "link-to-dir", type: "dir" },
  { path: "link-to-dir/x", data: "2" },
  { path: "link-to-file", data: "2" },
  { path: ".wh.gone" },
  { path: "dir", type: "dir", mtime: 1_600_000_006 },
  { path: "dir/.wh.gone" },
  { path: "opaque", type: "dir", mtime: 1_600_000_007 },
  { path: "opaque/.wh..wh..opq" },
  { path: "opaque/new", data: "2" },
  { path: ".wh.whole" },
  { path: "odd", type: "dir", mtime: 1_600_000_008 },
  { path: "odd/new\nline \\ \t'\"*", data: "odd" },
  { path: "odd/\xff\xfe", rawName: true, data: "no UTF-8" },
  { path: "odd/grüße-世界", data: "UTF-8" },
  { path: `odd/${"l".repeat(200)}`, data: "long" },
  { path: "odd/link", type: "symlink", link: `../${"t".repeat(150)}/${"u".repeat(150)}` },
];

t.test("awkward layers become what another unpacker makes of them, file by file, as a container sees them", async (t) => {
  const layers: LayerSource[] = [{ entries: lower }, { entries: upper, compression: "none" }, { entries: [] }];
  const [a, b] = [await ours(layers), await theirs(layers)];
  t.ok(b.size > 35, "the other one found them all");
  t.same(differences(a.tree, b), []);
  t.match(a.tree.get("etc/linked"), /user\.note/, "a copy of a lower file keeps its attributes");
});

t.test("the formats of GNU tar: sparse files, long names, times to the nanosecond", async (t) => {
  const folder = join(fixture.folder, "made");
  await mkdir(join(folder, `d/${"e".repeat(150)}/${"f".repeat(150)}`), { recursive: true });
  await output("chown", "-R", "0:0", folder);
  await writeFile(join(folder, `d/${"e".repeat(150)}/${"f".repeat(150)}/long`), "long");
  await output("ln", "-s", `${"e".repeat(150)}/${"f".repeat(150)}`, join(folder, "d/long-link"));
  // Holes at both ends and more pieces than a header has room for.
  const sparse = join(folder, "d/sparse");
  await writeFile(sparse, "");
  await truncate(sparse, 4_000_000);
  const file = await open(sparse, "r+");
  for (let piece = 0; piece < 40; piece += 1) await file.write(Buffer.alloc(4_096, piece + 1), 0, 4_096, (3 + piece * 20) * 4_096);
  await file.close();
  await output("ln", sparse, join(folder, "d/sparse-too"));
  await output("touch", "-d", "2001-02-03 04:05:06.123456789Z", join(folder, "d/long-link"), join(folder, "d/sparse"), join(folder, "d"));
  const formats = [["gnu"], ["posix", "--sparse-version=0.0"], ["posix", "--sparse-version=0.1"], ["posix", "--sparse-version=1.0"]];
  for (const [format = "", ...rest] of formats) {
    const archive = join(fixture.folder, "made.tar");
    await output("tar", "-c", "-f", archive, `--format=${format}`, ...rest, "--sparse", "-C", folder, "d");
    const { merged } = await ours([{ entries: [], tar: await readFile(archive) }]);
    const whole = format === "posix";
    const [a, b] = [
      await snapshot(join(merged, "d"), { idBase: DEFAULT_ID_RANGE.uidBase, inside }),
      await snapshot(join(folder, "d"), { idBase: 0, inside: [] }),
    ];
    const cut = (tree: Snapshot): Snapshot => (whole ? tree : new Map([...tree].map(([path, line]) => [path, line.replace(/^(\S+ \S+ \d+)\d{9}/, "$1")])));
    t.same(differences(cut(a), cut(b)), [], [format, ...rest].join(" "));
    t.ok(Number((await output("stat", "-c", "%b", join(merged, "d/sparse"))).trim()) < 1_000, `${[format, ...rest].join(" ")}: holes take no room`);
  }
});

t.test("one layer that says a thing twice, hides its own, or goes through its own links", async (t) => {
  const base: TarEntry[] = [
    { path: "usr", type: "dir" },
    { path: "usr/lib", type: "dir", mode: 0o711, mtime: 5 },
    { path: "hidden", data: "hidden" },
    { path: "hide-all", type: "dir" },
  ];
  const entries: TarEntry[] = [
    { path: "twice", data: "first", mode: 0o600 },
    { path: "kept", type: "hardlink", link: "twice" },
    { path: "twice", data: "second", mode: 0o644 },
    { path: "folder", type: "dir" },
    { path: "folder/old", data: "old" },
    { path: "folder", data: "a file for a while" },
    { path: "folder", type: "dir", mtime: 77 },
    { path: "folder/new", data: "new" },
    { path: "file", data: "1" },
    { path: ".wh.file" },
    { path: "turned", type: "symlink", link: "twice" },
    { path: "turned", type: "dir" },
    { path: "turned/x", data: "x" },
    { path: "lib", type: "symlink", link: "/usr/lib" },
    { path: "lib/through", data: "through a link" },
    { path: "ahead", type: "hardlink", link: "behind" },
    { path: "behind", data: "comes later" },
    { path: "from-hidden", type: "hardlink", link: "hidden" },
    { path: ".wh.hidden" },
    { path: "console", type: "char", major: 5, minor: 1 },
  ];
  const { tree, merged } = await ours([{ entries: base }, { entries }]);
  const text = (path: string): Promise<string> => readFile(join(merged, path), "utf8");
  t.same(
    [...tree.keys()].sort(),
    [
      "ahead",
      "behind",
      "file",
      "folder",
      "folder/new",
      "from-hidden",
      "hide-all",
      "kept",
      "lib",
      "turned",
      "turned/x",
      "twice",
      "usr",
      "usr/lib",
      "usr/lib/through",
    ],
    "no device either",
  );
  t.same([await text("twice"), await text("kept"), await text("turned/x"), await text("usr/lib/through")], ["second", "first", "x", "through a link"]);
  t.match(tree.get("folder"), /^40755 0:0 77000000000/);
  t.match(tree.get("usr/lib"), /^40711 0:0 5000000000/, "a folder that a layer only goes through stays as it was");
  t.same([await text("ahead"), await text("from-hidden")], ["comes later", "hidden"]);
  t.match(tree.get("behind"), /= ahead$/, "a link may come before what it leads to");
});

t.test("a layer that hides all others; the same layer on top of others is another one", async (t) => {
  const top: LayerSource = { entries: [{ path: ".wh..wh..opq" }, { path: "etc", type: "dir" }, { path: "etc/new", data: "new" }] };
  const layers: LayerSource[] = [{ entries: lower }, top];
  const [a, b] = [await ours(layers), await theirs(layers)];
  t.same([...a.tree.keys()], ["etc", "etc/new"]);
  t.same(differences(a.tree, b), []);
  const late: LayerSource = { entries: [{ path: "private/new", data: "new" }] };
  const [alone, above] = [await ours([late]), await ours([{ entries: lower }, late])];
  t.match(alone.tree.get("private"), /^40755 0:0/);
  t.match(above.tree.get("private"), /^40700 1000:1000/);
  t.not(alone.folders[0], above.folders[1]);
  const again = await ours([{ entries: lower }, late]);
  t.same(again.folders, above.folders, "and known when it comes again");
});

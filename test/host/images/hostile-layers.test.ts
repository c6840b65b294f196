import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import t, { type Test } from "tap";
import { createCommandRunner } from "../../../src/host/index.ts";
import { type UnpackResult, unpackLayer } from "../../../src/images/drivers/unpack-layer.ts";
import { sha256, type TarEntry, tarOf } from "./oci-layout.ts";
import { makeFixture, output, statOf, TEST_MS_MAX } from "./store-fixture.ts";

t.setTimeout(TEST_MS_MAX);
const fixture = await makeFixture();
await fixture.pin.ready();
t.teardown(() => fixture.close());
const commands = createCommandRunner();
/** Where everybody may write, as nowhere else on a host: what a layer could reach if it could leave its folder. */
const open = join(fixture.folder, "open");
const victim = join(open, "victim");
await chmod(fixture.folder, 0o777);
await mkdir(open);
await chmod(open, 0o777);
await writeFile(victim, "before");
await chmod(victim, 0o666);
const untouched = await statOf(victim, "%i %h %a %u %g %s %Y %Z");
const work = join(fixture.folder, "work");
await mkdir(work);
let count = 0;

const SMALL = { bytesMax: 4_000_000, entriesMax: 2_000, idsMax: 2 ** 24 };

type Unpacked = UnpackResult & { readonly folder: string };

async function unpackBlob(blob: Buffer, diffId: string, blobBytes = blob.length): Promise<Unpacked> {
  const folder = join(work, `l${count++}`);
  await writeFile(`${folder}.blob`, blob);
  const { path: userns, uidMap, gidMap } = fixture.pin;
  const task = { blobFile: `${folder}.blob`, blobBytes, diffId, folder, userns, rootUid: uidMap.hostId, rootGid: gidMap.hostId, limits: SMALL };
  return { ...(await unpackLayer(task, commands)), folder };
}

const unpackTar = (tar: Buffer): Promise<Unpacked> => unpackBlob(tar, sha256(tar));
const unpack = (entries: readonly TarEntry[]): Promise<Unpacked> => unpackTar(tarOf(entries));

async function nothingOutside(t: Test): Promise<void> {
  t.same(await readdir(open), ["victim"], "nothing came beside the host's file");
  t.equal(await readFile(victim, "utf8"), "before");
  t.equal(await statOf(victim, "%i %h %a %u %g %s %Y %Z"), untouched, "nor was it touched");
  // The pull's folder goes whole; but for the layers themselves nothing of an unpacking is to stay in it.
  t.same(
    (await readdir(work)).filter((name) => !/^l\d+(\.blob)?$/.test(name)),
    [],
  );
}

const through = (link: string, more: readonly TarEntry[] = []): TarEntry[] => [
  { path: "out", type: "symlink", link },
  { path: "out/victim", data: "evil" },
  { path: "out/new", data: "evil" },
  ...more,
];

t.test("what leads out through links stays inside the layer", async (t) => {
  const up = `../../../../../../../..${open}`;
  for (const entries of [
    through(open),
    through(up),
    [
      { path: "a", type: "symlink", link: "b" } as const,
      { path: "b", type: "symlink", link: "c/../c" } as const,
      { path: "c", type: "symlink", link: up } as const,
      { path: "a/new", data: "evil" },
    ],
    through(open, [
      { path: "hard", type: "hardlink", link: "out" },
      { path: "hard", data: "evil" },
    ]),
    [{ path: "d", type: "dir" } as const, { path: "d/x", data: "x" }, { path: "d", type: "symlink", link: open } as const, { path: "d/new", data: "evil" }],
    [{ path: "out", type: "symlink", link: open } as const, { path: "out/.wh.victim" }, { path: "out/.wh..wh..opq" }],
    [{ path: join(open, "absolute"), data: "evil" }],
  ]) {
    const { folder } = await unpack(entries);
    t.ok((await stat(join(folder, open))).isDirectory(), "as a chroot would have it");
  }
  await nothingOutside(t);
});

t.test("what cannot be meant well is refused, and the reason is said", async (t) => {
  const file = { path: "f", data: "f" } as const;
  const refused: [string, readonly TarEntry[], RegExp][] = [
    ["climbs out", [{ path: `../../../..${open}/new`, data: "evil" }], /leads out of the image/],
    ["climbs out on the way", [{ path: "a/../../x", data: "evil" }], /leads out of the image/],
    ["climbs out, absolute", [{ path: `/..${open}/new`, data: "evil" }], /leads out of the image/],
    ["a link that climbs out", [{ path: "x", type: "hardlink", link: "../../victim" }], /leads out of the image/],
    [
      "a circle of links",
      [
        { path: "a", type: "symlink", link: "b" },
        { path: "b", type: "symlink", link: "a" },
        { path: "a/x", data: "x" },
      ],
      /too many links/,
    ],
    ["below a file", [file, { path: "f/x", data: "x" }], /below a file/],
    ["in place of the root", [{ path: "./", type: "symlink", link: open }], /in place of the image's root/],
    [
      "a hard link to a folder",
      [
        { path: "d", type: "dir" },
        { path: "x", type: "hardlink", link: "d" },
      ],
      /hard link to a folder/,
    ],
    ["a user beyond the host's", [{ path: "x", data: "x", uid: 2 ** 24 }], /user 16777216 .*ids below 16777216/],
    ["a name too long", [{ path: "n".repeat(256), data: "x" }], /name that is too long/],
    ["a path too long", [{ path: "n/".repeat(2_100), type: "dir" }], /name that is too long/],
    [
      "folders replaced for ever",
      Array.from({ length: 60 }, (_, at): TarEntry => (at % 2 === 0 ? { path: "d", type: "dir" } : { path: "d", data: "" })),
      /again and again/,
    ],
    ["files without end", Array.from({ length: 2_001 }, (_, at): TarEntry => ({ path: `x${at}` })), /more than 2000 files/],
  ];
  for (const [what, entries, message] of refused) {
    const error: unknown = await unpack(entries).catch((thrown: unknown) => thrown);
    t.match(error, { name: "CcError", code: "IMAGE_PULL_FAILED", message }, what);
    t.match(String(error), /^[\x20-\x7e]*$/, `${what}: fit for one line`);
  }
  // Looked for in the layers below, never on the host.
  const { needs } = await unpack([
    { path: "x", type: "hardlink", link: victim },
    { path: "x", type: "hardlink", link: victim },
  ]);
  t.equal(needs?.links[0]?.target, victim.slice(1));
  await nothingOutside(t);
});

t.test("no archive, or half of one", async (t) => {
  const good = tarOf([{ path: "f", data: "f".repeat(2_000) }]);
  const broken = Buffer.from(good);
  broken.write("X", 20, "latin1");
  const flag = Buffer.from(good);
  flag.write("V", 156, "latin1");
  flag.write(" ", 148 + 7, "latin1");
  flag.write(
    ((Number.parseInt(flag.toString("latin1", 148, 154), 8) + "V".charCodeAt(0) - "0".charCodeAt(0)) >>> 0).toString(8).padStart(6, "0"),
    148,
    "latin1",
  );
  const refused: [string, Buffer, RegExp][] = [
    ["noise", Buffer.alloc(4_096, "noise"), /not a tar archive/],
    ["a page", Buffer.from("<html>"), /ends in the middle/],
    ["xz", Buffer.concat([Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), Buffer.alloc(600)]), /not a tar archive/],
    ["a wrong checksum", broken, /not a tar archive, or damaged/],
    ["an unknown type", flag, /unknown type/],
    ["cut in a file", good.subarray(0, 1_500), /ends in the middle/],
    ["cut in a header", good.subarray(0, 100), /ends in the middle/],
    ["gzip cut short", gzipSync(good).subarray(0, -12), /damaged/],
    ["zstd cut short", zstdCompressSync(good).subarray(0, -6), /damaged/],
    ["gzip of noise", gzipSync(Buffer.alloc(4_096, "noise")), /not a tar archive/],
  ];
  for (const [what, blob, message] of refused) {
    await t.rejects(unpackBlob(blob, sha256(good)), { code: "IMAGE_PULL_FAILED", message }, what);
  }
  await t.rejects(unpackBlob(good, sha256(Buffer.from("other"))), { code: "IMAGE_PULL_FAILED", message: /is not what its configuration says/ });
  await t.rejects(unpackBlob(good, sha256(good), good.length - 1), { code: "IMAGE_PULL_FAILED", message: /has \d+ bytes and its manifest says/ });
  await t.rejects(unpackBlob(good, sha256(good), good.length + 1), { code: "IMAGE_PULL_FAILED", message: /has \d+ bytes and its manifest says/ });
  t.match(await unpackBlob(Buffer.alloc(0), sha256(Buffer.alloc(0))), { entries: 0 }, "nothing at all is a layer of nothing");
  t.match(await unpackTar(Buffer.concat([good, Buffer.alloc(5_000, "rest")])), { entries: 1 }, "what follows the end is passed over");
  await nothingOutside(t);
});

t.test("a bomb is stopped while it is read", async (t) => {
  const bomb = Buffer.alloc(100_000_000);
  tarOf([{ path: "bomb", data: "" }]).copy(bomb, 0, 0, 124);
  const head = tarOf([{ path: "bomb", data: "x" }]).subarray(0, 512);
  head.write((90_000_000).toString(8).padStart(11, "0"), 124, "latin1");
  head.fill(0x20, 148, 156);
  head.write(
    `${head
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  head.copy(bomb);
  for (const blob of [gzipSync(bomb, { level: 1 }), zstdCompressSync(bomb)]) {
    await t.rejects(unpackBlob(blob, sha256(bomb)), { code: "IMAGE_PULL_FAILED", message: /more than 4000000 bytes once it is unpacked/ });
    const written = Number((await output("du", "-sk", join(work, `l${count - 1}`))).split("\t")[0]);
    t.ok(written <= 4_000, `${written} KiB were written`);
  }
  await nothingOutside(t);
});

t.test("devices, attributes of the kernel's own, and tricks with whiteouts do nothing", async (t) => {
  const overlay = {
    "trusted.overlay.opaque": "y",
    "trusted.overlay.redirect": "/etc",
    "trusted.overlay.metacopy": "",
    "trusted.note": "1",
    "security.ima": "1",
  };
  const { folder, needs } = await unpack([
    { path: "./", type: "dir", xattrs: overlay },
    { path: "d", type: "dir", xattrs: overlay },
    { path: "d/f", data: "f", xattrs: { ...overlay, "user.note": "kept" } },
    { path: "null", type: "char", major: 1, minor: 3 },
    { path: "d/whiteout", type: "char", major: 0, minor: 0 },
    { path: ".wh." },
    { path: ".wh.." },
    { path: ".wh..." },
    { path: "d/.wh.." },
    { path: "d/.wh.../x" },
    { path: ".wh..wh.plnk/1.1", data: "x" },
    { path: ".wh.d/x", data: "x" },
    { path: "d/new\nline\x1b[31m", data: "odd" },
  ]);
  t.equal(needs, undefined);
  t.same((await readdir(folder)).sort(), ["d"]);
  t.same((await readdir(join(folder, "d"))).sort(), ["f", "new\nline\x1b[31m"]);
  t.equal((await output("getfattr", "-R", "-d", "-m", "-", "--absolute-names", folder)).trim(), `# file: ${folder}/d/f\nuser.note="kept"`);
  const lies = await unpack([{ path: "x\x1b[31m\n/../../y", data: "x" }]).catch((error: unknown) => String(error));
  t.match(lies, /^[\x20-\x7e]+$/, "no control character reaches the log or the user");
  await nothingOutside(t);
});

t.test("archives of any bytes, and good ones that were damaged: a layer or a refusal, nothing else", async (t) => {
  const path = fc
    .array(fc.constantFrom("a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "dev"), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.join("/"));
  const entry = fc.record({
    path,
    type: fc.constantFrom("file", "dir", "symlink", "hardlink", "fifo", "char" as const),
    link: fc.oneof(path, fc.constantFrom(open, victim, `../../../../../..${victim}`)),
    data: fc.constantFrom("", "evil", "e".repeat(700)),
    mode: fc.constantFrom(0, 0o644, 0o4755, 0o1777),
    uid: fc.constantFrom(0, 1_000, 99_999),
  });
  const damage = fc.array(fc.tuple(fc.nat(20_000), fc.nat(255)), { maxLength: 3 });
  const runs = Number(process.env["CC_FUZZ_RUNS"] ?? 30);
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 12 }), damage, async (entries, bytes) => {
      const tar = tarOf(entries);
      for (const [at, value] of bytes) tar[at % tar.length] = value;
      const error: unknown = await unpackTar(tar).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error !== undefined) t.match(error, { name: "CcError", code: "IMAGE_PULL_FAILED" });
      return (await readdir(open)).join() === "victim";
    }),
    { numRuns: runs, endOnFailure: true },
  );
  await nothingOutside(t);
});

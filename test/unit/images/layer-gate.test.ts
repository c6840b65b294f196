import fc from "fast-check";
import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { type Admitted, type LayerFindings, LayerGate } from "../../../src/images/layer-gate.ts";
import type { TarMember } from "../../../src/images/tar-member.ts";
import { TarReader } from "../../../src/images/tar-reader.ts";
import { ARCHIVE_END, padding, writeHeader } from "../../../src/images/tar-writer.ts";
import { type TarEntry, tarOf } from "../../host/images/oci-layout.ts";

const LIMITS = { bytesMax: 1_000_000, entriesMax: 100, idsMax: 1_000 };

/** What goes through: members with their content, folders that go in between, and what was found. */
function gated(tar: Buffer, chunkBytes = tar.length || 1): { members: (TarMember & { data: string })[]; removed: string[]; findings: LayerFindings } {
  const gate = new LayerGate(LIMITS);
  const members: (TarMember & { data: string })[] = [];
  const removed: string[] = [];
  const reader = new TarReader({
    member: (member) => void members.push({ ...member, data: "" }),
    data: (piece) => {
      const last = members[members.length - 1];
      if (last !== undefined) last.data += piece.toString("latin1");
    },
    memberEnd: () => undefined,
  });
  const take = (pieces: Iterable<Admitted>): void => {
    for (const piece of pieces) {
      if ("remove" in piece) removed.push(piece.remove);
      else reader.push(Buffer.from(piece));
    }
  };
  for (let at = 0; at < tar.length; at += chunkBytes) {
    // One buffer for all chunks, as the unpacker has it.
    const chunk = Buffer.from(tar.subarray(at, at + chunkBytes));
    take(gate.push(chunk));
    chunk.fill(0xee);
  }
  const { rest, findings } = gate.end();
  take(rest);
  reader.end();
  return { members, removed, findings };
}

const names = (entries: readonly TarEntry[]): string[] => gated(tarOf(entries)).members.map(({ kind, path }) => `${kind} ${path}`);

t.test("what goes on is written anew: links last, folders once more, nothing behind links", async (t) => {
  t.same(names([{ path: "/a//./b/../c", data: "c" }]), ["dir a", "file a/c", "dir a"]);
  t.same(
    names([
      { path: "l", type: "symlink", link: "d/e" },
      { path: "l/x", data: "x" },
      { path: "l/../y", data: "y" },
      { path: "h", type: "hardlink", link: "l" },
      { path: "z", type: "hardlink", link: "l/x" },
      { path: "null", type: "char" },
    ]),
    ["dir d", "dir d/e", "file d/e/x", "file y", "hardlink z", "symlink l", "hardlink h", "dir d", "dir d/e"],
  );
});

t.test("no link leads to a marker", async (t) => {
  for (const type of ["file", "hardlink"] as const) {
    const entries: TarEntry[] = [
      { path: "a", type: "symlink", link: ".wh.a" },
      { path: type === "file" ? "a/x" : "y", type, link: "a/x" },
    ];
    t.throws(() => names(entries), { code: "IMAGE_PULL_FAILED", message: /behind a marker/ });
  }
});

t.test("a chunk may end anywhere", async (t) => {
  const tar = tarOf([
    { path: `${"p".repeat(90)}/${"q".repeat(90)}`, data: "long", xattrs: { "user.a": "\0\xff", "trusted.overlay.opaque": "y" }, mtime: 5.5 },
    { path: "z", data: "z".repeat(1_000) },
  ]);
  const whole = gated(tar);
  t.equal(whole.members[1]?.data, "long");
  t.same([...(whole.members[1]?.xattrs ?? [])], [["user.a", "\0\xff"]]);
  t.equal(whole.members[1]?.mtime, "5.5");
  for (const chunkBytes of [1, 7, 511, 512, 513]) t.same(gated(tar, chunkBytes), whole, `${chunkBytes} bytes`);
});

t.test("what markers and missing names mean", async (t) => {
  const { findings } = gated(
    tarOf([
      { path: ".wh.gone" },
      { path: "d", type: "dir" },
      { path: "d/.wh.x" },
      { path: "new/.wh.y" },
      { path: ".wh.again" },
      { path: "again/f", data: "f" },
      { path: "kept", data: "k" },
      { path: ".wh.kept" },
      { path: "o/.wh..wh..opq" },
      { path: "o/p/q", data: "q" },
      { path: "replaced/.wh.x" },
      { path: "replaced", data: "a file now" },
      { path: "low", type: "hardlink", link: "below/file" },
    ]),
  );
  t.same(findings.whiteouts, ["gone", "d/x", "new/y"]);
  t.same(findings.opaque, ["o", "again"]);
  t.same(findings.needs?.implied, ["new"], "what is opaque takes nothing from below");
  t.same(findings.needs?.links, [{ path: "low", target: "below/file" }]);
  t.equal(findings.needs?.hidesAll, false);
  t.equal(gated(tarOf([{ path: "d", type: "dir" }, { path: "d/f" }])).findings.needs, undefined, "a layer that names all it has is whole");
});

t.test("numbers of every kind", async (t) => {
  const member: TarMember = {
    kind: "file",
    path: "big",
    link: "",
    mode: 0o7777,
    uid: 999,
    gid: 2 ** 33,
    mtime: "-1.25",
    storedBytes: 9,
    xattrs: new Map(),
    sparse: [],
  };
  const tar = Buffer.concat([...writeHeader({ ...member, gid: 998 }), Buffer.from("content.."), padding(9), ARCHIVE_END]);
  t.match(gated(tar).members, [{ path: "big", mode: 0o7777, uid: 999, gid: 998, mtime: "-1.25", data: "content.." }]);
  t.throws(() => gated(Buffer.concat([...writeHeader(member), ARCHIVE_END])), { message: /group 8589934592/ }, "in the binary form, too");
  for (const mtime of ["99999999999999", "nonsense", "1e9"]) {
    const odd = Buffer.concat([...writeHeader({ ...member, gid: 1, storedBytes: 0, mtime }), ARCHIVE_END]);
    t.equal(gated(odd).members[0]?.mtime, "0", `${mtime}: no time of a file system`);
  }
});

/** The invariants that make tar's work safe, whatever the archive. */
function check({ members, removed }: ReturnType<typeof gated>): void {
  const links = new Set<string>();
  for (const { kind, path, link, xattrs } of members) {
    const target = kind === "hardlink" ? [link] : [];
    for (const name of [path, ...target]) {
      if (name === "." && kind === "dir") continue;
      const parts = name.split("/");
      if (parts.some((part) => part === "" || part === "." || part === ".." || part.startsWith(".wh."))) throw new Error(`the name ${name} went on`);
      for (let depth = 1; depth < parts.length; depth += 1) if (links.has(parts.slice(0, depth).join("/"))) throw new Error(`${name} goes through a link`);
    }
    if (kind === "char" || kind === "block") throw new Error("a device went on");
    if ([...xattrs.keys()].some((name) => name.startsWith("trusted."))) throw new Error("an attribute of the kernel's went on");
    if (kind === "symlink") links.add(path);
    else if (kind !== "dir" && kind !== "hardlink" && links.size > 0) throw new Error("a file after a link");
  }
  for (const path of removed) if (path.split("/").includes("..")) throw new Error(`${path} would be removed`);
}

t.test("whatever the archive says, what goes on leads nowhere else", async (t) => {
  const path = fc
    .array(fc.constantFrom("a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh..", "\n"), { maxLength: 5 })
    .map((parts) => parts.join("/"));
  const entry: fc.Arbitrary<TarEntry> = fc.record({
    path: fc.oneof(
      path,
      path.map((text) => `/${text}`),
    ),
    type: fc.constantFrom("file", "dir", "symlink", "hardlink", "fifo", "char"),
    link: fc.oneof(path, fc.constantFrom("/", "/a", "../../a", "a/../../b", "..")),
    data: fc.string({ maxLength: 30 }),
    xattrs: fc.dictionary(fc.constantFrom("trusted.overlay.opaque", "user.a", "security.capability"), fc.string({ maxLength: 5 })),
  });
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 });
  let whole = 0;
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 15 }), damage, fc.integer({ min: 1, max: 2_000 }), (entries, bytes, chunkBytes) => {
      const tar = tarOf(entries);
      for (const [at, value] of bytes) tar[at % tar.length] = value;
      try {
        check(gated(tar, chunkBytes));
        whole += 1;
      } catch (error) {
        if (!(error instanceof CcError) || error.code !== "IMAGE_PULL_FAILED") throw error;
      }
    }),
    { numRuns: Number(process.env["CC_FUZZ_RUNS"] ?? 3_000) },
  );
  t.ok(whole > 100, `${whole} archives were whole`);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3_000 }), (noise) => {
      try {
        check(gated(Buffer.from(noise), 100));
      } catch (error) {
        if (!(error instanceof CcError)) throw error;
      }
    }),
  );
});

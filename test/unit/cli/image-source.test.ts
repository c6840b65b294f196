import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { chooseImage, diffIdsOf, imageNameFrom, parseImageSource, parseSavedImages, partsOfManifest } from "../../../cli/image-source.ts";
import { indexTar, plainPath } from "../../../cli/tar-index.ts";
import { Channel } from "../../../src/api/streams.ts";
import { buildImage, buildIndex, sha256, writeOciLayout } from "../../host/images/oci-layout.ts";
import { installCc } from "./run-cc.ts";
import { type Json, startTestPeer } from "./test-peer.ts";

t.setTimeout(180_000);
const { cc, folder, remove } = await installCc();
const work = mkdtempSync(join(tmpdir(), "cc-source-"));
t.teardown(() => {
  remove();
  rmSync(work, { recursive: true, force: true });
});

t.test("sources and names", async (t) => {
  t.match(parseImageSource("oci:a/b:c"), { value: { kind: "oci", path: "a/b:c" } });
  t.match(parseImageSource("docker-daemon:shop/web"), { value: { kind: "docker-daemon", image: "shop/web:latest" } });
  t.match(parseImageSource("docker-daemon:h:5000/web"), { value: { image: "h:5000/web:latest" } });
  for (const wrong of ["alpine", "oci:", "docker-daemon:--help", "docker-daemon:a b", "oci-archive:x"])
    t.match(parseImageSource(wrong), { ok: false, code: "BAD_USAGE" }, wrong);
  const names = { "build:": "build", "/a/My_App.tar.gz": "my-app", "ghcr.io/x/web:1.2": "web", "h:5/web@sha256:0": "web", "/": "image", "...": "image" };
  for (const [text, name] of Object.entries(names)) t.equal(imageNameFrom(text), name, text);
  t.same([plainPath("./a//b/../c"), plainPath("../x"), plainPath("a/../..")], ["a/c", undefined, undefined]);
});

t.test("fuzz: no file breaks a reader", async () => {
  const json = fc.jsonValue();
  fc.assert(
    fc.property(json, (value) => {
      for (const read of [
        () => chooseImage(value, undefined, "x"),
        () => partsOfManifest(value, "x"),
        () => parseSavedImages(value, "x"),
        () => diffIdsOf(value, "x"),
      ])
        read();
    }),
  );
  const good = execFileSync("tar", ["-C", import.meta.dirname, "-cf", "-", "run-cc.ts", "test-peer.ts"]);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }), fc.nat(good.length), (changes, length) => {
      const bytes = Buffer.from(good.subarray(0, length));
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      indexTar((at, size) => bytes.subarray(at, at + size), "x");
    }),
    { numRuns: 300 },
  );
});

/** A peer that lacks what the test says, and keeps what it is sent. */
async function taker(lacks: (digest: string) => boolean) {
  const sent = new Map<string, Buffer>();
  let image = "";
  const peer = await startTestPeer({
    calls: { MissingBlobs: ({ blobs }) => ({ missing: (blobs as Json[]).map(({ digest }) => String(digest)).filter(lacks) }) },
    streams: {
      async Push(stream) {
        image = String(stream.request["image"]);
        await stream.until(() => stream.frames.some(({ channel }) => channel === Channel.stdinEnd));
        let current = "";
        for (const { channel, payload } of stream.frames) {
          if (channel === Channel.control) {
            current = JSON.parse(String(payload)).blob;
            sent.set(current, Buffer.alloc(0));
          } else if (channel === Channel.stdin) sent.set(current, Buffer.concat([sent.get(current) ?? Buffer.alloc(0), payload]));
        }
        stream.event({ type: "pushed", reference: image, digest: image.split("@")[1] ?? "", copies: 2 });
        stream.event({ type: "end" });
      },
    },
  });
  t.teardown(() => peer.stop());
  return { peer, sent, image: () => image };
}

const layers = [{ entries: [{ path: "a", data: "a".repeat(200_000) }], compression: "none" as const }];

t.test("only what is missing is sent, byte for byte, and the reference is printed", async (t) => {
  const image = buildImage({ layers });
  await writeOciLayout(join(work, "web"), image, "1");
  const all = await taker(() => true);
  const outcome = await cc(["image", "push", `oci:${join(work, "web")}:1`], { peers: [all.peer] });
  t.match(outcome, { code: 0, stdout: `mesh/web@${image.digest}\n`, stderr: "" });
  t.same([...all.sent.keys()].sort(), [image.digest, ...image.blobs.keys()].sort());
  for (const [digest, bytes] of all.sent) t.equal(sha256(bytes), digest);
  const some = await taker((digest) => digest === image.digest);
  const json = await cc(["image", "push", `oci:${join(work, "web")}`, "--name", "shop/x", "--json"], { peers: [some.peer] });
  t.match(JSON.parse(json.stdout), { reference: `mesh/shop/x@${image.digest}`, sentBlobs: 1, sentBytes: image.manifest.length, blobs: 3, copies: 2 });
  t.same([...some.sent.keys()], [image.digest]);
});

t.test("of an index the images go that are in the folder", async (t) => {
  const [one, two] = [buildImage({ layers }), buildImage({ layers: [], architecture: "arm64" })];
  const index = buildIndex([one, two]);
  const target = join(work, "multi");
  await writeOciLayout(target, one, "x");
  writeFileSync(join(target, "blobs/sha256", index.digest.slice(7)), index.bytes);
  writeFileSync(
    join(target, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: index.mediaType, digest: index.digest, size: index.bytes.length }] }),
  );
  const { peer, sent } = await taker(() => true);
  t.match(await cc(["image", "push", `oci:${target}`], { peers: [peer] }), { code: 0, stdout: `mesh/multi@${index.digest}\n` });
  t.same([...sent.keys()].sort(), [index.digest, one.digest, ...one.blobs.keys()].sort());
});

t.test("docker-daemon: docker is asked where it is, and what it wrote is removed, also when it fails", async (t) => {
  const image = buildImage({ layers });
  const saved = join(work, "saved");
  const bin = join(work, "bin");
  const scratch = join(work, "tmp");
  for (const made of [saved, bin, scratch]) mkdirSync(made);
  const [layer = ""] = image.layerDigests;
  const [config = ""] = [...image.blobs.keys()].filter((digest) => digest !== layer);
  mkdirSync(join(saved, "l1"));
  writeFileSync(join(saved, "l1/layer.tar"), image.blobs.get(layer) ?? "");
  mkdirSync(join(saved, "l2"));
  writeFileSync(join(saved, "c.json"), image.blobs.get(config) ?? "");
  writeFileSync(join(saved, "manifest.json"), JSON.stringify([{ Config: "c.json", RepoTags: ["shop/web:2"], Layers: ["l1/layer.tar"] }]));
  execFileSync("tar", ["-C", saved, "-cf", join(work, "saved.tar"), "."]);
  writeFileSync(join(bin, "docker"), `#!/bin/sh\n[ "$4" = shop/web:2 ] || { echo "no such image: $4" >&2; exit 1; }\ncp ${join(work, "saved.tar")} "$3"\n`);
  chmodSync(join(bin, "docker"), 0o755);
  const env = { PATH: `${bin}:${process.env["PATH"]}`, TMPDIR: scratch };
  const { peer, sent, image: pushed } = await taker(() => true);
  t.match(await cc(["image", "push", "docker-daemon:shop/web:2"], { peers: [peer], env }), { code: 0, stdout: /^mesh\/web@sha256:/ });
  t.match(pushed(), /^mesh\/web@/);
  t.same(sent.get(layer), image.blobs.get(layer));
  t.match(await cc(["image", "push", "docker-daemon:shop/none"], { peers: [peer], env }), {
    code: 1,
    stderr: /^Error \[IMAGE_NOT_FOUND\]: docker does not give .*no such image: shop\/none:latest/,
  });
  t.same(readdirSync(scratch), [], "nothing is left");
  t.ok(existsSync(folder));
});

t.test("an upload that is cut off goes on at the next peer; alone it is said", async (t) => {
  const dying = await startTestPeer({
    calls: { MissingBlobs: ({ blobs }) => ({ missing: (blobs as Json[]).map(({ digest }) => String(digest)) }) },
    streams: { Push: async (stream) => void stream.until(() => stream.frames.length > 1).then(() => dying.stop()) },
  });
  const next = await taker(() => true);
  const outcome = await cc(["image", "push", `oci:${join(work, "web")}`], { peers: [dying, next.peer] });
  t.match(outcome, { code: 0, stderr: /^Warning: the upload was cut off .*it goes on with what is missing\n$/ });
  t.equal(next.sent.size, 3);
  t.match(await cc(["image", "push", `oci:${join(work, "web")}`], { peers: ["https://127.0.0.1:9"] }), { code: 1, stderr: /Error \[PEER_UNREACHABLE\]/ });
});

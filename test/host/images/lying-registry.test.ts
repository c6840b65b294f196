import { createServer } from "node:http";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import t from "tap";
import { type BuiltImage, buildImage, sha256, tarOf } from "./oci-layout.ts";
import { makeFixture, TEST_MS_MAX } from "./store-fixture.ts";

t.setTimeout(TEST_MS_MAX);
const fixture = await makeFixture();
/** A registry that gives whatever it is told to: manifests by tag, blobs by the digest that is asked for. */
const manifests = new Map<string, Buffer>();
const blobs = new Map<string, Buffer>();
const server = createServer((request, response) => {
  const [, kind = "", name = ""] = /\/(manifests|blobs)\/([^/?]+)$/.exec(request.url ?? "") ?? [];
  const body = request.url === "/v2/" ? Buffer.from("{}") : kind === "manifests" ? manifests.get(name) : blobs.get(name);
  if (body === undefined) return void response.writeHead(404).end();
  const type = kind === "manifests" ? "application/vnd.oci.image.manifest.v1+json" : "application/octet-stream";
  response.writeHead(200, { "content-type": type, "content-length": body.length });
  response.end(request.method === "HEAD" ? undefined : body);
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const bound = server.address();
const address = `127.0.0.1:${typeof bound === "object" && bound !== null ? bound.port : 0}`;
t.teardown(async () => {
  server.closeAllConnections();
  server.close();
  await fixture.close();
});
const store = fixture.open({ insecureRegistries: [address] });
let count = 0;

type Changes = { readonly manifest?: (manifest: Manifest) => object; readonly blob?: (digest: string, blob: Buffer) => Buffer };
type Manifest = { config: Descriptor; layers: Descriptor[] };
type Descriptor = { mediaType: string; digest: string; size: number };

/** Pulls the image with these lies about it. */
async function pull(image: BuiltImage, lies: Changes = {}, from = store): Promise<readonly string[]> {
  const tag = `t${count++}`;
  const honest: Manifest = JSON.parse(image.manifest.toString());
  manifests.set(tag, Buffer.from(JSON.stringify({ schemaVersion: 2, ...honest, ...lies.manifest?.(honest) })));
  manifests.set(sha256(manifests.get(tag) ?? Buffer.alloc(0)), manifests.get(tag) ?? Buffer.alloc(0));
  for (const [digest, blob] of image.blobs) blobs.set(digest, lies.blob?.(digest, blob) ?? blob);
  return (await from.pull(`${address}/lib/lies:${tag}`, { signal: AbortSignal.timeout(60_000) })).layers;
}

let salt = 0;
const fresh = (): BuiltImage => buildImage({ layers: [{ entries: [{ path: "f", data: `f${salt++}`.repeat(1_000) }] }] });

t.test("lies about sizes and digests are refused, and nothing stays", async (t) => {
  t.equal((await pull(fresh())).length, 1, "an honest one is pulled from here");
  const before = await fixture.leftovers();
  const layerSize = (change: number) => (m: Manifest) => ({ layers: m.layers.map((layer) => ({ ...layer, size: layer.size + change })) });
  const refused: [string, Changes, RegExp][] = [
    ["a layer is smaller than said", { manifest: layerSize(1) }, /has \d+ bytes and its manifest says/],
    ["a layer is larger than said", { manifest: layerSize(-1) }, /has \d+ bytes and its manifest says/],
    ["a layer is much smaller than said", { manifest: layerSize(50_000_000) }, /has \d+ bytes and its manifest says/],
    [
      "the configuration is larger than said",
      { manifest: (m) => ({ config: { ...m.config, size: m.config.size - 1 } }) },
      /something else than the image's digest says/,
    ],
    [
      "other bytes than the digest says",
      { blob: (_, blob) => (blob[0] === 0x1f ? Buffer.concat([blob.subarray(0, -1), Buffer.from([1])]) : blob) },
      /something else than the image's digest says/,
    ],
    [
      "another configuration",
      { blob: (_, blob) => (blob[0] === 0x7b ? Buffer.from(blob.toString().replace("linux", "linuX")) : blob) },
      /something else than the image's digest says/,
    ],
    ["thousands of layers", { manifest: (m) => ({ layers: Array(5_000).fill(m.layers[0]) }) }, /manifest cannot be used: layers/],
    ["a huge manifest", { manifest: () => ({ annotations: { a: "a".repeat(5_000_000) } }) }, /too large/],
    ["a huge configuration", { manifest: (m) => ({ config: { ...m.config, size: 2 ** 40 } }) }, /configuration is too large/],
    ["a layer of a petabyte", { manifest: (m) => ({ layers: [{ ...m.layers[0], size: 2 ** 50 }] }) }, /manifest cannot be used: layers\.0\.size/],
    ["a layer of a tebibyte", { manifest: (m) => ({ layers: [{ ...m.layers[0], size: 2 ** 40 }] }) }, /does not fit on the disk/],
  ];
  for (const [what, lies, message] of refused) {
    const error: unknown = await pull(fresh(), lies).catch((thrown: unknown) => thrown);
    t.match(error, { name: "CcError", code: what.includes("tebibyte") ? "NO_ROOM" : "IMAGE_PULL_FAILED", message }, what);
  }
  t.same(await fixture.leftovers(), before);
});

t.test("a layer's type may lie: what it is counts", async (t) => {
  const tar = tarOf([{ path: "f", data: "f" }]);
  const image = buildImage({ layers: [{ entries: [], tar }] });
  for (const [blob, type] of [
    [gzipSync(tar), "tar+zstd"],
    [zstdCompressSync(tar), "tar"],
    [zstdCompressSync(tar), "tar+gzip"],
  ] as const) {
    const digest = sha256(blob);
    const lying = { ...image, blobs: new Map([...image.blobs, [digest, blob]]) };
    const from = fixture.open({ dataDir: join(fixture.folder, `types${count}`), insecureRegistries: [address] });
    const layers = await pull(
      lying,
      { manifest: () => ({ layers: [{ mediaType: `application/vnd.oci.image.layer.v1.${type}`, digest, size: blob.length }] }) },
      from,
    );
    t.equal(layers.length, 1, type);
  }
});

t.test("bombs: the bytes and files of all layers count together", async (t) => {
  const small = fixture.open({ dataDir: join(fixture.folder, "small"), insecureRegistries: [address], imageBytesMax: 3_000_000, imageFilesMax: 100 });
  const zeros = (bytes: number, path: string) => ({ entries: [{ path, data: Buffer.alloc(bytes) }] });
  const files = (n: number, prefix: string) => ({ entries: Array.from({ length: n }, (_, at) => ({ path: `${prefix}${at}` })) });
  for (const [what, layers, message] of [
    ["one", [zeros(20_000_000, "a")], /more than 3000000 bytes/],
    ["two", [zeros(2_000_000, "a"), zeros(2_000_000, "b")], /more than \d+ bytes once it is unpacked/],
    ["many files", [files(60, "a"), files(60, "b")], /more than \d+ files/],
  ] as const) {
    await t.rejects(pull(buildImage({ layers }), {}, small), { code: "IMAGE_PULL_FAILED", message }, what);
  }
  t.equal((await pull(buildImage({ layers: [zeros(1_000_000, "a"), zeros(1_000_000, "b")] }), {}, small)).length, 2);
});

t.test("a configuration may not pass one layer off as another", async (t) => {
  const known = fresh();
  await pull(known);
  const other = fresh();
  const swapped = buildImage({ layers: [{ entries: [], tar: Buffer.alloc(1_024) }], diffIds: other.diffIds });
  const blob = known.blobs.get(known.layerDigests[0] ?? "") ?? Buffer.alloc(0);
  const layers = [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: sha256(blob), size: blob.length }];
  const lies = { ...swapped, blobs: new Map([...swapped.blobs, [sha256(blob), blob]]) };
  await t.rejects(
    pull(lies, { manifest: () => ({ layers }) }),
    { code: "IMAGE_PULL_FAILED", message: /is not what its configuration says/ },
    "a layer that is here",
  );
  const elsewhere = fixture.open({ dataDir: join(fixture.folder, "elsewhere"), insecureRegistries: [address] });
  await t.rejects(pull(lies, { manifest: () => ({ layers }) }, elsewhere), { code: "IMAGE_PULL_FAILED", message: /is not what its configuration says/ });
});

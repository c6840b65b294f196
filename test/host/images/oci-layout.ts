/**
 * Small images made by tests themselves: a tar writer that can say every owner, mode, link, whiteout and device, an OCI
 * layout on disk (`oci:DIR:tag`), and a push over the registry's HTTP interface, which keeps every byte and digest
 * (skopeo would compress plain layers and convert manifests).
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";

export type TarEntry = {
  /** UTF-8; with `rawName` its characters are bytes. */
  readonly path: string;
  readonly rawName?: boolean;
  readonly type?: "file" | "dir" | "symlink" | "hardlink" | "char" | "fifo";
  readonly data?: string | Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  /** Target of a symbolic or hard link. */
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  /** Values are bytes: a character each. */
  readonly xattrs?: Readonly<Record<string, string>>;
};

/** `tar`: the archive itself, in place of what the entries would make. */
export type LayerSource = { readonly entries: readonly TarEntry[]; readonly tar?: Buffer; readonly compression?: "gzip" | "zstd" | "none" };

export type ImageSource = {
  readonly layers: readonly LayerSource[];
  /** The `config` object of the image configuration: Cmd, Env, User ... */
  readonly config?: object;
  readonly architecture?: string;
  readonly os?: string;
  readonly variant?: string;
  /** Docker's schema 2 media types in place of OCI's. */
  readonly docker?: boolean;
  /** Puts other digests of the uncompressed layers into the configuration: a liar. */
  readonly diffIds?: readonly string[];
};

export type BuiltImage = {
  readonly mediaType: string;
  readonly manifest: Buffer;
  readonly digest: string;
  readonly platform: { readonly os: string; readonly architecture: string; readonly variant?: string };
  /** Configuration and layers by digest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
  readonly layerDigests: readonly string[];
  readonly diffIds: readonly string[];
};

const TYPE_FLAGS = { file: "0", hardlink: "1", symlink: "2", char: "3", dir: "5", fifo: "6" } as const;
const BLOCK = 512;

export function sha256(data: Uint8Array): string {
  return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, "0")}\0`;
}

function padded(data: Uint8Array): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

function header(name: string, flag: string, size: number, entry: TarEntry): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100, "latin1");
  block.write(octal(entry.mode ?? (entry.type === "dir" ? 0o755 : 0o644), 8), 100, "latin1");
  block.write(octal(idInHeader(entry.uid), 8), 108, "latin1");
  block.write(octal(idInHeader(entry.gid), 8), 116, "latin1");
  block.write(octal(size, 12), 124, "latin1");
  block.write(octal(Math.max(0, Math.floor(entry.mtime ?? 1_700_000_000)), 12), 136, "latin1");
  block.write("        ", 148, "latin1");
  block.write(flag, 156, "latin1");
  block.write(bytesOf(entry.link ?? "").slice(0, 100), 157, 100, "latin1");
  block.write("ustar\u000000", 257, "latin1");
  block.write(octal(entry.major ?? 0, 8), 329, "latin1");
  block.write(octal(entry.minor ?? 0, 8), 337, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** One record of a pax extended header; its length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

/** What fits into a header's field of seven octal digits. */
const ID_MAX = 0o7777777;
const idInHeader = (id = 0): number => (id > ID_MAX ? 0 : id);
const bytesOf = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

/** A tar archive of these entries, in this order. */
export function tarOf(entries: readonly TarEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    const type = entry.type ?? "file";
    const name = entry.rawName === true ? entry.path : bytesOf(entry.path);
    const pax = Object.entries(entry.xattrs ?? {}).map(([key, value]) => paxRecord(`SCHILY.xattr.${key}`, value));
    if (name.length > 100) pax.push(paxRecord("path", name));
    if (bytesOf(entry.link ?? "").length > 100) pax.push(paxRecord("linkpath", bytesOf(entry.link ?? "")));
    for (const key of ["uid", "gid"] as const) if ((entry[key] ?? 0) > ID_MAX) pax.push(paxRecord(key, String(entry[key])));
    if (!Number.isInteger(entry.mtime ?? 0) || (entry.mtime ?? 0) < 0) pax.push(paxRecord("mtime", String(entry.mtime)));
    if (pax.length > 0) {
      const body = Buffer.from(pax.join(""), "latin1");
      parts.push(header("PaxHeaders/x", "x", body.length, { path: "x" }), padded(body));
    }
    const data = type === "file" ? Buffer.from(entry.data ?? "") : Buffer.alloc(0);
    parts.push(header(type === "dir" && !name.endsWith("/") ? `${name}/` : name, TYPE_FLAGS[type], data.length, entry), padded(data));
  }
  return Buffer.concat([...parts, Buffer.alloc(BLOCK * 2)]);
}

const COMPRESS = { gzip: (tar: Buffer) => gzipSync(tar, { level: 1 }), zstd: (tar: Buffer) => zstdCompressSync(tar), none: (tar: Buffer) => tar } as const;
const OCI_SUFFIX = { gzip: "+gzip", zstd: "+zstd", none: "" } as const;
const DOCKER_LAYER = {
  gzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  zstd: "application/vnd.docker.image.rootfs.diff.tar.zstd",
  none: "application/vnd.docker.image.rootfs.diff.tar",
} as const;

export function buildImage(source: ImageSource): BuiltImage {
  const blobs = new Map<string, Buffer>();
  const layers = source.layers.map((layer) => {
    const compression = layer.compression ?? "gzip";
    const tar = layer.tar ?? tarOf(layer.entries);
    const blob = COMPRESS[compression](tar);
    const digest = sha256(blob);
    blobs.set(digest, blob);
    const mediaType = source.docker === true ? DOCKER_LAYER[compression] : `application/vnd.oci.image.layer.v1.tar${OCI_SUFFIX[compression]}`;
    return { diffId: sha256(tar), descriptor: { mediaType, digest, size: blob.length } };
  });
  const platform = {
    os: source.os ?? "linux",
    architecture: source.architecture ?? "amd64",
    ...(source.variant === undefined ? {} : { variant: source.variant }),
  };
  const diffIds = source.diffIds ?? layers.map((layer) => layer.diffId);
  const config = Buffer.from(JSON.stringify({ ...platform, config: source.config ?? {}, rootfs: { type: "layers", diff_ids: diffIds } }));
  blobs.set(sha256(config), config);
  const mediaType = source.docker === true ? "application/vnd.docker.distribution.manifest.v2+json" : "application/vnd.oci.image.manifest.v1+json";
  const configType = source.docker === true ? "application/vnd.docker.container.image.v1+json" : "application/vnd.oci.image.config.v1+json";
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: configType, digest: sha256(config), size: config.length },
      layers: layers.map((layer) => layer.descriptor),
    }),
  );
  return { mediaType, manifest, digest: sha256(manifest), platform, blobs, layerDigests: layers.map((layer) => layer.descriptor.digest), diffIds };
}

const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";

export function buildIndex(images: readonly BuiltImage[]): { readonly mediaType: string; readonly bytes: Buffer; readonly digest: string } {
  const manifests = images.map((image) => ({ mediaType: image.mediaType, digest: image.digest, size: image.manifest.length, platform: image.platform }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests }));
  return { mediaType: INDEX_TYPE, bytes, digest: sha256(bytes) };
}

/** Writes an OCI image layout that skopeo reads as `oci:FOLDER:TAG`. */
export async function writeOciLayout(folder: string, image: BuiltImage, tag: string): Promise<void> {
  const blobs = join(folder, "blobs", "sha256");
  await mkdir(blobs, { recursive: true });
  for (const [digest, blob] of [...image.blobs, [image.digest, image.manifest] as const]) await writeFile(join(blobs, digest.slice("sha256:".length)), blob);
  await writeFile(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const descriptor = {
    mediaType: image.mediaType,
    digest: image.digest,
    size: image.manifest.length,
    annotations: { "org.opencontainers.image.ref.name": tag },
  };
  await writeFile(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }));
}

/** Puts an image into a registry byte for byte. `registry` is `http://host:port`; gives the manifest's digest. */
export async function pushImage(registry: string, repository: string, tag: string, image: BuiltImage, authorization?: string): Promise<string> {
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  for (const [digest, blob] of image.blobs) {
    const begun = await fetch(`${registry}/v2/${repository}/blobs/uploads/`, { method: "POST", headers });
    const location = begun.headers.get("location");
    if (location === null) throw new Error(`the registry takes no upload: ${begun.status} ${await begun.text()}`);
    const url = new URL(location, registry);
    url.searchParams.set("digest", digest);
    const put = await fetch(url, { method: "PUT", headers: { ...headers, "content-type": "application/octet-stream" }, body: new Uint8Array(blob) });
    if (put.status !== 201) throw new Error(`blob refused: ${put.status} ${await put.text()}`);
  }
  await putManifest(registry, repository, tag, image.mediaType, image.manifest, authorization);
  return image.digest;
}

/** Pushes an index with all its images under one tag. */
export async function pushIndex(registry: string, repository: string, tag: string, images: readonly BuiltImage[]): Promise<string> {
  for (const image of images) await pushImage(registry, repository, image.digest, image);
  const index = buildIndex(images);
  await putManifest(registry, repository, tag, index.mediaType, index.bytes);
  return index.digest;
}

async function putManifest(registry: string, repository: string, tag: string, mediaType: string, bytes: Buffer, authorization?: string): Promise<void> {
  const headers = { "content-type": mediaType, ...(authorization === undefined ? {} : { authorization }) };
  const answer = await fetch(`${registry}/v2/${repository}/manifests/${tag}`, { method: "PUT", headers, body: new Uint8Array(bytes) });
  if (answer.status !== 201) throw new Error(`manifest refused: ${answer.status} ${await answer.text()}`);
}

const APPLETS = [
  "sh",
  "cat",
  "echo",
  "sleep",
  "ls",
  "id",
  "env",
  "true",
  "false",
  "mkdir",
  "rm",
  "head",
  "dd",
  "seq",
  "printf",
  "hostname",
  "kill",
  "ps",
  "mount",
  "wc",
  "grep",
  "date",
  "touch",
  "nc",
  "tr",
  "test",
  "pwd",
  "stat",
  "yes",
  "tail",
];

/** An image with Debian's static busybox, /bin/sh as command, and users root and app (1000). */
export async function busyboxImage(extra: { readonly layers?: readonly LayerSource[]; readonly config?: object } = {}): Promise<BuiltImage> {
  const busybox = await readFile("/usr/bin/busybox");
  const entries: TarEntry[] = [
    { path: "bin", type: "dir" },
    { path: "bin/busybox", data: busybox, mode: 0o755 },
    ...APPLETS.map((name): TarEntry => ({ path: `bin/${name}`, type: "symlink", link: "busybox", mode: 0o777 })),
    { path: "etc", type: "dir" },
    { path: "etc/passwd", data: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n" },
    { path: "etc/group", data: "root:x:0:\napp:x:1000:\nextra:x:2000:app\n" },
    { path: "home", type: "dir" },
    { path: "home/app", type: "dir", uid: 1000, gid: 1000 },
    { path: "root", type: "dir", mode: 0o700 },
    { path: "tmp", type: "dir", mode: 0o1777 },
    { path: "proc", type: "dir" },
    { path: "sys", type: "dir" },
    { path: "dev", type: "dir" },
  ];
  return buildImage({ layers: [{ entries }, ...(extra.layers ?? [])], config: { Cmd: ["/bin/sh"], Env: ["PATH=/usr/bin:/bin"], ...extra.config } });
}

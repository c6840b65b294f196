import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, createReadStream, createWriteStream, existsSync, mkdtempSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { CcError } from "../../src/base/index.ts";
import { valueOf } from "../failure.ts";
import {
  chooseImage,
  type Descriptor,
  diffIdsOf,
  type ImageSource,
  imageNameFrom,
  manifestOf,
  parseObject,
  parseSavedImages,
  partsOfManifest,
} from "../image-source.ts";
import { type ImageFiles, openArchive, openFolder } from "./image-files.ts";

export type SourceBlob = { readonly digest: string; readonly sizeBytes: number; read(): AsyncIterable<Uint8Array> };

/** An image of this machine, ready to be sent. */
export type LocalImage = {
  /** Of its manifest or index. */
  readonly digest: string;
  readonly name: string;
  readonly blobs: readonly SourceBlob[];
  /** Removes what was made to read it. */
  close(): void;
};

/** What a registry takes as a manifest or configuration. */
const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;
const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Opens an image of this machine. What has to be unpacked for it lies in a folder that goes with `close`, and also when
 * this process is told to end. Throws CcError for what is not there, damaged, or no image.
 */
export async function openLocalImage(source: ImageSource): Promise<LocalImage> {
  const scratch = new Scratch();
  try {
    const image = await read(source, scratch);
    return {
      ...image,
      close: () => {
        image.close();
        scratch.remove();
      },
    };
  } catch (error) {
    scratch.remove();
    throw error;
  }
}

async function read(source: ImageSource, scratch: Scratch): Promise<LocalImage> {
  switch (source.kind) {
    case "oci": {
      const { folder, tag } = splitTag(source.path);
      return fromLayout(openFolder(folder), folder, tag, imageNameFrom(`${folder}:`));
    }
    case "dir":
      return fromDir(openFolder(source.path), source.path);
    case "docker-archive":
      return await fromArchive(source.path, source.path, scratch);
    case "docker-daemon":
      return await fromDaemon(source.image, scratch);
  }
}

/** `DIR[:TAG]`, where a folder's own name may have colons. */
function splitTag(path: string): { readonly folder: string; readonly tag: string | undefined } {
  const colon = path.lastIndexOf(":");
  if (colon <= path.lastIndexOf("/") || existsSync(path)) return { folder: path, tag: undefined };
  return { folder: path.slice(0, colon), tag: path.slice(colon + 1) };
}

const hexOf = (digest: string): string => digest.slice("sha256:".length);
const sha256 = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`;

/** A part of an image as a file; the host that receives it checks the digest, here only what a look tells. */
function blobAt(files: ImageFiles, path: string, { digest, size }: Omit<Descriptor, "mediaType">, where: string): SourceBlob {
  const found = files.size(path);
  if (found === undefined) throw new CcError("BAD_REQUEST", `${where} lacks ${path}, which its manifest names; build or save the image again`);
  if (found !== size)
    throw new CcError("BAD_REQUEST", `${path} in ${where} has ${found} bytes, its manifest says ${size}: it is damaged; build or save the image again`);
  return { digest, sizeBytes: size, read: () => files.read(path) };
}

/** The manifest or index in `path`, and all that it names. */
function withParts(
  files: ImageFiles,
  path: string,
  root: Omit<Descriptor, "mediaType">,
  where: string,
  pathOf: (part: Descriptor, isManifest: boolean) => string,
): SourceBlob[] {
  const text = files.text(path, MANIFEST_BYTES_MAX);
  if (sha256(text) !== root.digest)
    throw new CcError("BAD_REQUEST", `${path} in ${where} is damaged: it does not have the digest ${root.digest}; build or save the image again`);
  const { images, blobs } = valueOf(partsOfManifest(valueOf(parseObject(text, `${path} in ${where}`)), `${path} in ${where}`));
  // Of an index often only the images are there that were built.
  const present = images.filter((image) => files.size(pathOf(image, true)) !== undefined);
  if (images.length > 0 && present.length === 0)
    throw new CcError("BAD_REQUEST", `${where} has none of the images that its index names; build or save the image again`);
  return [
    blobAt(files, path, root, where),
    ...blobs.map((blob) => blobAt(files, pathOf(blob, false), blob, where)),
    ...present.flatMap((image) => withParts(files, pathOf(image, true), image, where, pathOf)),
  ];
}

function fromLayout(files: ImageFiles, where: string, tag: string | undefined, name: string): LocalImage {
  const root = valueOf(chooseImage(valueOf(parseObject(files.text("index.json", MANIFEST_BYTES_MAX), `index.json in ${where}`)), tag, where));
  const pathOf = (part: { readonly digest: string }): string => `blobs/sha256/${hexOf(part.digest)}`;
  return { digest: root.digest, name, blobs: withParts(files, pathOf(root), root, where, pathOf), close: files.close };
}

/** The form that `skopeo copy ... dir:DIR` writes: files named by their digests, manifest.json beside them. */
function fromDir(files: ImageFiles, where: string): LocalImage {
  const text = files.text("manifest.json", MANIFEST_BYTES_MAX);
  const root = { digest: sha256(text), size: Buffer.byteLength(text) };
  const pathOf = (part: Descriptor, isManifest: boolean): string => `${hexOf(part.digest)}${isManifest ? ".manifest.json" : ""}`;
  return { digest: root.digest, name: imageNameFrom(`${where}:`), blobs: withParts(files, "manifest.json", root, where, pathOf), close: files.close };
}

/** What `docker save` writes, also compressed, and also in its newer form, an OCI layout. */
async function fromArchive(file: string, shown: string, scratch: Scratch): Promise<LocalImage> {
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true)
    throw new CcError("BAD_REQUEST", `${shown} is no file; give what docker save or skopeo has written`);
  const files = openArchive(await decompressed(file, scratch), shown);
  if (files.size("index.json") !== undefined && files.size("oci-layout") !== undefined) return fromLayout(files, shown, undefined, imageNameFrom(shown));
  const saved = valueOf(parseSavedImages(valueOf(parseObject(files.text("manifest.json", MANIFEST_BYTES_MAX), `manifest.json in ${shown}`)), shown));
  const config = files.text(saved.config, MANIFEST_BYTES_MAX);
  const diffIds = valueOf(diffIdsOf(valueOf(parseObject(config, `${saved.config} in ${shown}`)), shown));
  if (diffIds.length !== saved.layers.length)
    throw new CcError("BAD_REQUEST", `${shown} contradicts itself: ${saved.layers.length} layers, ${diffIds.length} digests of layers; save the image again`);
  const configPart = { digest: sha256(config), size: Buffer.byteLength(config) };
  const layers: Descriptor[] = [];
  const blobs = [blobAt(files, saved.config, configPart, shown)];
  for (const [at, path] of saved.layers.entries()) {
    const size = files.size(path);
    if (size === undefined) throw new CcError("BAD_REQUEST", `${shown} lacks ${path}, which its manifest names; save the image again`);
    const layer = { ...(await layerOf(files, path, diffIds[at] ?? "")), size };
    layers.push(layer);
    blobs.push(blobAt(files, path, layer, shown));
  }
  const manifest = manifestOf(configPart, layers);
  const bytes = Buffer.from(manifest);
  blobs.push({ digest: sha256(manifest), sizeBytes: bytes.length, read: () => oneChunk(bytes) });
  return { digest: sha256(manifest), name: imageNameFrom(saved.name || shown), blobs, close: files.close };
}

/** Layers of an archive are uncompressed, as a rule: then their digest stands in the configuration. */
async function layerOf(files: ImageFiles, path: string, diffId: string): Promise<Omit<Descriptor, "size">> {
  const hash = createHash("sha256");
  let compressed: boolean | undefined;
  for await (const chunk of files.read(path)) {
    compressed ??= chunk[0] === 0x1f && chunk[1] === 0x8b;
    if (!compressed) break;
    hash.update(chunk);
  }
  if (compressed !== true) return { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: diffId };
  return { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: `sha256:${hash.digest("hex")}` };
}

async function decompressed(file: string, scratch: Scratch): Promise<string> {
  const head = Buffer.alloc(4);
  const handle = openSync(file, "r");
  readSync(handle, head, 0, head.length, 0);
  closeSync(handle);
  const unpack = head.readUInt16BE(0) === 0x1f8b ? createGunzip() : head.readUInt32BE(0) === 0x28b52ffd ? createZstdDecompress() : undefined;
  if (unpack === undefined) return file;
  const target = scratch.path("archive.tar");
  try {
    await pipeline(createReadStream(file), unpack, createWriteStream(target, { mode: 0o600 }));
  } catch (error) {
    throw new CcError("BAD_REQUEST", `${file} cannot be decompressed (${error instanceof Error ? error.message : String(error)}); save the image again`, {
      cause: error,
    });
  }
  return target;
}

/** docker itself where it is, else skopeo, which speaks to its daemon too. */
async function fromDaemon(image: string, scratch: Scratch): Promise<LocalImage> {
  const archive = scratch.path("saved.tar");
  if (await scratch.run(["docker", "save", "--output", archive, image], image))
    return { ...(await fromArchive(archive, `docker's ${image}`, scratch)), name: imageNameFrom(image) };
  const layout = scratch.path("layout");
  // docker reads it by itself.
  const host = process.env["DOCKER_HOST"] ?? "";
  const daemon = host === "" ? [] : ["--src-daemon-host", host];
  if (await scratch.run(["skopeo", "--insecure-policy", "copy", "--quiet", ...daemon, `docker-daemon:${image}`, `oci:${layout}:image`], image))
    return fromLayout(openFolder(layout), `docker's ${image}`, "image", imageNameFrom(image));
  throw new CcError(
    "BAD_REQUEST",
    "docker-daemon: needs docker or skopeo on this machine, and neither is there; install one (apt-get install skopeo), or give what docker save wrote elsewhere as docker-archive:FILE",
  );
}

/** A folder for what this command makes, made when it is first needed. */
class Scratch {
  #folder: string | undefined;
  #child: ReturnType<typeof spawn> | undefined;
  readonly #onSignal = (signal: NodeJS.Signals): never => {
    this.#child?.kill("SIGKILL");
    this.remove();
    process.exit(128 + constants.signals[signal]);
  };

  path(name: string): string {
    if (this.#folder === undefined) {
      this.#folder = mkdtempSync(join(tmpdir(), "cc-image-"));
      for (const signal of ENDING) process.on(signal, this.#onSignal);
    }
    return join(this.#folder, name);
  }

  /** Runs a program to its end. False: it is not on this machine. Throws IMAGE_NOT_FOUND with its last word when it fails. */
  run(argv: readonly [string, ...string[]], image: string): Promise<boolean> {
    const [program, ...words] = argv;
    return new Promise((resolve, reject) => {
      let said = "";
      const child = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"] });
      this.#child = child;
      child.stderr.on("data", (chunk: Buffer) => {
        said = `${said}${chunk}`.slice(-4_096);
      });
      child.once("error", (error) => {
        if ("code" in error && error.code === "ENOENT") resolve(false);
        else reject(new CcError("BAD_REQUEST", `${program} cannot be run (${error.message})`, { cause: error }));
      });
      child.once("close", (code) => {
        if (code === 0) return resolve(true);
        const line = said.trim().split("\n").at(-1) ?? "";
        // skopeo's lines are a log's.
        const last = (/msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1] ?? line).replaceAll('\\"', '"');
        reject(new CcError("IMAGE_NOT_FOUND", `${program} does not give ${image}: ${last || `it ended with ${code}`}`));
      });
    });
  }

  remove(): void {
    if (this.#folder === undefined) return;
    rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
    for (const signal of ENDING) process.off(signal, this.#onSignal);
  }
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

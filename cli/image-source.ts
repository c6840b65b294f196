import { ok, type Result, refuse } from "../src/base/index.ts";

/** An image of this machine, as `--image` and `cc image push` name it. */
export type ImageSource =
  | { readonly kind: "oci" | "dir" | "docker-archive"; readonly path: string }
  | { readonly kind: "docker-daemon"; readonly image: string };

const LOCAL = /^(oci|docker-archive|dir|docker-daemon):(.*)$/s;

/** Whether it names an image of this machine, which has to be brought before it can run. */
export const isLocalImage = (text: string): boolean => LOCAL.test(text);

export function parseImageSource(text: string): Result<ImageSource> {
  const [, kind, rest = ""] = LOCAL.exec(text) ?? [];
  if (kind === undefined)
    return refuse(
      "BAD_USAGE",
      `"${text.slice(0, 80)}" is no image of this machine; give oci:DIR[:TAG], docker-archive:FILE, dir:DIR or docker-daemon:NAME[:TAG]`,
    );
  if (rest === "") return refuse("BAD_USAGE", `${kind}: names nothing; give for example ${kind}:${kind === "docker-daemon" ? "web:latest" : "build"}`);
  if (kind === "docker-daemon") {
    // What begins with a hyphen would be an option of the program that is asked.
    if (!/^[A-Za-z0-9][A-Za-z0-9._/:@-]*$/.test(rest)) return refuse("BAD_USAGE", `"${rest.slice(0, 80)}" is not the name of an image`);
    return ok({ kind, image: /:[^/]*$|@/.test(rest) ? rest : `${rest}:latest` });
  }
  return ok({ kind: kind as "oci" | "dir" | "docker-archive", path: rest });
}

/** The name that an image gets where the user gives none: of its folder, file or repository. */
export function imageNameFrom(text: string): string {
  const last = text.replace(/\/+$/, "").split("/").at(-1) ?? "";
  const name = last
    .replace(/@.*$/, "")
    .replace(/:[^:]*$/, "")
    .replace(/\.(tar|tgz|tar\.(gz|zst))$/i, "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return name === "" ? "image" : name.slice(0, 63).replace(/-+$/, "");
}

export type Descriptor = { readonly mediaType: string; readonly digest: string; readonly size: number };
type Record = { readonly [key: string]: unknown };

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const isRecord = (value: unknown): value is Record => typeof value === "object" && value !== null && !Array.isArray(value);
const listOf = (value: unknown): readonly Record[] => (Array.isArray(value) ? value.filter(isRecord) : []);

export function parseObject(text: string, what: string): Result<unknown> {
  try {
    return ok(JSON.parse(text));
  } catch {
    return refuse("BAD_REQUEST", `${what} is not JSON; build or save the image again`);
  }
}

function descriptorOf(value: unknown, what: string): Result<Descriptor> {
  if (!isRecord(value) || typeof value["digest"] !== "string" || !DIGEST.test(value["digest"]) || !Number.isSafeInteger(value["size"]))
    return refuse("BAD_REQUEST", `${what} has a part without a sha256 digest and a size; build or save the image again`);
  return ok({ mediaType: String(value["mediaType"] ?? ""), digest: value["digest"], size: Number(value["size"]) });
}

const REF_NAME = "org.opencontainers.image.ref.name";
const tagOf = (entry: Record): string => {
  const annotations = entry["annotations"];
  return isRecord(annotations) && typeof annotations[REF_NAME] === "string" ? annotations[REF_NAME] : "";
};

/** The image of an OCI layout's index.json that a tag means; without a tag its only one. */
export function chooseImage(index: unknown, tag: string | undefined, where: string): Result<Descriptor> {
  const entries = isRecord(index) ? listOf(index["manifests"]) : [];
  const tags = entries.map(tagOf).filter((each) => each !== "");
  const has = tags.length === 0 ? "its images have no tags" : `it has ${tags.slice(0, 10).join(", ")}`;
  const matching = tag === undefined ? entries : entries.filter((entry) => tagOf(entry) === tag);
  const [first, second] = matching;
  if (first === undefined)
    return refuse("IMAGE_NOT_FOUND", tag === undefined ? `${where} holds no image` : `${where} has no image with the tag ${tag}; ${has}`);
  if (second !== undefined) return refuse("BAD_REQUEST", `${where} holds several images; say which with its tag: ${has}`);
  return descriptorOf(first, where);
}

/** What a manifest or index names. Of an index, what belongs to no platform (attestations) is left out. */
export function partsOfManifest(manifest: unknown, what: string): Result<{ readonly images: readonly Descriptor[]; readonly blobs: readonly Descriptor[] }> {
  if (!isRecord(manifest)) return refuse("BAD_REQUEST", `${what} is no manifest; build or save the image again`);
  if (Array.isArray(manifest["manifests"])) {
    const images: Descriptor[] = [];
    for (const entry of listOf(manifest["manifests"])) {
      const platform = entry["platform"];
      if (isRecord(platform) && platform["os"] === "unknown") continue;
      const image = descriptorOf(entry, what);
      if (!image.ok) return image;
      images.push(image.value);
    }
    return ok({ images, blobs: [] });
  }
  const blobs: Descriptor[] = [];
  for (const part of [manifest["config"], ...listOf(manifest["layers"])]) {
    const blob = descriptorOf(part, what);
    if (!blob.ok) return blob;
    blobs.push(blob.value);
  }
  return ok({ images: [], blobs });
}

/** What `docker save` says of its one image: paths inside the archive. */
export type SavedImage = { readonly config: string; readonly layers: readonly string[]; readonly name: string };

export function parseSavedImages(list: unknown, where: string): Result<SavedImage> {
  const [image, other] = listOf(list);
  if (image === undefined) return refuse("IMAGE_NOT_FOUND", `${where} holds no image`);
  if (other !== undefined) return refuse("BAD_REQUEST", `${where} holds several images; save the one that is meant by itself`);
  const { Config: config, Layers: layers, RepoTags: tags } = image;
  if (typeof config !== "string" || !Array.isArray(layers) || layers.some((layer) => typeof layer !== "string"))
    return refuse("BAD_REQUEST", `${where} is not what docker save writes; save the image again`);
  return ok({ config, layers: layers.map(String), name: Array.isArray(tags) && typeof tags[0] === "string" ? tags[0] : "" });
}

/** Digests of the uncompressed layers, from an image's configuration. */
export function diffIdsOf(config: unknown, where: string): Result<readonly string[]> {
  const rootfs = isRecord(config) ? config["rootfs"] : undefined;
  const ids = isRecord(rootfs) ? rootfs["diff_ids"] : undefined;
  if (!Array.isArray(ids) || ids.some((id) => typeof id !== "string" || !DIGEST.test(id)))
    return refuse("BAD_REQUEST", `${where} has an image without the digests of its layers; save it again`);
  return ok(ids.map(String));
}

/** The manifest of a saved image, the same bytes each time. */
export function manifestOf(config: Omit<Descriptor, "mediaType">, layers: readonly Descriptor[]): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: config.digest, size: config.size },
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
  });
}

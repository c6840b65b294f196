import { z } from "zod";
import { ok, type Result, refuse } from "../base/index.ts";
import { printable } from "./printable.ts";
import { type Digest, isDigest } from "./reference.ts";

/** What registries themselves accept at most. */
export const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;
/** Docker builds at most 127; more would not fit into the options of an overlay mount. */
export const LAYERS_MAX = 128;
const INDEX_ENTRIES_MAX = 1_000;
/** 1 TiB: a larger layer is a lie or fits no host. */
const LAYER_BYTES_MAX = 2 ** 40;

export type Descriptor = { readonly digest: Digest; readonly sizeBytes: number; readonly mediaType: string };
export type Platform = { readonly os: string; readonly architecture: string; readonly variant: string };

export type Manifest =
  | { readonly kind: "image"; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  | { readonly kind: "index"; readonly entries: readonly { readonly descriptor: Descriptor; readonly platform: Platform | undefined }[] };

const IMAGE_TYPES = new Set(["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]);
const INDEX_TYPES = new Set(["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]);
const CONFIG_TYPES = new Set(["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"]);
const LAYER_TYPE =
  /^application\/vnd\.(oci\.image\.layer(\.nondistributable)?\.v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?)$/;

const digest = z.string().refine(isDigest, "not a sha256 digest");
const descriptor = z
  .object({ mediaType: z.string().max(255).default(""), digest, size: z.number().int().min(0).max(LAYER_BYTES_MAX) })
  .transform(({ mediaType, digest, size }): Descriptor => ({ mediaType, digest, sizeBytes: size }));
const platform = z.object({ os: z.string().max(64), architecture: z.string().max(64), variant: z.string().max(64).default("") });
const imageSchema = z.object({ config: descriptor, layers: z.array(descriptor).max(LAYERS_MAX) });
const indexSchema = z.object({
  manifests: z
    .array(
      z.object({ mediaType: z.string().max(255).default(""), digest, size: z.number().int().min(0).max(MANIFEST_BYTES_MAX), platform: platform.nullish() }),
    )
    .max(INDEX_ENTRIES_MAX),
});
const headSchema = z.object({ schemaVersion: z.literal(2), mediaType: z.string().max(255).optional(), manifests: z.unknown().optional() });

/** An OCI or Docker (schema 2) manifest or index, from a registry: nothing in it is trusted. */
export function parseManifest(text: string): Result<Manifest> {
  const json = parseJson(text, MANIFEST_BYTES_MAX);
  if (!json.ok) return bad(json.message);
  const head = headSchema.safeParse(json.value);
  if (!head.success) return bad("it is of a kind that is no longer used (schema 1); build and push the image again");
  const { mediaType, manifests } = head.data;
  if (mediaType !== undefined ? INDEX_TYPES.has(mediaType) : manifests !== undefined) return parseIndex(json.value);
  if (mediaType !== undefined && !IMAGE_TYPES.has(mediaType)) return bad(`it is of type ${printable(mediaType)}`);
  const image = imageSchema.safeParse(json.value);
  if (!image.success) return bad(firstIssue(image.error));
  if (!CONFIG_TYPES.has(image.data.config.mediaType)) return bad(`it is not a container image but ${printable(image.data.config.mediaType)}`);
  if (image.data.config.sizeBytes > MANIFEST_BYTES_MAX) return bad("its configuration is too large");
  for (const layer of image.data.layers) {
    if (!LAYER_TYPE.test(layer.mediaType)) return bad(`it has a layer of type ${printable(layer.mediaType)}, which cannot be unpacked here`);
  }
  return ok({ kind: "image", config: image.data.config, layers: image.data.layers });
}

function parseIndex(json: unknown): Result<Manifest> {
  const index = indexSchema.safeParse(json);
  if (!index.success) return bad(firstIssue(index.error));
  const entries = index.data.manifests.map((entry) => ({
    descriptor: { mediaType: entry.mediaType, digest: entry.digest, sizeBytes: entry.size },
    platform: entry.platform ?? undefined,
  }));
  return ok({ kind: "index", entries });
}

/** JSON from outside: bounded, and every way to be wrong is a refusal. */
export function parseJson(text: string, charsMax: number): Result<unknown> {
  if (text.length > charsMax) return refuse("TOO_LARGE", `it is larger than ${charsMax} bytes`);
  try {
    return ok(JSON.parse(text));
  } catch {
    // What the parser says quotes the text; that it is not JSON is all that a user can use.
    return refuse("IMAGE_PULL_FAILED", "it is not JSON");
  }
}

/** Where the first mistake is, in words of a bounded length. */
export function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue === undefined ? "it is malformed" : printable(`${issue.path.join(".")}: ${issue.message}`);
}

function bad(why: string): ReturnType<typeof refuse> {
  return refuse("IMAGE_PULL_FAILED", `the registry's manifest cannot be used: ${why}`);
}

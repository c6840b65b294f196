import { ok, type Result, refuse } from "../base/index.ts";
import { printable } from "./printable.ts";

/** `sha256:` and 64 hexadecimal digits: the only kind of digest that registries use. */
export type Digest = string & { readonly brand: "Digest" };

/** Where an image is found, complete: `docker.io/library/alpine:latest`. */
export type ImageReference = {
  /** `host` or `host:port`. */
  readonly registry: string;
  readonly repository: string;
  /** Undefined only beside a digest. */
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
};

export const DEFAULT_REGISTRY = "docker.io";
/** In the place of a registry: images that users brought, named by digest (`mesh/NAME@sha256:...`). No registry is called so: its name would need a dot or a port. */
const MESH = "mesh";
const DEFAULT_TAG = "latest";
const REFERENCE_CHARS_MAX = 512;
const NAME_CHARS_MAX = 255;

/** What names files or programs of the machine where `cc` runs: uploaded from there, never read by a host. */
const LOCAL_TRANSPORTS = new Set(["oci", "docker-archive", "dir", "docker-daemon"]);
const OTHER_TRANSPORTS = new Set(["oci-archive", "containers-storage", "ostree", "sif", "tarball"]);

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
/** One part of a repository's name, after the grammar of distribution/reference. */
const PART = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:.]+\])$/;
const PORT_MAX = 65_535;

export const isDigest = (text: string): text is Digest => DIGEST.test(text);

/** `alpine`, `ghcr.io/x/y:tag`, `host:5000/x@sha256:...`, completed as Docker does: registry docker.io, library/, :latest. */
export function parseImageReference(text: string): Result<ImageReference> {
  if (text === "") return bad(text, "give an image, for example alpine or ghcr.io/owner/name:tag");
  if (text.length > REFERENCE_CHARS_MAX) return bad(`${text.slice(0, 32)}...`, `an image reference has at most ${REFERENCE_CHARS_MAX} characters`);
  if (/[\s\u0000-\u001f\u007f]/.test(text)) return bad(text, "an image reference has no spaces or control characters");
  const scheme = /^([a-z-]+):/.exec(text)?.[1] ?? "";
  if (/^[a-z-]+:\/\//.test(text)) return bad(text, `leave out ${scheme}://`);
  if (LOCAL_TRANSPORTS.has(scheme))
    return bad(
      text,
      `${scheme}: names something of the machine where cc runs, which no host reads; cc image push brings it into the mesh and prints its reference`,
    );
  if (OTHER_TRANSPORTS.has(scheme)) return bad(text, `${scheme}: images cannot be used here; push the image to a registry and name it there`);

  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) return bad(text, "after @ comes sha256: and 64 hexadecimal digits in lower case");
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !TAG.test(tag)) return bad(text, "a tag is 1 to 128 letters, digits, _, . or -, and does not begin with . or -");

  const place = splitRegistry(hasTag ? named.slice(0, colon) : named);
  if (!place.ok) return bad(text, place.message);
  if (digest !== undefined && !hasTag && named.startsWith(`${MESH}/`))
    return ok({ registry: MESH, repository: named.slice(MESH.length + 1), tag: undefined, digest });
  return ok({ ...place.value, tag: tag ?? (digest === undefined ? DEFAULT_TAG : undefined), digest });
}

function splitRegistry(name: string): Result<{ registry: string; repository: string }> {
  const parts = name.split("/");
  const first = parts[0] ?? "";
  const namesRegistry = parts.length > 1 && (/[.:[]/.test(first) || first === "localhost");
  let registry = namesRegistry ? first : DEFAULT_REGISTRY;
  if (registry === "index.docker.io") registry = DEFAULT_REGISTRY;
  const path = namesRegistry ? parts.slice(1) : parts;
  const host = /^(.*?)(?::(\d+))?$/.exec(registry);
  if (host === null || !HOST.test(host[1] ?? "")) return refuse("BAD_IMAGE_REFERENCE", `"${printable(registry)}" is not the name of a registry`);
  const port = host[2];
  if (port !== undefined && (Number(port) < 1 || Number(port) > PORT_MAX)) return refuse("BAD_IMAGE_REFERENCE", `${port} is not a port`);
  for (const part of path) {
    if (part === "") return refuse("BAD_IMAGE_REFERENCE", "a part of its name is empty");
    if (part !== part.toLowerCase()) return refuse("BAD_IMAGE_REFERENCE", "names of images are in lower case");
    if (!PART.test(part))
      return refuse("BAD_IMAGE_REFERENCE", `"${printable(part)}" may only have lower-case letters and digits, with ., _, __ or - between them`);
  }
  const repository = registry === DEFAULT_REGISTRY && path.length === 1 ? `library/${path[0]}` : path.join("/");
  if (registry.length + repository.length > NAME_CHARS_MAX) return refuse("BAD_IMAGE_REFERENCE", `its name has more than ${NAME_CHARS_MAX} characters`);
  return ok({ registry, repository });
}

function bad(text: string, why: string): ReturnType<typeof refuse> {
  return refuse("BAD_IMAGE_REFERENCE", `"${printable(text)}" is not an image reference: ${why}`);
}

/** Whether it names an image that a user brought: in no registry. */
export const isMeshReference = (reference: ImageReference): reference is ImageReference & { readonly digest: Digest } =>
  reference.registry === MESH && reference.digest !== undefined;

/** The complete form: equal images in equal words. */
export function formatImageReference(reference: ImageReference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${reference.registry}/${reference.repository}${tag}${digest}`;
}

/** What a registry is asked for: the digest where there is one, else the tag, never both. */
export function registryName(reference: ImageReference): string {
  const name = `${reference.registry}/${reference.repository}`;
  return reference.digest === undefined ? `${name}:${reference.tag ?? DEFAULT_TAG}` : `${name}@${reference.digest}`;
}

import { createHash } from "node:crypto";
import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type Logger } from "../../base/index.ts";
import { errorCode } from "../../host/index.ts";
import type { BlobSource } from "../blob-store.ts";
import { fetchBlobs } from "../fetch-blob.ts";
import { type Descriptor, type Manifest, parseManifest } from "../manifest.ts";
import { type Digest, formatImageReference, type ImageReference, isDigest, isMeshReference } from "../reference.ts";
import type { BlobShelf } from "./blob-shelf.ts";
import type { RegistryClient, RegistrySession } from "./skopeo.ts";
import { valueOf } from "./value-of.ts";

export type MeshRegistryInit = { readonly registry: RegistryClient; readonly shelf: BlobShelf; readonly source: BlobSource; readonly log: Logger };

/**
 * The registry behind the mesh: what is known by digest is taken from this host, then from other hosts, and only what
 * nobody has from the registry. Digests are checked wherever it comes from. What a tag means only its registry knows; of
 * an image that a user brought there is no registry at all.
 */
export function createMeshRegistry(init: MeshRegistryInit): RegistryClient {
  const { registry, shelf, source, log } = init;
  const tools = { blobs: shelf, source, log };

  /** A manifest or configuration, from here or from another host. */
  async function known(digest: Digest, sizeBytes: number | undefined, signal: AbortSignal): Promise<string | undefined> {
    await fetchBlobs(tools, [{ digest, sizeBytes }], { signal });
    return shelf.text(digest);
  }

  /** Kept for other hosts under the digest that it has; the caller checks that it is the one that was meant. */
  async function kept(text: string, signal: AbortSignal): Promise<string> {
    const bytes = Buffer.from(text);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    if (isDigest(digest) && !(await shelf.have([digest])).has(digest)) await shelf.receive({ digest, sizeBytes: bytes.length }, oneChunk(bytes), { signal });
    return text;
  }

  const nowhere = (reference: ImageReference): CcError =>
    new CcError(
      "IMAGE_NOT_FOUND",
      `no host that can be reached has ${formatImageReference(reference)} whole; bring it again with cc image push (an image that no container uses is kept for an hour)`,
    );

  function meshSession(): RegistrySession {
    const none = async (reference: ImageReference): Promise<never> => {
      throw nowhere(reference);
    };
    return { manifest: none, config: none, blobs: none, close: async () => undefined };
  }

  return {
    async open(reference, credentials) {
      const inner = isMeshReference(reference) ? meshSession() : await registry.open(reference, credentials);

      async function manifestText(of: ImageReference, signal: AbortSignal): Promise<string> {
        const text = of.digest === undefined ? undefined : await known(of.digest, undefined, signal);
        return text ?? kept(await inner.manifest(of, signal), signal);
      }

      async function imageOf(of: ImageReference, signal: AbortSignal): Promise<Extract<Manifest, { kind: "image" }>> {
        const manifest = valueOf(parseManifest(await manifestText(of, signal)));
        if (manifest.kind === "image") return manifest;
        throw new CcError("INTERNAL", "the parts of an image are asked of its index");
      }

      return {
        manifest: manifestText,
        async config(of, signal) {
          const { config } = await imageOf(of, signal);
          return (await known(config.digest, config.sizeBytes, signal)) ?? kept(await inner.config(of, signal), signal);
        },
        async blobs(of, folder, work, signal) {
          const { layers } = await imageOf(of, signal);
          const fileOf = (digest: Digest): string => join(folder, "sha256", digest.slice("sha256:".length));
          // What lies here is unpacked while the rest is on its way.
          const place = (digest: Digest): Promise<boolean> => shelf.linkTo(digest, fileOf(digest));
          await mkdir(work, { recursive: true, mode: 0o700 });
          const missing: Descriptor[] = [];
          for (const layer of layers) if (!(await isThere(fileOf(layer.digest))) && !(await place(layer.digest))) missing.push(layer);
          if (missing.length === 0) return;
          const failed = await fetchBlobs(tools, missing, { signal, folder: work, onBlob: place });
          if (failed.length > 0) await inner.blobs(of, folder, work, signal);
        },
        close: () => inner.close(),
      };
    },
    sweep: () => registry.sweep(),
  };
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    (error: unknown) => {
      if (errorCode(error) === "ENOENT") return false;
      throw error;
    },
  );
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

import { createHash } from "node:crypto";
import t from "tap";
import type { PeerId } from "../../../src/base/index.ts";
import { silentLogger } from "../../../src/base/index.ts";
import type { BlobSource, BlobStore } from "../../../src/images/blob-store.ts";
import { fetchBlobs } from "../../../src/images/fetch-blob.ts";
import { closureOf } from "../../../src/images/image-closure.ts";
import type { Digest } from "../../../src/images/reference.ts";

const sha = (text: string): Digest => `sha256:${createHash("sha256").update(text).digest("hex")}` as Digest;
const part = (text: string, mediaType: string) => ({ mediaType, digest: sha(text), size: text.length });
const LAYER = "application/vnd.oci.image.layer.v1.tar";
const CONFIG = "application/vnd.oci.image.config.v1+json";

function manifest(config: string, layers: readonly string[], layerType = LAYER): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: part(config, CONFIG),
    layers: layers.map((text) => part(text, layerType)),
  });
}
const index = (images: readonly string[]): string =>
  JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: images.map((text) => part(text, "application/vnd.oci.image.manifest.v1+json")),
  });
const among =
  (...texts: string[]) =>
  async (digest: Digest): Promise<string | undefined> =>
    texts.find((text) => sha(text) === digest);

t.test("an image is its manifest, its configuration and each layer once", async (t) => {
  const image = manifest("c", ["l1", "l2", "l1"]);
  const closure = await closureOf(sha(image), among(image));
  t.same(closure.ok && closure.value.blobs.map(({ digest }) => digest), [sha(image), sha("c"), sha("l1"), sha("l2")]);
  t.match(await closureOf(sha(image), among()), { code: "IMAGE_NOT_FOUND" });
  t.match(await closureOf(sha("{}"), among("{}")), { ok: false });
});

t.test("of an index count the images that are here; attestations do not, and none is not enough", async (t) => {
  const [a, b] = [manifest("ca", ["la"]), manifest("cb", ["lb"])];
  const attestation = manifest("x", ["y"], "application/vnd.in-toto+json");
  const both = index([a, b, attestation]);
  const closure = await closureOf(sha(both), among(both, b, attestation));
  t.same(closure.ok && closure.value.blobs.map(({ digest }) => digest), [sha(both), sha(b), sha("cb"), sha("lb")]);
  t.match(await closureOf(sha(both), among(both, attestation)), { code: "IMAGE_NOT_FOUND" });
  t.match(await closureOf(sha(index([both])), among(index([both]), both)), { code: "IMAGE_NOT_FOUND" }, "an index in an index is no image");
});

t.test("a blob is asked of the next host when one lies or breaks off, and of three at most", async (t) => {
  const here = new Map<Digest, string>();
  const asked: string[] = [];
  const blobs: BlobStore = {
    have: async (digests) => new Map(digests.flatMap((digest) => (here.has(digest) ? [[digest, 1] as const] : []))),
    text: async (digest) => here.get(digest),
    read: () => {
      throw new Error("not read");
    },
    receive: async ({ digest }, chunks) => {
      let text = "";
      for await (const chunk of chunks) text += Buffer.from(chunk).toString();
      if (sha(text) !== digest) throw new Error("another digest");
      here.set(digest, text);
    },
  };
  const source = (gives: Readonly<Record<string, string | Error>>): BlobSource => ({
    offers: async (digests) => new Map(digests.map((digest) => [digest, Object.keys(gives) as PeerId[]])),
    async *read(from) {
      asked.push(from);
      const given = gives[from];
      if (typeof given !== "string") throw given;
      yield Buffer.from(given);
    },
  });
  const fetch = (texts: readonly string[], gives: Readonly<Record<string, string | Error>>) =>
    fetchBlobs(
      { blobs, source: source(gives), log: silentLogger },
      texts.map((text) => ({ digest: sha(text), sizeBytes: text.length })),
      { signal: new AbortController().signal },
    );
  t.same(await fetch(["good"], { liar: "evil", dead: new Error("gone"), honest: "good" }), []);
  t.same(asked.splice(0), ["liar", "dead", "honest"]);
  t.same(await fetch(["good"], {}), [], "what is here needs nobody");
  t.same(await fetch(["other"], { a: "x", b: "x", c: "x", d: "other" }), [sha("other")]);
  t.same(asked.splice(0), ["a", "b", "c"]);
});

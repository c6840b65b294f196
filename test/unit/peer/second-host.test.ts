import { createHash } from "node:crypto";
import t from "tap";
import type { KeeperParts } from "../../../nodes/peer/core/images/keeper.ts";
import { keepCopies, needsOf } from "../../../nodes/peer/core/images/keeper.ts";
import { createSecondHost } from "../../../nodes/peer/core/images/second-host.ts";
import { CcError, ok, type PeerId, silentLogger } from "../../../src/base/index.ts";
import type { BlobSource, Digest, ImageLibrary } from "../../../src/images/index.ts";
import { peerId } from "../identity/fixtures.ts";
import { FakeNeighbours } from "./fake-neighbours.ts";

const sha = (text: string): Digest => `sha256:${createHash("sha256").update(text).digest("hex")}` as Digest;
const part = (text: string, mediaType: string) => ({ mediaType, digest: sha(text), size: text.length });
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  config: part("config", "application/vnd.oci.image.config.v1+json"),
  layers: [part("layer", "application/vnd.oci.image.layer.v1.tar")],
});
const TEXTS = new Map([MANIFEST, "config", "layer"].map((text) => [sha(text), text]));
const ROOT = sha(MANIFEST);
const IMAGE = `mesh/web@${ROOT}`;
const [TWO, THREE] = [peerId("peer 2"), peerId("peer 3")];

/** A host whose library is a map, and neighbours that say what the test wants. */
function host(options: { readonly here?: readonly Digest[]; readonly named?: boolean; readonly quota?: number } = {}) {
  const here = new Map<Digest, string>((options.here ?? []).map((digest) => [digest, TEXTS.get(digest) ?? ""]));
  const neighbours = new FakeNeighbours();
  const held: string[] = [];
  const calls: [PeerId, string, { readonly image?: string; readonly fetch?: boolean }][] = [];
  const answers = new Map<string, (peer: PeerId) => object>([
    ["haveBlobs", () => ({ digests: [], images: [] })],
    ["holdImage", () => ({ whole: true })],
  ]);
  const signed: string[] = [];
  let nowMs = 0;
  const library: Partial<ImageLibrary> = {
    blobs: {
      have: async (digests) => new Map(digests.flatMap((digest) => (here.has(digest) ? [[digest, here.get(digest)?.length ?? 0] as const] : []))),
      text: async (digest) => here.get(digest),
      read: () => {
        throw new CcError("NOT_FOUND", "not read");
      },
      receive: async ({ digest }, chunks) => {
        let text = "";
        for await (const chunk of chunks) text += Buffer.from(chunk).toString();
        here.set(digest, text);
      },
    },
    limits: { uploadBytesMax: options.quota ?? 1_000_000, uploadBlobsMax: 100, unusedMsMax: 1, bytesMax: 1 },
    unreferenced: async () => ({ bytes: 0, blobs: 0 }),
    touch: async () => undefined,
    isWhole: async () => [...TEXTS.keys()].every((digest) => here.has(digest)),
    hold: async (reference) => {
      held.push(reference);
      return ok(undefined);
    },
  };
  const source: BlobSource = {
    offers: async (digests) => new Map(digests.map((digest) => [digest, [TWO]])),
    async *read(_from, digest) {
      yield Buffer.from(TEXTS.get(digest) ?? "");
    },
  };
  const parts = {
    mesh: {
      ...neighbours.mesh,
      call: async (peer: PeerId, call: string, request: object) => {
        calls.push([peer, call, request]);
        return answers.get(call)?.(peer) as never;
      },
    },
    library: library as ImageLibrary,
    source,
    log: silentLogger,
    reachable: () => [TWO, THREE],
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs, after: () => () => undefined },
    authenticator: {
      fromUser: () => Promise.reject(new Error("no user here")),
      passedOn: async (call: string, request: { readonly body: Uint8Array }, via: PeerId, step: string, id: string) => {
        signed.push(`${call} ${via === TWO} ${step} ${id === ROOT}`);
        return { signed: request } as never;
      },
    },
    named: () => new Set(options.named === true ? [ROOT] : []),
  };
  const second = createSecondHost(parts as never);
  const hold = async (request: object, from = TWO) => neighbours.handlers.get("holdImage")?.(request as never, from, new AbortController().signal);
  const push = (image: string) => ({ body: Buffer.from(JSON.stringify({ to: { call: "Push" }, image })), signatureInput: "", signature: "" });
  const later = (ms: number): void => {
    nowMs += ms;
  };
  return { parts, second, hold, push, here, held, calls, answers, signed, later };
}

t.test("a host holds an image on a user's signed push, for as long as an upload may take, and on nobody's bare word", async (t) => {
  const { hold, push, held, signed, later, here } = host();
  await t.rejects(hold({ image: IMAGE, fetch: true }), { code: "FORBIDDEN" });
  await t.rejects(hold({ image: IMAGE, fetch: true, request: push("mesh/other@sha256:00") }), { code: "UNAUTHENTICATED" });
  await t.rejects(hold({ image: "docker.io/library/alpine:1", fetch: true }), { code: "BAD_IMAGE_REFERENCE" });
  t.same(await hold({ image: IMAGE, fetch: false, request: push(IMAGE) }), { whole: false });
  t.same(signed.at(-1), "Push true hold true", "the signature was checked for this act");
  await t.rejects(hold({ image: IMAGE, fetch: true }, THREE), { code: "FORBIDDEN" }, "what was promised to one host is promised to it alone");
  later(3 * 3_600_000);
  t.same(await hold({ image: IMAGE, fetch: true }), { whole: true });
  t.same([held, here.size], [[IMAGE], 3]);
  later(4 * 3_600_000);
  await t.rejects(hold({ image: IMAGE, fetch: true }), { code: "FORBIDDEN" });
});

t.test("a container in its own records is reason enough; what does not fit its quota is refused before it travels", async (t) => {
  const named = host({ named: true });
  t.same(await named.hold({ image: IMAGE, fetch: true }), { whole: true });
  const small = host({ named: true, quota: 8 });
  await t.rejects(small.hold({ image: IMAGE, fetch: true }), { code: "NO_ROOM" });
  t.same([...small.here.keys()], [ROOT], "only the manifest, which says how much it is");
});

t.test("the next host is asked when one cannot; those that have it come first", async (t) => {
  const { second, calls, answers, push } = host();
  const [first = TWO, other = THREE] = second.order(ROOT);
  answers.set("haveBlobs", (peer) => ({ digests: [], images: peer === other ? [ROOT] : [] }));
  t.same(await second.promised(IMAGE, push(IMAGE) as never), [other, first]);
  answers.set("holdImage", (peer) => {
    if (peer === other) throw new CcError("NO_ROOM", "full");
    return { whole: true };
  });
  t.equal(await second.copyTo([other, first], IMAGE, new AbortController().signal), first);
  t.match(calls.at(-1), [first, "holdImage", { image: IMAGE, fetch: true }]);
  answers.set("holdImage", () => {
    throw new CcError("PEER_UNREACHABLE", "gone");
  });
  t.equal(await second.copyTo([other, first], IMAGE, new AbortController().signal), undefined);
});

/** What the keeper needs besides, with one live container of the image. */
function keeperOf(made: ReturnType<typeof host>, image = IMAGE, runsHere = false): KeeperParts {
  const container = { gone: false, removed: false, spec: { image } };
  const desired = { all: () => (runsHere ? [{ image: { reference: image }, spec: { id: "c1" } }] : []), isOver: () => false };
  return { ...made.parts, second: made.second, view: { containers: () => [container] }, desired, runtime: { list: async () => [] } } as never;
}
const look = (parts: KeeperParts) => keepCopies(parts, new AbortController().signal);

t.test("when only this host has a container's image, another gets a copy; applied again, nothing happens", async (t) => {
  const made = host({ here: [...TEXTS.keys()] });
  const copies = () => made.calls.filter(([, call]) => call === "holdImage");
  await look(keeperOf(made));
  t.match(copies(), [[made.second.order(ROOT)[0], "holdImage", { image: IMAGE, fetch: true }]]);
  made.answers.set("haveBlobs", (peer) => ({ digests: [], images: peer === THREE ? [ROOT] : [] }));
  await look(keeperOf(made));
  t.equal(copies().length, 1, "two hosts have it");
  await look(keeperOf(made, "docker.io/library/alpine:1"));
  t.equal(copies().length, 1, "a registry's image is its registry's business");
});

t.test("what runs here and was lost is brought back; what runs elsewhere and is not here is no concern", async (t) => {
  const made = host();
  await look(keeperOf(made));
  t.same([made.here.size, made.calls.length], [0, 0]);
  await look(keeperOf(made, IMAGE, true));
  t.equal(made.here.size, 3);
});

t.test("needs: this host's containers by reference and digest, everybody's uploads, and whether something unknown lies here", async (t) => {
  const made = host();
  const parts = keeperOf(made, IMAGE, true);
  t.same(await needsOf(parts), { references: new Set([IMAGE]), digests: new Set([ROOT]), uploads: new Set([ROOT]), unknown: false });
  t.match(await needsOf({ ...parts, runtime: { list: async () => ["c1", "c2"] as never } }), { unknown: true });
});

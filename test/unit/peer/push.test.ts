import t from "tap";
import { pushHandlers } from "../../../nodes/peer/core/handlers/push.ts";
import { type PeerId, silentLogger } from "../../../src/base/index.ts";
import type { Digest } from "../../../src/images/index.ts";
import { peerId } from "../identity/fixtures.ts";

const [A, B, C] = ["a", "b", "c"].map((letter) => `sha256:${letter.repeat(64)}`) as [Digest, Digest, Digest];
const TWO = peerId("peer 2");

/** A peer that has A, beside one that has B; 60 of 100 bytes of uploads are taken. */
function handlers() {
  const touched: Digest[] = [];
  const asked: string[] = [];
  const parts = {
    library: {
      blobs: { have: async (digests: readonly Digest[]) => new Map(digests.filter((digest) => digest === A).map((digest) => [digest, 10])) },
      limits: { uploadBytesMax: 100, uploadBlobsMax: 10, unusedMsMax: 1, bytesMax: 1 },
      unreferenced: async () => ({ bytes: 60, blobs: 3 }),
      touch: async (digests: readonly Digest[]) => void touched.push(...digests),
    },
    mesh: {
      call: async (_peer: PeerId, _call: string, request: { readonly digests: readonly string[] }) => {
        asked.push(...request.digests);
        return { digests: request.digests.filter((digest) => digest === B), images: [] };
      },
    },
    reachable: () => [TWO],
    clock: { nowMs: () => 0, monotonicMs: () => 0, after: () => () => undefined },
    log: silentLogger,
  };
  const { missingBlobs } = pushHandlers(parts as never);
  const ask = (...blobs: readonly (readonly [string, number])[]) =>
    missingBlobs({ blobs: blobs.map(([digest, sizeBytes]) => ({ digest, sizeBytes })) } as never, {} as never);
  return { ask, touched, asked };
}

t.test("missing is what no host has; what is here is counted on from now", async (t) => {
  const { ask, touched, asked } = handlers();
  t.same(await ask([A, 10], [B, 10], [C, 10], [C, 10]), { missing: [C] });
  t.same([touched, asked], [[A], [B, C]], "only what is not here is asked around");
  t.same(await ask([A, 1_000]), { missing: [] }, "what is here takes no room");
});

t.test("what does not fit is refused before a byte travels, and so is what is no list of blobs", async (t) => {
  const { ask, asked } = handlers();
  await t.rejects(ask([B, 20], [C, 21]), { code: "NO_ROOM", message: /images that no container uses yet/ });
  t.same(asked, [], "nobody else was asked");
  for (const [digest, size] of [
    ["sha256:x", 1],
    [C, -1],
    [C, 0.5],
    [C, Number.NaN],
    [C, 2 ** 60],
  ] as const)
    await t.rejects(ask([digest, size]), { code: "BAD_REQUEST" }, `${digest.slice(0, 9)} ${size}`);
  await t.rejects(ask(...Array.from({ length: 1_025 }, () => [C, 1] as const)), { code: "TOO_LARGE" });
});

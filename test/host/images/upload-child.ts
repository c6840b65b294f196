/** Takes blobs into a store, one after another, until it is killed. */
import { randomBytes } from "node:crypto";
import { systemClock, systemRandom } from "../../../src/host/index.ts";
import { BlobShelf } from "../../../src/images/drivers/blob-shelf.ts";
import type { Digest } from "../../../src/images/index.ts";
import { sha256 } from "./oci-layout.ts";

const shelf = new BlobShelf({
  dataDir: process.argv[2] ?? "",
  clock: systemClock,
  random: systemRandom,
  freeBytes: async () => Number.POSITIVE_INFINITY,
  freeBytesMin: 0,
});
process.stdout.write("begun\n");
for (;;) {
  const bytes = randomBytes(1_000_000);
  const pieces = Array.from({ length: 10 }, (_, at) => bytes.subarray(at * 100_000, (at + 1) * 100_000));
  await shelf.receive(
    { digest: sha256(bytes) as Digest, sizeBytes: bytes.length },
    (async function* () {
      yield* pieces;
    })(),
    { signal: new AbortController().signal },
  );
}

import fc from "fast-check";
import t from "tap";
import {
  isWorthTrimming,
  mayAttach,
  mayCreate,
  nextForFileSystem,
  type StoreRoom,
  SUPERBLOCK,
  VOLUME_SIZE,
  volumeSize,
  volumeStanding,
} from "../../../src/volumes/index.ts";

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const TIB = 1024 ** 4;

t.test("sizes: whole blocks, never less than asked, within the limits", async (t) => {
  t.same(volumeSize(GIB), { ok: true, value: GIB });
  t.same(volumeSize(16 * MIB + 1), { ok: true, value: 16 * MIB + 4096 });
  t.same(volumeSize(16 * TIB), { ok: true, value: 16 * TIB - 4096 }, "the largest file that ext4 holds");
  for (const bytes of [0, -1, 16 * MIB - 1, 16 * TIB + 1, 1.5 * GIB + 0.5, Number.NaN, Number.POSITIVE_INFINITY])
    t.match(volumeSize(bytes), { ok: false, code: "BAD_SIZE", message: /from 16777216 \(16 MiB\) to 16 TiB/ });
  fc.assert(
    fc.property(fc.integer({ min: VOLUME_SIZE.minBytes, max: VOLUME_SIZE.maxBytes - VOLUME_SIZE.stepBytes }), (bytes) => {
      const size = volumeSize(bytes);
      if (!size.ok || size.value < bytes || size.value - bytes >= 4096 || size.value % 4096 !== 0) return false;
      const again = volumeSize(size.value);
      return again.ok && again.value === size.value;
    }),
  );
});

t.test("trimmed only when it gives back more than a file system keeps for itself", async (t) => {
  const usage = (sizeBytes: number, allocatedBytes: number, usedBytes: number | undefined) => isWorthTrimming({ sizeBytes, allocatedBytes, usedBytes });
  t.equal(usage(GIB, 500 * MIB, 400 * MIB), true);
  t.equal(usage(GIB, 460 * MIB, 400 * MIB), false, "the journal of 1 GiB");
  t.equal(usage(GIB, GIB, undefined), false, "not attached");
  t.equal(usage(TIB, 1200 * MIB, 0), false, "the journal of 1 TiB");
  t.equal(usage(TIB, 10 * GIB, 8 * GIB), true);
});

const disk = (freeBytes: number, totalBytes = 100 * GIB): StoreRoom => ({ freeBytes, totalBytes });

t.test("the disk holds what was promised, or not all of it, or nothing more", async (t) => {
  const volumes = [
    { sizeBytes: 10 * GIB, allocatedBytes: 4 * GIB },
    { sizeBytes: 5 * GIB, allocatedBytes: 6 * GIB },
  ];
  t.match(volumeStanding(disk(8 * GIB), volumes), { kind: "ok", promisedBytes: 6 * GIB, reserveBytes: 2 * GIB });
  t.match(volumeStanding(disk(8 * GIB - 1), volumes), { kind: "short" });
  t.match(volumeStanding(disk(2 * GIB - 1), []), { kind: "short" }, "the reserve itself counts");
  t.match(volumeStanding(disk(0.5 * GIB), []), { kind: "short" });
  t.match(volumeStanding(disk(0.5 * GIB - 1), []), { kind: "full" });
  t.match(volumeStanding(disk(100 * MIB, 128 * MIB), []), { kind: "ok", reserveBytes: 32 * MIB }, "a small disk");
  t.match(volumeStanding(disk(7 * MIB, 128 * MIB), []), { kind: "full" });
});

t.test("what may be made and attached, with the numbers", async (t) => {
  const standing = volumeStanding(disk(8 * GIB), [{ sizeBytes: 3 * GIB, allocatedBytes: GIB }]);
  t.match(mayCreate(standing, 4 * GIB), { ok: true });
  t.match(mayCreate(standing, 4 * GIB + 4096), {
    ok: false,
    code: "NO_ROOM",
    message:
      "a volume of 4 GiB does not fit: 8 GiB of 100 GiB are free, 2 GiB of them promised to volumes, 2 GiB kept in reserve; free space on the host's disk, or declare less of it",
  });
  const short = volumeStanding(disk(1 * GIB), []);
  t.match(mayCreate(short, 16 * MIB), { ok: false, code: "NO_ROOM" });
  t.match(mayAttach(short), { ok: true }, "what is there is used on");
  t.match(mayAttach(volumeStanding(disk(100 * MIB), [])), {
    ok: false,
    code: "NO_ROOM",
    message: /^the disk below the host's volumes is full: 100 MiB of 100 GiB are free/,
  });
});

t.test("what a file system says about itself", async (t) => {
  const superblock = (state: number, incompat: number, magic = 0xef53): Uint8Array => {
    const bytes = Buffer.alloc(SUPERBLOCK.bytes);
    bytes.writeUInt16LE(magic, 0x38);
    bytes.writeUInt16LE(state, 0x3a);
    bytes.writeUInt32LE(incompat, 0x60);
    return bytes;
  };
  t.equal(nextForFileSystem(superblock(1, 0x2c2)), "mount", "left clean");
  t.equal(nextForFileSystem(superblock(1, 0x2c6)), "mount", "cut off with a journal");
  t.equal(nextForFileSystem(superblock(0, 0x2c6)), "mount", "cut off with a journal, marked as in use");
  t.equal(nextForFileSystem(superblock(0, 0x2c2)), "check", "cut off without");
  t.equal(nextForFileSystem(superblock(3, 0x2c6)), "check", "the kernel found errors");
  t.equal(nextForFileSystem(superblock(1, 0x2c2, 0)), "check", "no ext4");
  t.equal(nextForFileSystem(new Uint8Array(1024)), "check");
  t.equal(nextForFileSystem(new Uint8Array(0)), "check", "a file that is cut off");
});

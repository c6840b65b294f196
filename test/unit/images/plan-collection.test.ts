import fc from "fast-check";
import t from "tap";
import { type Collectable, planCollection } from "../../../src/images/plan-collection.ts";
import type { Digest } from "../../../src/images/reference.ts";
import { admitUpload } from "../../../src/images/upload-quota.ts";

const DAY = 24 * 3_600_000;
const NOW = 100 * DAY;
const LIMITS = { unusedMsMax: 7 * DAY, bytesMax: 100 };

function image(name: string, ageMs: number, parts: Readonly<Record<string, number>>, needed = false): Collectable {
  return { digest: name as Digest, lastUsedMs: NOW - ageMs, needed, parts: new Map(Object.entries(parts)) };
}
const plan = (images: readonly Collectable[], limits = LIMITS): readonly string[] => planCollection(images, NOW, limits);

t.test("what nobody used for too long goes, never what a container needs", async (t) => {
  const images = [
    image("old", 8 * DAY, { a: 1 }),
    image("needed", 80 * DAY, { b: 1 }, true),
    image("young", 6 * DAY, { c: 1 }),
    image("ahead", -3 * DAY, { d: 1 }),
  ];
  t.same(plan(images), ["old"]);
});

t.test("above the limit the longest unused go, until the rest fits", async (t) => {
  const images = [
    image("new", DAY, { a: 40 }),
    image("oldest", 3 * DAY, { b: 40 }),
    image("older", 2 * DAY, { c: 40 }),
    image("held", 6 * DAY, { d: 40 }, true),
  ];
  t.same(plan(images), ["oldest", "older"]);
  t.same(plan(images, { ...LIMITS, bytesMax: 160 }), []);
  t.same(plan(images, { ...LIMITS, bytesMax: 1 }), ["oldest", "older", "new"], "and never what is needed, though it does not fit");
});

t.test("a layer of two images frees nothing until both go, and counts once", async (t) => {
  const shared = { base: 90, x: 5 };
  t.same(plan([image("a", 3 * DAY, shared), image("b", 2 * DAY, { ...shared, y: 4 })]), [], "99 of 100");
  t.same(plan([image("a", 3 * DAY, shared), image("b", 2 * DAY, { base: 90, y: 9 }), image("c", DAY, { z: 1 })]), ["a"], "its own part is enough");
  t.same(plan([image("a", 3 * DAY, shared), image("b", 2 * DAY, { base: 90, y: 9 }), image("c", DAY, { z: 10 })]), ["a", "b"]);
});

t.test("what was used a moment ago is spared", async (t) => {
  t.same(plan([image("now", 60_000, { a: 500 })]), []);
  t.same(plan([image("now", 601_000, { a: 500 })]), ["now"]);
});

t.test("any images: needed ones stay, twice is once, and what stays fits or could not go", async () => {
  const part = fc.constantFrom("a", "b", "c", "d", "e");
  const one = fc.record({ age: fc.integer({ min: -DAY, max: 20 * DAY }), needed: fc.boolean(), parts: fc.uniqueArray(part, { maxLength: 4 }) });
  const bytes: Readonly<Record<string, number>> = { a: 10, b: 20, c: 40, d: 80, e: 160 };
  fc.assert(
    fc.property(fc.array(one, { maxLength: 8 }), fc.integer({ min: 0, max: 400 }), (ones, bytesMax) => {
      const images = ones.map(({ age, needed, parts }, at) => image(`i${at}`, age, Object.fromEntries(parts.map((name) => [name, bytes[name] ?? 0])), needed));
      const limits = { ...LIMITS, bytesMax };
      const gone = new Set<string>(plan(images, limits));
      const left = images.filter(({ digest }) => !gone.has(digest));
      const size = [...new Set(left.flatMap(({ parts }) => [...parts.keys()]))].reduce((sum, name) => sum + (bytes[name] ?? 0), 0);
      const couldGo = left.some(({ needed, lastUsedMs }) => !needed && NOW - lastUsedMs > 600_000);
      return images.every(({ digest, needed }) => !needed || !gone.has(digest)) && plan(left, limits).length === 0 && (size <= bytesMax || !couldGo);
    }),
  );
});

t.test("uploads that nobody uses are bounded in bytes and number", async (t) => {
  const limits = { uploadBytesMax: 100, uploadBlobsMax: 5 };
  t.ok(admitUpload({ bytes: 40, blobs: 2 }, { bytes: 60, blobs: 3 }, limits).ok);
  t.match(admitUpload({ bytes: 41, blobs: 2 }, { bytes: 60, blobs: 1 }, limits), { code: "NO_ROOM", message: /cc image rm/ });
  t.match(admitUpload({ bytes: 0, blobs: 3 }, { bytes: 1, blobs: 3 }, limits), { code: "NO_ROOM", message: /3 are taken/ });
});

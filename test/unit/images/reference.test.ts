import fc from "fast-check";
import t from "tap";
import { formatImageReference, parseImageReference, registryName } from "../../../src/images/reference.ts";

const HEX = "0123456789abcdef".repeat(4);

t.test("references are completed as Docker does", async (t) => {
  const cases: Record<string, string> = {
    alpine: "docker.io/library/alpine:latest",
    "alpine:3.20": "docker.io/library/alpine:3.20",
    "owner/name": "docker.io/owner/name:latest",
    "docker.io/alpine": "docker.io/library/alpine:latest",
    "index.docker.io/alpine": "docker.io/library/alpine:latest",
    "ghcr.io/x/y:tag": "ghcr.io/x/y:tag",
    "localhost/x": "localhost/x:latest",
    "host:5000/x": "host:5000/x:latest",
    "[::1]:5000/x:1": "[::1]:5000/x:1",
    [`host:5000/x/y@sha256:${HEX}`]: `host:5000/x/y@sha256:${HEX}`,
    [`alpine:3@sha256:${HEX}`]: `docker.io/library/alpine:3@sha256:${HEX}`,
    "a/b/c__d/e-f.g:Tag_1.2-3": "docker.io/a/b/c__d/e-f.g:Tag_1.2-3",
  };
  for (const [text, complete] of Object.entries(cases)) {
    const parsed = parseImageReference(text);
    t.equal(parsed.ok && formatImageReference(parsed.value), complete, text);
  }
  const both = parseImageReference(`alpine:3@sha256:${HEX}`);
  t.equal(both.ok && registryName(both.value), `docker.io/library/alpine@sha256:${HEX}`, "a registry is asked by digest, not by both");
});

t.test("refusals say what to do", async (t) => {
  const cases: Record<string, RegExp> = {
    "": /give an image, for example alpine/,
    Alpine: /names of images are in lower case/,
    "a b": /no spaces/,
    "docker://alpine": /leave out docker:\/\//,
    "https://ghcr.io/x": /leave out https:\/\//,
    "a//b": /a part of its name is empty/,
    "a/": /a part of its name is empty/,
    "a:": /a tag is 1 to 128 letters/,
    "a:.x": /a tag is 1 to 128 letters/,
    "a@sha256:abc": /64 hexadecimal digits/,
    "a@sha512:abc": /64 hexadecimal digits/,
    "-a": /may only have lower-case letters/,
    "a_-b": /may only have/,
    "host:99999/x": /99999 is not a port/,
    "-x.y/z": /is not the name of a registry/,
    "oci-archive:x": /push the image to a registry/,
    "mesh/web:1@sha256:abc": /64 hexadecimal digits/,
    ["a".repeat(600)]: /at most 512 characters/,
    ["a".repeat(300)]: /more than 255 characters/,
  };
  for (const [text, message] of Object.entries(cases))
    t.match(parseImageReference(text), { ok: false, code: "BAD_IMAGE_REFERENCE", message }, text.slice(0, 40));
  for (const text of ["oci:/tmp/layout:1", "docker-archive:/tmp/x.tar", "dir:/tmp/x", "docker-daemon:x"])
    t.match(parseImageReference(text), { ok: false, code: "BAD_IMAGE_REFERENCE", message: /which no host reads; cc image push brings it/ }, text);
});

t.test("whatever is typed is parsed or refused in one line, and what is parsed stays the same when written out", async (t) => {
  const odd = fc
    .array(fc.constantFrom("a", "B", "/", ":", "@", ".", "-", "_", "sha256", HEX, "host", "5000", "\n", "\u0000", "é", "[", "]", " "), { maxLength: 24 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(odd, fc.string({ maxLength: 600, unit: "binary" })), (text) => {
      const parsed = parseImageReference(text);
      if (!parsed.ok) return /^[\x20-\x7e]+$/.test(parsed.message);
      const again = parseImageReference(formatImageReference(parsed.value));
      return again.ok && formatImageReference(again.value) === formatImageReference(parsed.value) && !registryName(parsed.value).startsWith("-");
    }),
    { numRuns: 400 },
  );
  t.pass("no input broke it");
});

import fc from "fast-check";
import t from "tap";
import { planWhiteouts } from "../../../src/images/whiteouts.ts";

const list = (...paths: string[]): Buffer => Buffer.from(paths.map((path) => `${path}\0`).join(""), "latin1");
const plan = (...paths: string[]): string[] =>
  planWhiteouts(list(...paths)).map((step) => `${step.step} ${step.step === "hide" ? step.hides : step.step === "opaque" ? step.folder : step.marker}`);

t.test("markers become steps", async (t) => {
  t.same(plan(".wh.a", "d/.wh.b", "d/.wh..wh..opq", ".wh..wh..opq", ".wh..wh.aufs", ".wh.", "d/.wh...", "d/.wh..", ".wh..hidden"), [
    "hide a",
    "hide d/b",
    "opaque d",
    "opaque .",
    "drop .wh..wh.aufs",
    "drop .wh.",
    "drop d/.wh...",
    "drop d/.wh..",
    "hide .hidden",
  ]);
  t.same(plan("a/b", "wh.a", "a/.wh"), [], "what is no marker is left alone");
  const bytes = planWhiteouts(Buffer.from([0x2e, 0x77, 0x68, 0x2e, 0xff, 0xfe, 0]));
  t.same(bytes[0]?.step === "hide" && [...bytes[0].hides], [0xff, 0xfe], "names are bytes");
});

t.test("no list leads out of the layer by a name of its own", async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      fc.array(fc.constantFrom(".wh.", ".", "..", "a", ".wh..wh..opq", "/", "\0"), { maxLength: 20 }),
      (noise, parts) => {
        for (const step of [...planWhiteouts(noise), ...planWhiteouts(Buffer.from(parts.join("")))]) {
          if (step.step !== "hide") continue;
          const name = step.hides.subarray(step.hides.lastIndexOf(0x2f) + 1).toString("latin1");
          if (name === "" || name === "." || name === "..") return false;
        }
        return true;
      },
    ),
    { numRuns: 2_000 },
  );
  t.pass("hidden names are names");
});

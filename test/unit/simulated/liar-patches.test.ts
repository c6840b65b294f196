import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { patched } from "../../../nodes/simulated/mutations/mutation.ts";
import { PATCHES } from "../../long/liar-patches.ts";

t.test("the liar of test:long knows the peer's source as it is", (t) => {
  for (const { file } of PATCHES) {
    const source = readFileSync(join(import.meta.dirname, "../../..", file), "utf8");
    t.not(patched(source, file, PATCHES), source, file);
  }
  t.end();
});

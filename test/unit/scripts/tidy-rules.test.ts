import t from "tap";
import { tidyProblems, withoutComments } from "../../../scripts/checks/tidy-rules.ts";

const found = (path: string, text: string): string[] => tidyProblems(path, text).map((problem) => `${problem.line ?? ""}:${problem.what}`);
const header = `/** ${"how it works and what was rejected ".repeat(8)}*/\n`;

t.test("a tidy file has no problem", async (t) => {
  t.same(found("src/state/merge.ts", "export const a = 1; // Date.now() would be wrong here\n/* nor setTimeout */\n"), []);
  t.same(found("src/state/index.ts", `${header}export * from "./merge.ts";\n`), []);
  t.same(found("src/host/clock.ts", "Date.now();\n"), [], "the real clock reads the time");
  t.same(found("src/state/drivers/level-store.ts", "setTimeout(f, 1);\n"), []);
  t.same(found("src/api/gen/x_pb.ts", "x\n".repeat(900)), [], "generated code is not measured");
});

t.test("each rule finds what it is for", async (t) => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["src/state/merge.ts", "x\n".repeat(321), /321 lines/],
    ["src/state/merge.ts", "const a = Date.now();\n", /^1:time and chance/],
    ["src/state/merge.ts", "\nconst a = Math.random();\n", /^2:time and chance/],
    ["src/state/merge.ts", "const a = new Date();\n", /time and chance/],
    ["src/state/merge.ts", `// ${"TO"}${"DO"}: later\n`, /left-over mark/],
    ["src/state/merge.ts", `const a = b as unknown ${"as"} C;\n`, /silenced/],
    ["src/state/Merge.ts", "", /kebab-case/],
    ["src/state/read_key.ts", "", /kebab-case/],
    ["src/state/utils.ts", "", /says nothing/],
    ["nodes/peer/peer-manager.ts", "", /says nothing/],
    ["src/state/index.ts", "export {};\n", /an index opens with/],
    ["src/state/index.ts", '/** Short. */\nexport * from "./merge.ts";\n', /an index opens with/],
    ["README.md", `see /${"work"}/main/x\n`, /path of one machine/],
    ["package-lock.json", `"resolved": "${"https"}://r/x"\n`, /package registry/],
    [".npmrc", `${"registry"}=x\n`, /package registry/],
  ];
  for (const [path, text, reason] of cases) {
    const problems = found(path, text);
    t.equal(problems.length, 1, `${path}: ${reason}`);
    t.match(problems[0] ?? "", reason);
  }
  t.equal(found("src/placement/new-date.ts", "new Date(ms);\n").length, 0, "a date of a given time is no clock");
});

t.test("comments are blanked and lines kept", async (t) => {
  t.equal(withoutComments("a // b\n/* c\nd */ e\n").split("\n").length, 4);
  t.notMatch(withoutComments("a // b\n/* c\nd */ e\n"), /[bcd]/);
});

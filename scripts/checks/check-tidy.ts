/** File length, left-over marks, headers, time and chance, names, machine paths, and that generated code is up to date. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { conclude, sourceFiles, TOP } from "./source-files.ts";
import { tidyProblems } from "./tidy-rules.ts";

const problems: string[] = [];
for (const { path, text } of sourceFiles(".")) {
  for (const problem of tidyProblems(path, text)) problems.push(`${path}${problem.line === undefined ? "" : `:${problem.line}`}: ${problem.what}`);
}

/** Generates the contract's code anew beside the tree, and compares. */
function generatedProblems(): string[] {
  const folder = mkdtempSync(join(tmpdir(), "cc-generated-"));
  try {
    execFileSync("buf", ["generate", "--output", folder], { cwd: TOP, stdio: "pipe" });
    const stale: string[] = [];
    for (const { path, text } of sourceFiles("src/api/gen")) {
      let fresh: string | undefined;
      try {
        fresh = readFileSync(join(folder, path), "utf8");
      } catch {
        // Nothing of the contract makes this file any more: stale like one that differs.
      }
      if (fresh !== text) stale.push(`${path}: is not what the contract generates; run npm run generate`);
    }
    return stale;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

problems.push(...generatedProblems());
conclude("untidy places", problems);

/** Who may import whom (DESIGN, "Shape of the code"): prints each import that breaks a rule. */
import { posix } from "node:path";
import { importProblem } from "./import-rules.ts";
import { readImports } from "./read-imports.ts";
import { conclude, sourceFiles } from "./source-files.ts";

const problems: string[] = [];
for (const { path, text } of sourceFiles("src", "nodes", "cli", "test", "scripts")) {
  if (!path.endsWith(".ts") || path.endsWith(".d.ts") || path.startsWith("src/api/gen/")) continue;
  for (const imported of readImports(path, text)) {
    const target = imported.specifier.startsWith(".") ? posix.join(posix.dirname(path), imported.specifier) : undefined;
    const problem = importProblem(path, imported, target);
    if (problem !== undefined) problems.push(`${path}:${imported.line}: "${imported.specifier}": ${problem}`);
  }
}
conclude("imports that break a rule", problems);

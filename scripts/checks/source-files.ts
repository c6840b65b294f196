import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

export const TOP = join(import.meta.dirname, "../..");
/** Larger files are data, not text that people read. */
const TEXT_BYTES_MAX = 1024 * 1024;

export type SourceFile = { readonly path: string; readonly text: string };

/** Text files of the checkout that are or could be committed, by path from its top, slashes between. */
export function sourceFiles(...folders: readonly string[]): SourceFile[] {
  const listing = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ...folders], {
    cwd: TOP,
    encoding: "utf8",
    maxBuffer: 64 * TEXT_BYTES_MAX,
  });
  const files: SourceFile[] = [];
  for (const path of new Set(listing.split("\0"))) {
    const status = path === "" ? undefined : statSync(join(TOP, path), { throwIfNoEntry: false });
    if (status?.isFile() !== true || status.size > TEXT_BYTES_MAX) continue;
    const text = readFileSync(join(TOP, path), "utf8");
    if (!text.includes("\0")) files.push({ path, text });
  }
  return files;
}

/** Prints what was found and sets the exit code. */
export function conclude(check: string, problems: readonly string[]): void {
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) {
    console.error(`${check}: ${problems.length} found`);
    process.exitCode = 1;
  }
}

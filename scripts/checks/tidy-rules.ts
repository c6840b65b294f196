/** Rules of tidiness that biome does not know; each gives the problems of one file, with the line where there is one. */
export type Problem = { readonly line?: number; readonly what: string };

const LINES_MAX = 320;
const isCode = (path: string): boolean => path.endsWith(".ts") && !path.startsWith("src/api/gen/");

/** Kept in pieces, so that this file passes its own check. */
const MARKS = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`);
const MACHINE_PATHS = /(^|[^A-Za-z0-9_.])\/(work|farm|root|home\/[a-z]+)\/[a-z]/;
const REGISTRY_ADDRESS = /"resolved": *"https?:|^registry *=/m;
const TIME_AND_CHANCE =
  /\b(Date\.now|Math\.random|performance\.now|setTimeout|setInterval|setImmediate|randomBytes|randomUUID|randomInt|process\.hrtime)\b|\bnew Date\(\)/;
const SILENCED = /@ts-(ignore|nocheck|expect-error)\b|\bas unknown as\b/;
const BAD_NAMES = /(^|\/)(utils?|managers?|misc)(\.ts$|\/|-)|-(utils?|manager)(\.ts$|\/)/;

function linesThat(text: string, matches: RegExp, what: string): Problem[] {
  return text.split("\n").flatMap((line, index) => (matches.test(line) ? [{ line: index + 1, what }] : []));
}

/** A file's own rules; `text` is what it holds. */
export function tidyProblems(path: string, text: string): Problem[] {
  const problems: Problem[] = [];
  if (isCode(path)) {
    const lines = text.trimEnd().split("\n").length;
    if (lines > LINES_MAX) problems.push({ what: `${lines} lines; above ${LINES_MAX} a newcomer loses the way: split it` });
    if (!/^([a-z0-9.-]+\/)*[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(path)) problems.push({ what: "names of files are kebab-case" });
    if (BAD_NAMES.test(path)) problems.push({ what: "the name says nothing: name what it holds" });
    problems.push(...linesThat(text, MARKS, "a left-over mark: do it, or file it"));
    problems.push(...linesThat(text, SILENCED, "the compiler is silenced here"));
  }
  if (/^src\/[^/]+\/index\.ts$/.test(path) && !/^\/\*\*[\s\S]{200,}?\*\//.test(text)) {
    problems.push({ line: 1, what: "an index opens with how the domain works and what was rejected" });
  }
  if (isCode(path) && path.startsWith("src/") && !path.startsWith("src/host/") && !path.includes("/drivers/")) {
    problems.push(...linesThat(withoutComments(text), TIME_AND_CHANCE, "time and chance are arguments here (Clock, Random)"));
  }
  problems.push(...linesThat(text, MACHINE_PATHS, "a path of one machine"));
  if (/(^|\/)(package-lock\.json|\.npmrc)$/.test(path) && REGISTRY_ADDRESS.test(text)) problems.push({ what: "the address of a package registry" });
  return problems;
}

/** Blanks comments, and keeps the lines. Good enough for words in prose; a string that holds `//` loses its end. */
export function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, (comment) => comment.replaceAll(/[^\n]/g, " ")).replaceAll(/(^|\s)\/\/.*$/gm, "$1");
}

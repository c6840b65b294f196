import { readFile } from "node:fs/promises";
import { sep } from "node:path";
import type { Plugin } from "esbuild";

/** Modules with effects that others rely on: they stay where they are. */
const EAGER = /\/(?:cache|settings)$/;
const REQUIRE = /^const (\w+) = (?:__importDefault\(|__importStar\()?require\("([^"]+)"\)\)?;$/gm;

/**
 * oclif requires all of itself when it is loaded, 170 files; a run of a command needs a dozen. This makes
 * `const x_1 = require("y");` a function that requires at its first use, and every use of x_1 a call of it, in parentheses (`new x_1.Y()`).
 */
export function makeLazy(source: string): string {
  const names: string[] = [];
  const declared = source.replace(REQUIRE, (line: string, name: string, path: string) => {
    if (EAGER.test(path)) return line;
    names.push(name);
    const value = line.slice(line.indexOf("=") + 2, -1);
    return `let ${name}$value; const ${name} = () => ${name}$value ??= ${value};`;
  });
  if (names.length === 0) return source;
  // A use is the name before a dot or, as in \`__importDefault(x_1).default\`, a closing parenthesis; its declaration is neither.
  return declared.replace(new RegExp(`(?<![\\w$.])(${names.join("|")})(?=[.)\\[,;])`, "g"), "($1())");
}

export function lazyRequires(folder: string): Plugin {
  return {
    name: "lazy-requires",
    setup(bundler) {
      bundler.onLoad({ filter: /@oclif\/core\/lib\/.*\.js$/ }, async ({ path }) => {
        if (!path.startsWith(folder + sep)) return undefined;
        return { contents: makeLazy(await readFile(path, "utf8")), loader: "js" };
      });
    },
  };
}

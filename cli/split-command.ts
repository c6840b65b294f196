type FlagShape = { readonly type: "boolean" | "option"; readonly char?: string | undefined };

/**
 * Where the options of `cc run` end: at the first word that is neither an option nor an option's value, or after `--`.
 * Done before oclif sees the words, because its parser would take options of the container's command for its own, and
 * puts repeated words out of order.
 */
export function splitCommand(
  argv: readonly string[],
  flags: { readonly [name: string]: FlagShape },
  wordsBefore: number,
): { readonly options: string[]; readonly command: string[] } {
  const byChar = new Map(Object.values(flags).flatMap((flag) => (flag.char === undefined ? [] : [[flag.char, flag.type] as const])));
  let words = wordsBefore;
  let at = 0;
  while (at < argv.length) {
    const word = argv[at] ?? "";
    if (word === "--") return { options: argv.slice(0, at), command: argv.slice(at + 1) };
    if (!word.startsWith("-") || word === "-") {
      if (words === 0) return { options: argv.slice(0, at), command: argv.slice(at) };
      words -= 1;
      at += 1;
      continue;
    }
    at += takesNext(word, flags, byChar) ? 2 : 1;
  }
  return { options: [...argv], command: [] };
}

/** `--name value` and `-n value` take the next word; `--name=value`, `-nvalue` and flags without a value do not. */
function takesNext(word: string, flags: { readonly [name: string]: FlagShape }, byChar: ReadonlyMap<string, "boolean" | "option">): boolean {
  if (word.startsWith("--")) return Object.hasOwn(flags, word.slice(2)) && flags[word.slice(2)]?.type === "option";
  for (let at = 1; at < word.length; at += 1) {
    const type = byChar.get(word.charAt(at));
    if (type === "option") return at === word.length - 1;
    if (type === undefined) return false;
  }
  return false;
}

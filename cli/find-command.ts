type FlagShape = { readonly type: "boolean" | "option" };

export type Found =
  | { readonly kind: "command"; readonly id: string; readonly argv: string[] }
  /** Shown by oclif: the help of everything, of a topic or of a command. */
  | { readonly kind: "help"; readonly words: string[] }
  | { readonly kind: "version" }
  | { readonly kind: "unknown"; readonly words: string };

/**
 * What the words ask for: `host list --json` is the command `host:list`. Settings may stand before the command's words
 * too (`cc --json ps`). Help is asked for by --help, by `help`, or by a topic without a command.
 */
export function findCommand(
  words: readonly string[],
  commands: { readonly [id: string]: unknown },
  topics: { readonly [name: string]: unknown },
  globals: { readonly [name: string]: FlagShape },
): Found {
  const early: string[] = [];
  let at = 0;
  for (; at < words.length; at += 1) {
    const word = words[at] ?? "";
    if (word === "--version" || word === "-v" || (word === "version" && early.length === 0)) return { kind: "version" };
    if (word === "--help" || word === "-h" || word === "help") {
      const rest = words.slice(at + 1).filter((each) => !each.startsWith("-"));
      return { kind: "help", words: helpWords(rest, commands) };
    }
    if (!word.startsWith("-")) break;
    const name = word.slice(2).split("=")[0] ?? "";
    const flag = Object.hasOwn(globals, name) ? globals[name] : undefined;
    if (flag === undefined || !word.startsWith("--")) return { kind: "unknown", words: word };
    early.push(word);
    if (flag.type === "option" && !word.includes("=") && at + 1 < words.length) {
      at += 1;
      early.push(words[at] ?? "");
    }
  }
  const rest = words.slice(at);
  const [first, second] = rest;
  if (first === undefined) return { kind: "help", words: [] };
  if (second !== undefined && Object.hasOwn(commands, `${first}:${second}`))
    return { kind: "command", id: `${first}:${second}`, argv: [...early, ...rest.slice(2)] };
  if (Object.hasOwn(commands, first)) return { kind: "command", id: first, argv: [...early, ...rest.slice(1)] };
  if (Object.hasOwn(topics, first) && (second === undefined || second === "--help" || second === "-h" || second === "help"))
    return { kind: "help", words: [first] };
  return { kind: "unknown", words: Object.hasOwn(topics, first) && second !== undefined ? `${first} ${second}` : first };
}

/** What `cc help host list` is about: a command's words as one id, or as they stand. */
function helpWords(words: readonly string[], commands: { readonly [id: string]: unknown }): string[] {
  const pair = words.slice(0, 2).join(":");
  return Object.hasOwn(commands, pair) ? [pair] : words.slice(0, 1);
}

/** The command with the nearest spelling, if one is near. */
export function nearest(words: string, ids: readonly string[]): string | undefined {
  const wanted = words.replace(" ", ":");
  let best: { id: string; distance: number } | undefined;
  for (const id of ids) {
    const distance = editDistance(wanted, id);
    if (distance <= 2 && distance < Math.max(2, id.length / 2) && (best === undefined || distance < best.distance)) best = { id, distance };
  }
  return best?.id.replace(":", " ");
}

/** Levenshtein's, of short words. */
function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

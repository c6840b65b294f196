import type { Kind } from "./names.ts";

type FlagShape = {
  readonly type: "boolean" | "option";
  readonly char?: string | undefined;
  readonly options?: readonly string[] | undefined;
  readonly multiple?: boolean | undefined;
  readonly helpGroup?: string | undefined;
};
type ArgShape = { readonly options?: readonly string[] | undefined };
export type CompletedCommand = { readonly flags: { readonly [name: string]: FlagShape }; readonly args?: { readonly [name: string]: ArgShape } };
export type Commands = { readonly [id: string]: CompletedCommand };

/** What may stand where the cursor is: words that are known here, and things that only a peer can name. */
export type Completion = { readonly words: readonly string[]; readonly live: Kind | undefined };

/** What the words behind a command name. Kinds are those of names.ts; what the peer is asked for them stands in live-names.ts. */
const NAMED_BY: { readonly [command: string]: Kind } = {
  exec: "container",
  inspect: "container",
  logs: "container",
  metrics: "container",
  restart: "container",
  rm: "container",
  scale: "container",
  start: "container",
  status: "container",
  stop: "container",
  "host:drain": "host",
  "host:lost": "host",
  "host:remove": "host",
  "host:undrain": "host",
  "key:revoke": "key",
  "firewall:remove": "firewall",
  "vpc:delete": "vpc",
  "vpc:inspect": "vpc",
  "volume:delete": "volume",
  "volume:inspect": "volume",
};
/** The same of flags, whichever command they stand with. */
const NAMED_BY_FLAG: { readonly [flag: string]: Kind } = { "container-id": "container", host: "host" };
/** Words before the command that runs in a container: behind them nothing is ours to complete. */
const WORDS_BEFORE: { readonly [command: string]: number } = { run: 0, exec: 1 };

const NOTHING: Completion = { words: [], live: undefined };
const onlyWords = (words: readonly string[]): Completion => ({ words, live: undefined });

/** `words`: all that is typed behind the program's name; the last is the one at the cursor, perhaps empty. Gives candidates of any beginning. */
export function complete(words: readonly string[], commands: Commands, globals: CompletedCommand["flags"]): Completion {
  const before = words.slice(0, -1);
  const current = words.at(-1) ?? "";
  const { id, rest, topic } = findId(before, commands, globals);
  const flags = id === undefined ? globals : (commands[id]?.flags ?? {});
  const last = before.at(-1) ?? "";
  const open = before.includes("--") ? undefined : optionOf(last, flags);
  if (open !== undefined) return valuesOf(open, flags);
  if (id === undefined) {
    if (current.startsWith("-")) return onlyWords(flagWords(flags, before));
    return onlyWords([...new Set(Object.keys(commands).flatMap((each) => nextWord(each.split(":"), topic)))]);
  }
  const positional = positionals(rest, flags);
  const limit = WORDS_BEFORE[id];
  if (limit !== undefined && (before.includes("--") || positional > limit)) return NOTHING;
  const equals = /^--([\w-]+)=/.exec(current);
  if (equals?.[1] !== undefined && flags[equals[1]]?.type === "option") {
    // One word in shells that do not part it at the sign.
    const values = valuesOf(equals[1], flags);
    return { words: values.words.map((word) => `--${equals[1]}=${word}`), live: undefined };
  }
  if (current.startsWith("-") && !before.includes("--")) return onlyWords(flagWords(flags, before));
  if (limit !== undefined && positional >= limit) return NOTHING;
  const fixed = Object.values(commands[id]?.args ?? {}).flatMap(({ options }) => options ?? []);
  return { words: fixed, live: NAMED_BY[id] };
}

/** The command that the words name so far, or the topic that they began with. */
function findId(before: readonly string[], commands: Commands, globals: CompletedCommand["flags"]): { id?: string; topic?: string; rest: readonly string[] } {
  let topic: string | undefined;
  for (let at = 0; at < before.length; at += 1) {
    const word = before[at] ?? "";
    if (word.startsWith("-")) {
      if (optionOf(word, globals) !== undefined) at += 1;
      continue;
    }
    const id = topic === undefined ? word : `${topic}:${word}`;
    if (Object.hasOwn(commands, id)) return { id, rest: before.slice(at + 1) };
    if (topic !== undefined) break;
    topic = word;
  }
  return { ...(topic === undefined ? {} : { topic }), rest: [] };
}

function nextWord(parts: readonly string[], topic: string | undefined): readonly string[] {
  const [first = "", second] = parts;
  if (topic === undefined) return [first];
  return first === topic && second !== undefined ? [second] : [];
}

/** The name of the flag of which the next word is the value. */
function optionOf(word: string, flags: CompletedCommand["flags"]): string | undefined {
  const name = word.startsWith("--") ? word.slice(2) : Object.keys(flags).find((each) => word.length === 2 && flags[each]?.char === word.charAt(1));
  return name !== undefined && word.startsWith("-") && Object.hasOwn(flags, name) && flags[name]?.type === "option" ? name : undefined;
}

function valuesOf(name: string, flags: CompletedCommand["flags"]): Completion {
  return { words: flags[name]?.options ?? [], live: NAMED_BY_FLAG[name] };
}

/** Those that are there already are not offered again, nor is what only says that it is not there yet. */
function flagWords(flags: CompletedCommand["flags"], before: readonly string[]): readonly string[] {
  return Object.entries(flags).flatMap(([name, { multiple, helpGroup }]) =>
    helpGroup === "NOT YET" || (multiple !== true && before.includes(`--${name}`)) ? [] : [`--${name}`],
  );
}

/** How many words are no options or their values. */
function positionals(rest: readonly string[], flags: CompletedCommand["flags"]): number {
  let count = 0;
  for (let at = 0; at < rest.length; at += 1) {
    const word = rest[at] ?? "";
    if (!word.startsWith("-")) count += 1;
    else if (optionOf(word, flags) !== undefined) at += 1;
  }
  return count;
}

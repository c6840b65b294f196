/**
 * One nftables table of ours as data. Its text is made from this, whole or as the difference to another state of it, so that both
 * ways lead to the same table in the kernel. The pieces that a change touches are elements of sets and maps, and small chains.
 */
export type TablePlan = {
  readonly family: "inet" | "bridge";
  readonly counters: readonly string[];
  readonly sets: readonly SetPlan[];
  readonly chains: readonly ChainPlan[];
};

export type SetPlan = {
  readonly name: string;
  readonly kind: "set" | "map";
  /** Type, flags, size: a statement each. */
  readonly spec: readonly string[];
  /** Key to value; a set's values are empty. In the order of keys, which `elementsOf` makes. */
  readonly elements: ReadonlyMap<string, string>;
};

export type ChainPlan = {
  readonly name: string;
  /** Of a base chain: type, hook, priority and policy. */
  readonly hook?: string;
  readonly rules: readonly string[];
};

/** The one name of our tables; nothing outside tables of this name is ever touched. */
export const TABLE_NAME = "cc";

/** In one order however they came. Of two for one key the lower value counts: two answers to one question would be refused by the kernel. */
export function elementsOf(pairs: Iterable<readonly [key: string, value: string]>): ReadonlyMap<string, string> {
  const sorted = [...pairs].sort(([keyA, valueA], [keyB, valueB]) => compareTexts(keyA, keyB) || compareTexts(valueA, valueB));
  const elements = new Map<string, string>();
  for (const [key, value] of sorted) if (!elements.has(key)) elements.set(key, value);
  return elements;
}

export const setElements = (keys: Iterable<string>): ReadonlyMap<string, string> => elementsOf([...keys].map((key) => [key, ""]));

/** By code units: the same everywhere, whatever the language of the machine. */
export const compareTexts = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const fullName = ({ family }: Pick<TablePlan, "family">): string => `${family} ${TABLE_NAME}`;

/** Takes a table away, whether it is there or not. */
export const removalText = (table: Pick<TablePlan, "family">): string => `table ${fullName(table)}\ndelete table ${fullName(table)}\n`;

/** Puts the table in place of whatever has its name, in one transaction. */
export function tableText(table: TablePlan): string {
  const lines = [`table ${fullName(table)} {`];
  for (const name of table.counters) lines.push(`  counter ${name} {`, "  }");
  for (const set of table.sets) lines.push(...setText(set).map((line) => `  ${line}`));
  for (const { name, hook, rules } of table.chains) {
    lines.push(`  chain ${name} {`, ...(hook === undefined ? [] : [`    ${hook}`]), ...rules.map((rule) => `    ${rule}`), "  }");
  }
  return `${removalText(table)}${lines.join("\n")}\n}\n`;
}

function setText({ kind, name, spec, elements }: SetPlan): readonly string[] {
  const listed = elements.size === 0 ? [] : ["  elements = {", `    ${elementsText(elements, ",\n      ")}`, "  }"];
  return [`${kind} ${name} {`, ...spec.map((line) => `  ${line}`), ...listed, "}"];
}

function elementsText(elements: Iterable<readonly [string, string]>, separator = ", "): string {
  return [...elements].map(([key, value]) => (value === "" ? key : `${key} : ${value}`)).join(separator);
}

/**
 * What turns the tables of one place into others of it: empty when they are the same. One transaction. A table whose base chains or
 * kinds of sets changed is put there anew as a whole.
 */
export function changeText(before: readonly TablePlan[], after: readonly TablePlan[]): string {
  if (before === after) return "";
  const gone = before.filter(({ family }) => !after.some((table) => table.family === family));
  return [
    ...gone.map(removalText),
    ...after.map((table) =>
      tableChange(
        before.find(({ family }) => family === table.family),
        table,
      ),
    ),
  ].join("");
}

function tableChange(before: TablePlan | undefined, after: TablePlan): string {
  if (before === undefined || hasOtherFrame(before, after)) return tableText(after);
  const name = fullName(after);
  const oldSets = byName(before.sets);
  const oldChains = byName(before.chains);
  const [newSets, newChains] = [byName(after.sets), byName(after.chains)];
  const changed = after.chains.filter((chain) => !isSameChain(oldChains.get(chain.name), chain));
  const goneChains = before.chains.filter((chain) => !newChains.has(chain.name));
  const lines = [
    ...after.counters.filter((counter) => !before.counters.includes(counter)).map((counter) => `add counter ${name} ${counter}`),
    ...after.sets.flatMap((set) => setChange(name, oldSets.get(set.name), set)),
    // All are there before any rule jumps to one, and none goes while a rule still may.
    ...changed.filter((chain) => !oldChains.has(chain.name)).map((chain) => `add chain ${name} ${chain.name}`),
    ...[...changed.filter((chain) => oldChains.has(chain.name)), ...goneChains].map((chain) => `flush chain ${name} ${chain.name}`),
    ...changed.flatMap((chain) => chain.rules.map((rule) => `add rule ${name} ${chain.name} ${rule}`)),
    ...goneChains.map((chain) => `delete chain ${name} ${chain.name}`),
    ...before.sets.filter((set) => !newSets.has(set.name)).map((set) => `delete ${set.kind} ${name} ${set.name}`),
    ...before.counters.filter((counter) => !after.counters.includes(counter)).map((counter) => `delete counter ${name} ${counter}`),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

const byName = <T extends { readonly name: string }>(parts: readonly T[]): ReadonlyMap<string, T> => new Map(parts.map((part) => [part.name, part]));

/** Whether a change cannot be said in elements and rules. */
function hasOtherFrame(before: TablePlan, after: TablePlan): boolean {
  const [oldSets, oldChains, newChains] = [byName(before.sets), byName(before.chains), byName(after.chains)];
  const otherSet = after.sets.some((set) => {
    const old = oldSets.get(set.name);
    return old !== undefined && (old.kind !== set.kind || old.spec.join("\n") !== set.spec.join("\n"));
  });
  const hookOf = (chains: ReadonlyMap<string, ChainPlan>, chain: string): string | undefined => chains.get(chain)?.hook;
  return otherSet || [...oldChains.keys(), ...newChains.keys()].some((chain) => hookOf(oldChains, chain) !== hookOf(newChains, chain));
}

function isSameChain(old: ChainPlan | undefined, chain: ChainPlan): boolean {
  return old !== undefined && old.rules.length === chain.rules.length && old.rules.every((rule, at) => rule === chain.rules[at]);
}

function setChange(table: string, old: SetPlan | undefined, set: SetPlan): readonly string[] {
  const { kind, name, spec, elements } = set;
  const made = old === undefined ? [`add ${kind} ${table} ${name} { ${spec.map((line) => `${line};`).join(" ")} }`] : [];
  const had = old?.elements ?? new Map<string, string>();
  // An element with another value goes and comes: in one transaction nobody sees it absent.
  const gone = [...had].filter(([key, value]) => elements.get(key) !== value);
  const fresh = [...elements].filter(([key, value]) => had.get(key) !== value);
  return [
    ...made,
    ...(gone.length === 0 ? [] : [`delete element ${table} ${name} { ${gone.map(([key]) => key).join(", ")} }`]),
    ...(fresh.length === 0 ? [] : [`add element ${table} ${name} { ${elementsText(fresh)} }`]),
  ];
}

import { isFirewallRuleId } from "../../../base/index.ts";
import { LOG_SET } from "../../container-table.ts";
import type { DropCount, LoggedTraffic } from "../../driver.ts";
import { compareTexts, TABLE_NAME, type TablePlan } from "../../table.ts";

/** What `nft -j list` says, as far as we look at it. */
type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

const isObject = (value: Json | undefined): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);
const isList = (value: Json | undefined): value is readonly Json[] => Array.isArray(value);

/** The objects of a listing with their kinds (`set`, `chain`, `rule`), of our tables only. Throws SyntaxError on a listing that was cut off. */
function objectsIn(listing: string): readonly { readonly kind: string; readonly object: JsonObject }[] {
  const parsed: Json = JSON.parse(listing);
  const list = isObject(parsed) ? parsed["nftables"] : undefined;
  return (isList(list) ? list : []).flatMap((entry) =>
    isObject(entry)
      ? Object.entries(entry).flatMap(([kind, object]) => (isObject(object) && (object["table"] ?? object["name"]) === TABLE_NAME ? [{ kind, object }] : []))
      : [],
  );
}

/** Elements of sets and maps, by the set's name: key to value, as `SetPlan` has them but without quotes. */
function elementsIn(listing: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const sets = objectsIn(listing).filter(({ kind }) => kind === "set" || kind === "map");
  return new Map(sets.map(({ object }) => [String(object["name"]), new Map((isList(object["elem"]) ? object["elem"] : []).map(elementText))]));
}

function elementText(element: Json): readonly [string, string] {
  if (isList(element) && element.length === 2) return [keyText(element[0] ?? null), keyText(element[1] ?? null)];
  return [keyText(element), ""];
}

function keyText(value: Json): string {
  if (!isObject(value)) return String(value);
  const { concat, prefix, elem } = value;
  if (isObject(elem)) return keyText(elem["val"] ?? null);
  if (isList(concat)) return concat.map(keyText).join(" . ");
  if (isObject(prefix)) return `${keyText(prefix["addr"] ?? null)}/${String(prefix["len"])}`;
  return JSON.stringify(value);
}

/** A text that is equal for equal tables: without handles, counts, elements, and whatever order the kernel tells things in. */
export function frameText(listing: string): string {
  const rulesOf = new Map<string, number>();
  const lines = objectsIn(listing).map(({ kind, object }) => {
    // Within a chain the order of rules is what matters; of everything else it is chance.
    const chain = kind === "rule" ? String(object["chain"]) : "";
    const at = rulesOf.get(chain) ?? 0;
    if (kind === "rule") rulesOf.set(chain, at + 1);
    const name = String(object["name"] ?? "");
    return { sortBy: `${kind} ${name}${chain} ${String(at).padStart(6, "0")}`, text: `${kind} ${JSON.stringify(withoutChance(object, kind))}` };
  });
  return lines
    .sort((a, b) => compareTexts(a.sortBy, b.sortBy))
    .map(({ text }) => text)
    .join("\n");
}

function withoutChance(object: JsonObject, kind: string): JsonObject {
  const left = kind === "counter" ? ["handle", "packets", "bytes"] : ["handle", "elem"];
  return Object.fromEntries(Object.entries(object).filter(([key]) => !left.includes(key)));
}

/** Whether the elements of a listed table are those of the plan. */
export function holds(listing: string, tables: readonly TablePlan[]): boolean {
  const listed = elementsIn(listing);
  return tables
    .flatMap(({ sets }) => sets)
    .every(({ name, elements }) => {
      const there = listed.get(name);
      return there?.size === elements.size && [...elements].every(([key, value]) => there.get(key.replaceAll('"', "")) === value);
    });
}

/** The whole table as text, elements sorted: equal for two tables that hold the same. What the kernel itself fills is left out. */
export function contentText(listing: string): string {
  const elements = [...elementsIn(listing)]
    .filter(([name]) => !LOG_SET.test(name))
    .map(
      ([name, entries]) =>
        `${name} ${[...entries]
          .map(([key, value]) => `${key} : ${value}`)
          .sort(compareTexts)
          .join(", ")}`,
    );
  return [frameText(listing), ...elements.sort(compareTexts)].join("\n");
}

export function countersIn(listing: string): readonly Omit<DropCount, "place">[] {
  return objectsIn(listing)
    .filter(({ kind }) => kind === "counter")
    .map(({ object }) => ({ reason: String(object["name"]), packets: Number(object["packets"]), bytes: Number(object["bytes"]) }));
}

export function loggedIn(listing: string): readonly Omit<LoggedTraffic, "container">[] {
  return objectsIn(listing).flatMap(({ kind, object }) => {
    const rule = kind === "set" ? LOG_SET.exec(String(object["name"]))?.[2] : undefined;
    if (rule === undefined || !isFirewallRuleId(rule)) return [];
    return (isList(object["elem"]) ? object["elem"] : []).flatMap((entry) => {
      const elem = isObject(entry) ? entry["elem"] : undefined;
      if (!isObject(elem)) return [];
      const [address = "", protocol = "", port] = keyText(elem["val"] ?? null).split(" . ");
      const counter = elem["counter"];
      const packets = isObject(counter) ? Number(counter["packets"]) : 0;
      return [{ rule, address, protocol, port: port === undefined ? undefined : Number(port), packets }];
    });
  });
}

import type { KeyId } from "../../../src/base/index.ts";
import type { StampedRecord } from "../../../src/identity/index.ts";
import { keyId } from "./fixtures.ts";

/** All simple ways from the root, each judged link by link; no bounds, no sorting. */
export function plainStates(records: readonly StampedRecord[]): Map<KeyId, string> {
  type Fact = { key: string; by: string; kind: string; about: string; admin: boolean; atMs: number; counter: number; keep: Set<string>; keepAll: boolean };
  const facts: Fact[] = records.map(({ key, request: { body, signatureInput }, stamp }) => {
    const json = JSON.parse(Buffer.from(body).toString());
    const [, , kind = "", id = ""] = key.split("/");
    return {
      key,
      by: /keyid="(\w+)"/.exec(signatureInput)?.[1] ?? "",
      kind,
      about: id.slice(0, 21),
      admin: json.role === "admin",
      atMs: stamp.timeMs,
      counter: stamp.counter,
      keep: new Set(json.keep ?? []),
      keepAll: json.keepAll === true,
    };
  });
  const keeps = (revocation: Fact, fact: Fact): boolean =>
    revocation.key === fact.key || revocation.keep.has(fact.key) || (revocation.keepAll && fact.atMs < revocation.atMs);
  // A way is the list of grants; the key at place n is grants[n - 1].about, at place 0 the root.
  const keyAt = (way: readonly Fact[], place: number): string => (place === 0 ? keyId("root") : (way[place - 1]?.about ?? ""));
  const against = (way: readonly Fact[], place: number): Fact[] => {
    if (place === 0) return [];
    const about = facts.filter((fact) => fact.kind === "revocation" && fact.about === keyAt(way, place));
    const above = about.filter((fact) => way.slice(0, place).some((_, at) => keyAt(way, at) === fact.by && valid(way.slice(0, at), fact)));
    const own = about.filter((fact) => fact.by === keyAt(way, place) && above.every((revocation) => keeps(revocation, fact)));
    own.sort((a, b) => a.atMs - b.atMs || (a.key < b.key ? -1 : 1));
    return [...above, ...own.slice(0, 1)];
  };
  const whole = (way: readonly Fact[]): boolean => way.every((fact, at) => against(way, at).every((revocation) => keeps(revocation, fact)));
  function valid(way: readonly Fact[], fact: Fact): boolean {
    return (way.at(-1)?.admin ?? true) && whole([...way, fact]);
  }
  const states = new Map<KeyId, string>();
  const rank = ["none", "void", "revoked", "live"];
  const walk = (way: readonly Fact[]): void => {
    const end = keyAt(way, way.length);
    const state = !whole(way) ? "void" : against(way, way.length).length > 0 ? "revoked" : "live";
    if (rank.indexOf(state) > rank.indexOf(states.get(end as KeyId) ?? "none")) states.set(end as KeyId, state);
    if (way.length > 0 && way.at(-1)?.admin !== true) return;
    for (const fact of facts) {
      if (fact.kind === "key" && fact.by === end && ![...way.keys(), way.length].some((at) => keyAt(way, at) === fact.about)) walk([...way, fact]);
    }
  };
  walk([]);
  return states;
}

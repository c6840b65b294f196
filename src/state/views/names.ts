/** What has a name while it lives. */
export type Named<Id extends string> = { readonly id: Id; readonly name: string; readonly gone: boolean; readonly createdAtMs: number };

/** Living things by name, the oldest first: made twice in a cut, the bare name means neither. */
export function namesOf<Id extends string>(things: readonly Named<Id>[]): ReadonlyMap<string, readonly Id[]> {
  const names = new Map<string, Named<Id>[]>();
  for (const thing of things) {
    if (thing.gone || thing.name === "") continue;
    names.set(thing.name, [...(names.get(thing.name) ?? []), thing]);
  }
  return new Map([...names].map(([name, found]) => [name, found.sort(older).map(({ id }) => id)]));
}

function older(a: Named<string>, b: Named<string>): number {
  return a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1);
}

import { type Named, namesOf } from "./names.ts";

/** Derived things of one kind by id, with what is made of all of them when it is asked for. */
export class Things<Id extends string, Thing extends Named<Id>> {
  readonly #byId = new Map<Id, Thing>();
  #list: readonly Thing[] | undefined;
  #names: ReadonlyMap<string, readonly Id[]> | undefined;

  get(id: Id): Thing | undefined {
    return this.#byId.get(id);
  }

  put(id: Id, thing: Thing | undefined): void {
    if (thing === undefined) this.#byId.delete(id);
    else this.#byId.set(id, thing);
    this.#list = undefined;
    this.#names = undefined;
  }

  /** Gone ones too, by id. */
  all(): readonly Thing[] {
    this.#list ??= [...this.#byId].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, thing]) => thing);
    return this.#list;
  }

  /** Living ones, the oldest first. */
  named(name: string): readonly Id[] {
    this.#names ??= namesOf(this.all());
    return this.#names.get(name) ?? [];
  }
}

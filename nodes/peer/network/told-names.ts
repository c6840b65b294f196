import type { Ip, VpcId } from "../../../src/base/index.ts";
import type { NameServer, NameTable, VpcNetwork } from "../../../src/vpc/index.ts";

/** What the name server was told last: it is told again where that changed. */
export class ToldNames {
  readonly #names: NameServer;
  readonly #told = new Map<VpcId, string>();

  constructor(names: NameServer) {
    this.#names = names;
  }

  tell(vpcs: readonly VpcNetwork[], transitOf: (vpc: VpcId) => Ip | undefined, tableOf: (vpc: VpcNetwork, source: Ip) => NameTable): void {
    const here = new Set<VpcId>();
    for (const vpc of vpcs) {
      const source = transitOf(vpc.id);
      // Nobody asks where no container is.
      if (source === undefined || vpc.local.length === 0) continue;
      here.add(vpc.id);
      const table = tableOf(vpc, source);
      const text = JSON.stringify(table, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value));
      if (this.#told.get(vpc.id) === text) continue;
      this.#told.set(vpc.id, text);
      this.#names.set(table);
    }
    for (const id of [...this.#told.keys()]) {
      if (here.has(id)) continue;
      this.#told.delete(id);
      this.#names.remove(id);
    }
  }
}

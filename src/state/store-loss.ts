import type { Opened } from "./opening.ts";

const META_LOSS = "lost-records";

type Meta = Readonly<Record<string, string>>;

/** Whether this host lost its records once and may lack some since. In the store: a host that starts anew lacks no less. */
export class StoreLoss {
  readonly #save: (meta: Meta) => Promise<void>;
  #isOpen = false;

  constructor(save: (meta: Meta) => Promise<void>) {
    this.#save = save;
  }

  begin({ lost, meta }: Pick<Opened, "lost" | "meta">): void {
    this.#isOpen = lost || meta[META_LOSS] === "1";
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  async end(): Promise<void> {
    this.#isOpen = false;
    await this.#save(this.meta);
  }

  /** What the store is to remember of it. */
  get meta(): Meta {
    return { [META_LOSS]: this.#isOpen ? "1" : "0" };
  }
}

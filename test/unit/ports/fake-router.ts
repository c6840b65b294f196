import { type Clock, parseIp } from "../../../src/base/index.ts";
import {
  answered,
  type BookedMapping,
  type MapGrant,
  type MappingAtRouter,
  type MappingBook,
  type MapRequest,
  type RouterAnswer,
  type RouterDriver,
  type RouterRoute,
  type RouterSession,
  type RouterTrouble,
  type RouterVia,
  troubled,
} from "../../../src/ports/index.ts";

export const ip = (text: string) => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};

type Entry = { readonly internalPort: number; readonly expiresMs: number };

/** A router in virtual time, as one protocol shows it: for when things are asked and in which order. Real ones: test/host/ports. */
export class FakeRouter {
  readonly clock: Clock;
  readonly via: RouterVia;
  /** By external port and protocol. Another host's have the internal port 0. */
  readonly entries = new Map<string, Entry>();
  readonly asked: string[] = [];
  externalAddress = ip("11.0.0.1");
  /** What it says to everything instead of doing it. */
  trouble: RouterTrouble | undefined;
  permanentOnly = false;
  #starts = 0;
  #seen: number | undefined;

  constructor(clock: Clock, via: RouterVia = "pcp") {
    this.clock = clock;
    this.via = via;
  }

  restart(): void {
    this.entries.clear();
    this.#starts += 1;
  }

  /** What it has and for which internal port, leases that are over left out. */
  mapped(): string[] {
    return [...this.entries].filter(([, { expiresMs }]) => expiresMs > this.clock.monotonicMs()).map(([key, { internalPort }]) => `${key} -> ${internalPort}`);
  }

  driver(): RouterDriver {
    return {
      via: this.via,
      find: async () => {
        this.asked.push("find");
        return this.trouble === undefined ? answered(this.#session(), this.#seesRestart()) : troubled(this.trouble);
      },
    };
  }

  /** As PCP's epoch shows it to who has asked before. */
  #seesRestart(): boolean {
    const before = this.#seen;
    this.#seen = this.#starts;
    return before !== undefined && before !== this.#starts;
  }

  #session(): RouterSession {
    const say = <T>(what: string, work: () => T): RouterAnswer<T> => {
      this.asked.push(`${what} @${Math.round(this.clock.monotonicMs() / 1_000)}`);
      if (this.trouble?.kind === "silent") return troubled(this.trouble);
      const restarted = this.#seesRestart();
      return this.trouble === undefined ? answered(work(), restarted) : troubled(this.trouble, restarted);
    };
    return {
      map: async (request) => say(`map ${request.externalPort}`, () => this.#map(request)),
      unmap: async (mapping) => say(`unmap ${mapping.externalPort}`, () => this.#unmap(mapping)),
      // Routers without leases speak UPnP, where a look shows whose the mapping is; PCP shows restarts only.
      look: async ({ protocol, internalPort, externalPort }) =>
        say("look", () => ({
          kept: !this.permanentOnly || this.entries.get(`${externalPort}/${protocol}`)?.internalPort === internalPort,
          externalAddress: undefined,
        })),
    };
  }

  #map({ protocol, internalPort, externalPort, leaseSeconds }: MapRequest): MapGrant {
    let port = externalPort;
    const free = (): boolean => {
      const entry = this.entries.get(`${port}/${protocol}`);
      return entry === undefined || entry.internalPort === internalPort || entry.expiresMs <= this.clock.monotonicMs();
    };
    while (!free()) port += 1;
    const lease = this.permanentOnly ? 0 : leaseSeconds;
    this.entries.set(`${port}/${protocol}`, { internalPort, expiresMs: lease === 0 ? Number.POSITIVE_INFINITY : this.clock.monotonicMs() + lease * 1_000 });
    return {
      externalAddress: this.externalAddress,
      externalPort: port,
      leaseSeconds: lease,
      because: port === externalPort ? undefined : "another mapping has it",
    };
  }

  #unmap({ protocol, internalPort, externalPort }: MappingAtRouter): undefined {
    const key = `${externalPort}/${protocol}`;
    if (this.entries.get(key)?.internalPort === internalPort) this.entries.delete(key);
  }
}

export class MemoryBook implements MappingBook {
  mappings: readonly BookedMapping[] = [];
  async load(): Promise<readonly BookedMapping[]> {
    return this.mappings;
  }
  async save(mappings: readonly BookedMapping[]): Promise<void> {
    this.mappings = mappings;
  }
}

export const ROUTE: RouterRoute = { gateway: ip("192.168.1.1"), local: ip("192.168.1.5"), device: "eth0" };

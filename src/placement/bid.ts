import { ok, type Result, refuse } from "../base/index.ts";
import { type DeclaredCapacity, type UsedCapacity, whatLacks } from "./capacity.ts";
import { isAskedFor, type KnownHost, needsOf, type Requirements } from "./requirements.ts";

/** What a host knows of itself when it is asked to bid. Local knowledge only: a bid asks nobody. */
export type BiddingHost = KnownHost & {
  readonly labels: Readonly<Record<string, string>>;
  readonly draining: boolean;
  readonly declared: DeclaredCapacity;
  readonly used: UsedCapacity;
  readonly hasImage: boolean;
  /** Runnable processes per core, averaged over the last minute: work that is not ours shows here too. */
  readonly loadPerCore: number;
  /** What the container's volumes would take of this host's disk, and how many of them have to be handed over first. */
  readonly volumes: { readonly bytes: number; readonly foreign: number };
  /** Another host has to give addresses of its VPC first. */
  readonly isAddressForeign: boolean;
  /** Zone of the peer that asks: output and input flow through it. */
  readonly requesterZone: string;
};

/** Added up to the price; all in points, 100 being a whole host's memory. Lower is better, none is negative but `labels`. */
export type PriceTerms = {
  /** 0 to 100: the share of the host's memory that is promised with this container in it. */
  readonly memory: number;
  /** 0 to 50: the same of its disk, which seldom runs out first. */
  readonly disk: number;
  /** 0 to 100 at one share per share there is, and on above: weights may exceed the host, but then all are slower. */
  readonly cpu: number;
  /** 60 where the image has to be fetched, else 0: a start from a local image is what users wait for, but not at any load. */
  readonly image: number;
  /** -20 for each label that container and host have alike, +20 for each key with another value. */
  readonly labels: number;
  /** 5 where the host is in another zone than the peer that was asked. */
  readonly zone: number;
  /** 10 per runnable process and core, at most 40: the machine's own work. */
  readonly load: number;
  /** 10 for each fresh volume that another host holds: a round trip more, and one more host that has to answer. */
  readonly volumes: number;
  /** 10 where another host has to give addresses of the container's VPC first, for the same reason. */
  readonly addresses: number;
};

const WEIGHTS = { memory: 100, disk: 50, cpu: 100, image: 60, label: 20, zone: 5, load: 10, loadMax: 40, volume: 10, addresses: 10 } as const;

/** Can I take it, and at which price? Refused with the reason that the user will read. */
export function priceBid(asked: Requirements, host: BiddingHost): Result<{ readonly price: number; readonly terms: PriceTerms }> {
  const named = isAskedFor(asked, host);
  if (!named.ok) return named;
  if (host.draining) return refuse("NO_ROOM", "the host is being drained");
  const own = needsOf(asked);
  const needs = { ...own, diskBytes: own.diskBytes + host.volumes.bytes };
  const lacks = whatLacks(host.declared, host.used, needs);
  if (lacks !== undefined) return refuse("NO_ROOM", lacks);
  const terms: PriceTerms = {
    memory: points(WEIGHTS.memory, host.used.memoryBytes + needs.memoryBytes, host.declared.memoryBytes),
    disk: points(WEIGHTS.disk, host.used.diskBytes + needs.diskBytes, host.declared.diskBytes),
    cpu: points(WEIGHTS.cpu, host.used.cpuShares + needs.cpuShares, host.declared.cpuShares),
    image: host.hasImage ? 0 : WEIGHTS.image,
    labels: labelPoints(asked.labels, host.labels),
    zone: host.zone === host.requesterZone ? 0 : WEIGHTS.zone,
    load: round(Math.min(WEIGHTS.loadMax, WEIGHTS.load * Math.max(0, host.loadPerCore))),
    volumes: WEIGHTS.volume * host.volumes.foreign,
    addresses: host.isAddressForeign ? WEIGHTS.addresses : 0,
  };
  return ok({ price: round(Object.values(terms).reduce((sum, term) => sum + term, 0)), terms });
}

function points(weight: number, part: number, whole: number): number {
  return whole > 0 ? round((weight * part) / whole) : 0;
}

/** Two decimals: people read them, and equal hosts stay equal whatever the order of additions. */
function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function labelPoints(asked: Readonly<Record<string, string>>, has: Readonly<Record<string, string>>): number {
  let sum = 0;
  for (const [key, value] of Object.entries(asked)) {
    if (Object.hasOwn(has, key)) sum += has[key] === value ? -WEIGHTS.label : WEIGHTS.label;
  }
  return sum;
}

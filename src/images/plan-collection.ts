import type { Digest } from "./reference.ts";

/** One image of this host as collection sees it. */
export type Collectable = {
  readonly digest: Digest;
  /** Wall clock. */
  readonly lastUsedMs: number;
  /** A container on this host runs it, or could be started again. */
  readonly needed: boolean;
  /** What it occupies, each with its bytes; parts of several images are counted once, and stay while one of these does. */
  readonly parts: ReadonlyMap<string, number>;
};

export type CollectionLimits = {
  /** An image that nobody used for so long goes. */
  readonly unusedMsMax: number;
  /** Above this the images go that were used longest ago. */
  readonly bytesMax: number;
};

/** What was used just now is spared whatever the room: its container may be about to be made. */
const SPARED_MS = 600_000;

/** Which images go: those unused for too long, then the oldest until the rest fits. Never one that a container here needs. */
export function planCollection(images: readonly Collectable[], nowMs: number, limits: CollectionLimits): readonly Digest[] {
  const holders = new Map<string, number>();
  let bytes = 0;
  for (const { parts } of images) {
    for (const [part, size] of parts) {
      const others = holders.get(part) ?? 0;
      if (others === 0) bytes += size;
      holders.set(part, others + 1);
    }
  }
  const gone: Digest[] = [];
  const remove = ({ digest, parts }: Collectable): void => {
    gone.push(digest);
    for (const [part, size] of parts) {
      const left = (holders.get(part) ?? 1) - 1;
      holders.set(part, left);
      if (left === 0) bytes -= size;
    }
  };
  const unneeded = images.filter(({ needed }) => !needed).sort((a, b) => a.lastUsedMs - b.lastUsedMs || (a.digest < b.digest ? -1 : 1));
  for (const image of unneeded) {
    // A time from a clock that was ahead counts as now: the difference is below zero.
    const unusedMs = nowMs - image.lastUsedMs;
    if (unusedMs > limits.unusedMsMax || (bytes > limits.bytesMax && unusedMs > SPARED_MS)) remove(image);
  }
  return gone;
}

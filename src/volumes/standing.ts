import { formatSize, ok, type Result, refuse } from "../base/index.ts";
import type { StoreRoom, VolumeOnHost } from "./driver.ts";

const MIB = 1024 ** 2;
/** Kept free of new volumes: for logs, images and records, which lie on the same disk, and for what fills it before anybody looks. */
const RESERVE_SHARE = 1 / 20;
const RESERVE_BYTES = [32 * MIB, 2048 * MIB] as const;
/** Below this part of the reserve nothing that may write is begun any more. */
const FLOOR_SHARE = 1 / 4;

/**
 * Whether what volumes were promised still fits on the disk. Placement never promises more than a host declares, but
 * volumes take their room when they are written to, and until then others may have filled the disk.
 */
export type StoreStanding = StoreRoom & {
  /**
   * `short`: not all that was promised fits: no new volume. `full`: hardly anything is left: none is attached either,
   * and those that are will meet errors.
   */
  readonly kind: "ok" | "short" | "full";
  /** What volumes may still come to take. */
  readonly promisedBytes: number;
  readonly reserveBytes: number;
};

export function volumeStanding(room: StoreRoom, volumes: readonly Pick<VolumeOnHost, "sizeBytes" | "allocatedBytes">[]): StoreStanding {
  const reserveBytes = Math.round(Math.min(Math.max(room.totalBytes * RESERVE_SHARE, RESERVE_BYTES[0]), RESERVE_BYTES[1]));
  const promisedBytes = volumes.reduce((sum, { sizeBytes, allocatedBytes }) => sum + Math.max(0, sizeBytes - allocatedBytes), 0);
  const left = room.freeBytes - reserveBytes;
  const kind = room.freeBytes < reserveBytes * FLOOR_SHARE ? "full" : left < promisedBytes ? "short" : "ok";
  return { ...room, kind, promisedBytes, reserveBytes };
}

/** Whether one more volume of this size may be made. */
export function mayCreate(standing: StoreStanding, sizeBytes: number): Result<undefined> {
  const { freeBytes, reserveBytes, promisedBytes } = standing;
  const left = freeBytes - reserveBytes - promisedBytes;
  if (standing.kind === "ok" && sizeBytes <= left) return ok(undefined);
  return refuse("NO_ROOM", `a volume of ${formatSize(sizeBytes)} does not fit: ${roomInWords(standing)}; free space on the host's disk, or declare less of it`);
}

/** Whether a volume that nobody has yet may be taken into use. */
export function mayAttach(standing: StoreStanding): Result<undefined> {
  if (standing.kind !== "full") return ok(undefined);
  return refuse("NO_ROOM", `the disk below the host's volumes is full: ${roomInWords(standing)}; free space on it, and start again`);
}

export function roomInWords({ freeBytes, totalBytes, reserveBytes, promisedBytes }: StoreStanding): string {
  const size = (bytes: number): string => formatSize(Math.max(0, bytes));
  return `${size(freeBytes)} of ${size(totalBytes)} are free, ${size(promisedBytes)} of them promised to volumes, ${size(reserveBytes)} kept in reserve`;
}

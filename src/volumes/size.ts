import { formatSize, ok, type Result, refuse } from "../base/index.ts";
import type { VolumeUsage } from "./driver.ts";

const MIB = 1024 ** 2;

/** Sizes of volumes in bytes, bounds inclusive. */
export const VOLUME_SIZE = {
  // A journal has at least 4 MiB: of 16 MiB it leaves 11, of less hardly anything.
  minBytes: 16 * MIB,
  // What ext4 holds with 4 KiB blocks and what is the largest file of one, less its last block.
  maxBytes: 16 * 1024 ** 4,
  // An ext4 block, and the block size of what replicates volumes over the network.
  stepBytes: 4096,
} as const;

/** The size that a volume gets when `bytes` are asked for: whole blocks, never fewer. 16 TiB itself is one block less. */
export function volumeSize(bytes: number): Result<number> {
  const { minBytes, maxBytes, stepBytes } = VOLUME_SIZE;
  if (!Number.isInteger(bytes) || bytes < minBytes || bytes > maxBytes)
    return refuse(
      "BAD_SIZE",
      `a volume of ${bytes} bytes cannot be made; give whole bytes from ${minBytes} (${formatSize(minBytes)}) to ${formatSize(maxBytes)}`,
    );
  return ok(Math.min(Math.ceil(bytes / stepBytes) * stepBytes, maxBytes - stepBytes));
}

/** A file system keeps its journal (up to 1 GiB, of small ones a 32nd) and its tables of inodes whatever is deleted. */
const KEPT_SHARE = 1 / 32;
const KEPT_BYTES = [64 * MIB, 1536 * MIB] as const;

/** Whether giving free space back to the host would give back more than what a file system keeps for itself anyway. */
export function isWorthTrimming({ sizeBytes, allocatedBytes, usedBytes }: VolumeUsage): boolean {
  if (usedBytes === undefined) return false;
  return allocatedBytes - usedBytes > Math.min(Math.max(sizeBytes * KEPT_SHARE, KEPT_BYTES[0]), KEPT_BYTES[1]);
}

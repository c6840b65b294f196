import { open } from "node:fs/promises";
import { CcError, type VolumeId } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import { SUPERBLOCK } from "../../superblock.ts";

export async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Shorter where the file is. */
export async function superblockOf(image: string): Promise<Uint8Array> {
  const file = await open(image, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(SUPERBLOCK.bytes), 0, SUPERBLOCK.bytes, SUPERBLOCK.offset);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** A create that failed since the disk below cannot hold the file, as what it means. */
export function asNoRoom(error: unknown, id: VolumeId): unknown {
  const full = ["ENOSPC", "EFBIG", "EDQUOT"].includes(errorCode(error)) || (error instanceof Error && /no space left|file too large/i.test(error.message));
  return full ? new CcError("NO_ROOM", `the host's disk has no room for volume ${id}; free space on it`, { cause: error }) : error;
}

export function absentIsFine(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}

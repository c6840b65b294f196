import { readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type Clock, formatSize } from "../../base/index.ts";
import { errorCode } from "../../host/index.ts";
import type { PullProgress } from "../image-store.ts";

export type WatchInit = {
  readonly clock: Clock;
  readonly freeBytesMin: number;
  readonly registry: string;
  /** The pull's folder; `arrived` in it has the blobs that are whole, `o` those on their way. */
  readonly folder: string;
  readonly arrived: string;
  /** Bytes of each missing blob, by its name in `arrived`. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly report: (progress: PullProgress) => void;
};

const REPORT_MS = 200;
/** A download without a byte for so long is given up. */
const STALL_MS = 60_000;
/** ext4 has a fixed number of them; a pull leaves some to others. */
const FREE_INODES_MIN = 10_000;

/** Reports progress, and throws when the disk fills up or the download stands still. To be called every now and then. */
export function createWatch(init: WatchInit): (busy: boolean) => Promise<void> {
  const { clock, folder, sizes } = init;
  const totalBytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  let reportedAtMs = Number.NEGATIVE_INFINITY;
  let lastBytes = -1;
  let movedAtMs = clock.monotonicMs();
  return async (busy) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - reportedAtMs < REPORT_MS) return;
    reportedAtMs = nowMs;
    await demandRoom(folder, 0, init.freeBytesMin);
    let doneBytes = 0;
    for (const name of await readdir(init.arrived)) doneBytes += sizes.get(name) ?? 0;
    for (const name of await readdir(join(folder, "o")).catch(noNames)) doneBytes += await sizeOf(join(folder, "o", name));
    if (doneBytes !== lastBytes || busy) movedAtMs = nowMs;
    lastBytes = doneBytes;
    if (doneBytes < totalBytes) init.report({ step: "fetching", doneBytes, totalBytes });
    if (nowMs - movedAtMs > STALL_MS) throw new CcError("REGISTRY_UNREACHABLE", `${init.registry} stopped sending; try again later`);
  };
}

/** Throws NO_ROOM when `neededBytes` more would leave less than `freeBytesMin`, or files run out. */
export async function demandRoom(folder: string, neededBytes: number, freeBytesMin: number): Promise<void> {
  const disk = await statfs(folder);
  const freeBytes = disk.bavail * disk.bsize;
  // File systems that make inodes as they go say that they have none.
  const hasInodes = disk.files === 0 || disk.ffree >= FREE_INODES_MIN;
  if (freeBytes - neededBytes >= freeBytesMin && hasInodes) return;
  const left = hasInodes ? `${formatSize(freeBytes)} free, ${formatSize(freeBytesMin)} stay free` : `room for ${disk.ffree} more files`;
  throw new CcError("NO_ROOM", `the image does not fit on the disk of this host (${left}); free some room, or choose another host`);
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size, mode }) => ((mode & 0o170000) === 0o100000 ? size : 0),
    (error: unknown) => {
      // Renamed into place since it was listed.
      if (errorCode(error) === "ENOENT") return 0;
      throw error;
    },
  );
}

function noNames(error: unknown): string[] {
  if (errorCode(error) === "ENOENT") return [];
  throw error;
}

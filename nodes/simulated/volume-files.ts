import { CcError, type ContainerId, type VolumeId } from "../../src/base/index.ts";
import type { VolumeFiles } from "../../src/volumes/index.ts";
import type { SeededRandom } from "./random.ts";
import type { HostClock, Timeline } from "./timeline.ts";

/** A volume's file: once formatted it keeps what was written to it. `birth` tells two file systems of one id apart. */
export type VolumeFile = { readonly sizeBytes: number; readonly birth: number };

/** The files of volumes as one life of the peer has them; `lying` is the disk. */
export function simulatedVolumes(
  lying: Map<VolumeId, VolumeFile>,
  parts: { readonly clock: HostClock; readonly random: SeededRandom; readonly timeline: Timeline; usersOf(id: VolumeId): readonly ContainerId[] },
): VolumeFiles {
  const { clock, random, timeline, usersOf } = parts;
  const pause = (): Promise<void> => new Promise((resolve) => clock.after(random.between(1, 30), resolve));
  return {
    list: async () => [...lying].map(([id, { sizeBytes }]) => ({ id, formatted: true, sizeBytes, allocatedBytes: 0, users: usersOf(id) })),
    usage: async (id) => {
      const file = lying.get(id);
      return file === undefined ? undefined : { sizeBytes: file.sizeBytes, allocatedBytes: 0, usedBytes: 0 };
    },
    ensureReady: async (id, sizeBytes) => {
      await pause();
      if (!lying.has(id)) lying.set(id, { sizeBytes, birth: timeline.nowMs });
    },
    remove: async (id) => {
      await pause();
      if (usersOf(id).length > 0) throw new CcError("IN_USE", "a container has it");
      lying.delete(id);
    },
  };
}

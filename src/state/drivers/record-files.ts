import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isContainerId, isVolumeId } from "../../base/index.ts";
import { errorCode } from "../../host/index.ts";
import type { RecordFiles } from "../ports.ts";
import { loadFrames, saveFrames } from "./frames-file.ts";

/** One file for each id in a folder, which is made when it is needed. */
export function createRecordFiles(folder: string): RecordFiles {
  return {
    load: async () => {
      const names = await readdir(folder).catch((error: unknown) => {
        if (errorCode(error) === "ENOENT") return [];
        throw error;
      });
      const files = names
        .filter((name) => isContainerId(name) || isVolumeId(name))
        .map(async (name) => [name, (await loadFrames(join(folder, name))) ?? []] as const);
      return new Map(await Promise.all(files));
    },
    save: async (id, frames) => {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await saveFrames(join(folder, id), frames);
    },
    remove: (id) => rm(join(folder, id), { force: true }),
  };
}

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { makeFolder, replaceFile } from "./files.ts";

/** A few presses of a key ask the peer once. */
const FRESH_MS = 3_000;
const BYTES_MAX = 1024 * 1024;

export type NameCache = { read(kind: string, nowMs: number): readonly string[] | undefined; write(kind: string, names: readonly string[]): void };

/** Names of live things, a file a kind, for the shell's completion. A folder that cannot be used costs only time. */
export function nameCache(folder: string, mesh: string): NameCache {
  const fileOf = (kind: string): string => join(folder, `names-${kind}-${mesh}`);
  return {
    read(kind, nowMs) {
      try {
        const { mtimeMs, size } = statSync(fileOf(kind));
        if (size > BYTES_MAX || Math.abs(nowMs - mtimeMs) > FRESH_MS) return undefined;
        return readFileSync(fileOf(kind), "utf8").split("\n");
      } catch {
        return undefined; // Not there yet.
      }
    },
    write(kind, names) {
      try {
        makeFolder(folder);
        replaceFile(fileOf(kind), names.join("\n"));
      } catch {
        // As above.
      }
    },
  };
}

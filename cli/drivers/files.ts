import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Written } from "../../src/api/client-messages.ts";
import { parseSeen, SEEN_FILE_BYTES_MAX, seenLine } from "../seen.ts";

/** Writes a file that holds a secret: 0600 from its first byte, whole or not at all. */
export function writeSecretFile(file: string, text: string): void {
  makeFolder(dirname(file));
  replaceFile(file, text);
}

/** Like `writeSecretFile`, but never over a file that is there. Throws EEXIST. */
export function createSecretFile(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600, flag: "wx" });
  chmodSync(file, 0o600);
}

/** As `mkdir -p -m 700`. Node's own way with `recursive` never ends where a parent can hold no folders (/proc). */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EEXIST") return;
    const parent = dirname(path);
    if (code !== "ENOENT" || parent === path || existsSync(parent)) throw error;
    makeFolder(parent);
    mkdirSync(path, { mode: 0o700 });
  }
}

function replaceFile(file: string, text: string): void {
  const temporary = `${file}.${process.pid}`;
  try {
    writeFileSync(temporary, text, { mode: 0o600 });
    chmodSync(temporary, 0o600);
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

export type SeenFile = { read(): readonly Written[]; add(written: readonly Written[]): void };

/**
 * The caller's last writes in one mesh. Lines are appended, so that two commands at once lose none of each other's; a
 * state folder that cannot be used costs only freshness, never the command.
 */
export function seenFile(folder: string, mesh: string): SeenFile {
  const file = join(folder, `seen-${mesh}.jsonl`);
  const read = (): readonly Written[] => {
    try {
      return parseSeen(readFileSync(file, "utf8"));
    } catch {
      // Missing at the first use; unreadable is no reason to refuse a command.
      return [];
    }
  };
  return {
    read,
    add(written) {
      const lines = written.map(seenLine).join("");
      if (lines === "") return;
      try {
        makeFolder(folder);
        appendFileSync(file, lines, { mode: 0o600 });
        if (statSync(file).size > SEEN_FILE_BYTES_MAX) replaceFile(file, read().map(seenLine).join(""));
      } catch {
        // As above: the write itself is acknowledged already.
      }
    },
  };
}

import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, rmdirSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Written } from "../../src/api/client-messages.ts";
import { parseSeen, SEEN_FILE_BYTES_MAX, seenLine } from "../seen.ts";
import { makeFolder, replaceFile } from "./files.ts";

export type SeenFile = { read(): readonly Written[]; add(written: readonly Written[]): void };

/** A rewriting process that was killed leaves its mark; after this long another goes on. */
const REWRITE_MS_MAX = 10_000;
const APPEND_TRIES = 3;

/**
 * The caller's last writes in one mesh. Lines are appended, so that commands at once lose none of each other's; a state
 * folder that cannot be used costs only freshness, never the command.
 */
export function seenFile(folder: string, mesh: string): SeenFile {
  const file = join(folder, `seen-${mesh}.jsonl`);
  return {
    read() {
      try {
        return parseSeen(readFileSync(file, "utf8"));
      } catch {
        // Missing at the first use; unreadable is no reason to refuse a command.
        return [];
      }
    },
    add(written) {
      const lines = written.map(seenLine).join("");
      if (lines === "") return;
      try {
        makeFolder(folder);
        // After a line break: the line before may have been torn by a crash.
        if (appendLines(file, `\n${lines}`) > SEEN_FILE_BYTES_MAX) rewrite(file);
      } catch {
        // As above: the write itself is acknowledged already.
      }
    },
  };
}

/** Gives the file's size. Appended again where a rewrite put another file in its place meanwhile. */
function appendLines(file: string, lines: string): number {
  for (let tries = 1; ; tries += 1) {
    const descriptor = openSync(file, "a", 0o600);
    try {
      writeSync(descriptor, lines);
      const { ino, size } = fstatSync(descriptor);
      if (tries === APPEND_TRIES || statSync(file).ino === ino) return size;
    } finally {
      closeSync(descriptor);
    }
  }
}

/** Keeps what counts. One process at a time; what others add to the old file before they see the new one is brought over. */
function rewrite(file: string): void {
  const mark = `${file}.rewriting`;
  try {
    mkdirSync(mark);
  } catch {
    // Another is at it, or was killed at it: then the next one that comes by does it.
    if (Date.now() - statSync(mark).mtimeMs > REWRITE_MS_MAX) rmdirSync(mark);
    return;
  }
  const old = openSync(file, "r");
  try {
    replaceFile(file, parseSeen(readFileSync(old, "utf8")).map(seenLine).join(""));
    // The descriptor stands where the first reading ended.
    const late = readFileSync(old, "utf8");
    if (late !== "") appendLines(file, late);
  } finally {
    closeSync(old);
    rmdirSync(mark);
  }
}
